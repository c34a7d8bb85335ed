"""What fits into the budget: the speed of the systems, measured on the data, and the plan that follows from it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from migaki.core import hardware
from migaki.core.discovery import find_class
from migaki.core.errors import UserError
from migaki.core.files import make_folder, read_json, write_json
from migaki.core.system import System
from migaki.lab.adapt.options import Options, duration, seconds
from migaki.lab.adapt.recipes import Budgeted, Recipe
from migaki.systems.simgan import SimGAN

_TIMED = 4  # updates, after two that warm up
_NEEDED_SHARE, _WHOLE_SHARE = 0.55, 0.9  # of the budget: for the arms that must be, and for all arms
_FEWEST_STEPS = 200  # updates of a model, before arms or seeds are left out instead
_PICTURES_A_SECOND = 300  # that are read, changed or written by a step without training, at 64 x 64 px
_REFINER_SHARE = 0.2  # of the budget, for the rounds of the refiner
_FEWEST_ROUNDS = 300
_GAIN = 0.6  # how much more is done in the same time for each further step at a time: some steps wait for others
NEEDED = ("plain", "augmented", "adabn", "matched_plain", "matched", "matched_adabn")
"""The arms whose training decides how long every model may be trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How much is done: made once from measured speeds, and kept, so that a second call does the same."""

    steps: int
    seeds: int
    rounds: int  # of the refiner; 0 = none
    arms: tuple[str, ...]
    left_out: dict[str, float]  # arm -> its estimated seconds
    costs: dict[str, float] = field(default_factory=dict)  # arm -> its estimated seconds

    def left_out_text(self, names: dict[str, str]) -> str:
        """Returns what did not fit, in words; empty if everything did."""
        return ", ".join(f"{names.get(slug, slug)} (about {duration(cost)})" for slug, cost in self.left_out.items())


def refiner_config(rounds: int, tolerance: str, *, is_matched: bool = False) -> SimGAN.Config:
    """Returns how the refiner is trained on pictures, which may be matched already: by simgan's defaults."""
    return SimGAN.Config(steps=rounds, max_drift=tolerance, match=not is_matched)


def measure_speed(budgeted: Budgeted, recipes: Sequence[Recipe], out: Path) -> None:
    """Write `speed/speed.json`: the seconds that an update of each system takes on this machine."""
    found: dict[str, float] = {}
    for recipe in recipes:
        name = recipe.system or budgeted.task.system
        if name in found:
            continue
        cls = find_class("systems", name, System)
        photos = out / "photos" if recipe.system else None
        data = cls.Data(data=(out / "simulated",), photos=photos)
        found[name] = _seconds_a_step(cls, data, replace(budgeted.config(recipe), steps=1000))
    refiner = SimGAN.Data(synthetic=out / "simulated", real=out / "photos")
    found["simgan"] = _seconds_a_step(SimGAN, refiner, refiner_config(1000, ""))
    write_json(make_folder(out / "speed") / "speed.json", found)


def _seconds_a_step(cls: type[System], data: Any, config: Any) -> float:
    """Returns the mean time of an update late in a training, its batch included."""
    config, source = cls.open(data, config, 0)
    torch.manual_seed(0)
    device = hardware.choose_device("auto")
    system = cls(config)
    system.prepare(data)
    system = system.to(device=device).train()
    clock = 0.0
    for step in range(_TIMED + 2):
        if step == 2:
            clock = time.monotonic()
        batch = {key: value.to(device) for key, value in source.batch(step).items()}
        scalars = system.update(batch, config.steps - _TIMED - 2 + step)
        float(sum(scalars.values()))  # waits for a GPU
    return (time.monotonic() - clock) / _TIMED


def plan(options: Options, speed: dict[str, float], recipes: Sequence[Recipe], budgeted: Budgeted,
         counts: dict[str, int], out: Path, parallel: int = 1) -> Plan:
    """Returns the plan of an earlier call, with the arms that a larger budget adds, or a new one; keeps it in
    plan.json.

    `recipes` are all arms, cheapest first; `counts` has the pictures of `simulated` and `photos`. With `parallel` steps
    at a time the budget holds more.
    """
    known = _known(out / "plan.json")
    found = _plan(options, speed, recipes, budgeted, counts, known, parallel)
    write_json(out / "plan.json", {"budget": options.budget, "steps": found.steps, "seeds": found.seeds,
                                   "rounds": found.rounds, "arms": list(found.arms), "left_out": found.left_out,
                                   "costs": found.costs})
    return found


def _known(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    found = read_json(path)
    if not isinstance(found, dict) or not all(isinstance(found.get(key), int) for key in ("steps", "seeds", "rounds")):
        raise UserError(f"{path}: not what `migaki adapt` wrote: delete it, and what it says is planned anew")
    return found


def _plan(options: Options, speed: dict[str, float], recipes: Sequence[Recipe], budgeted: Budgeted,
          counts: dict[str, int], known: dict[str, Any] | None, parallel: int = 1) -> Plan:
    total = seconds(options.budget) * (1 + _GAIN * (parallel - 1))
    usual = budgeted.task.system
    step = speed[usual]
    full = find_class("systems", usual, System).Config().steps
    needed = sum(recipe.slug in NEEDED for recipe in recipes) or len(recipes)
    steps, seeds = options.steps or full, options.seeds
    if known is not None:  # what is trained stays; a larger budget adds arms and seeds
        steps, seeds = known["steps"], max(options.seeds if options.seeds > known["seeds"] else 0, known["seeds"])
    elif not options.steps:
        for seeds in dict.fromkeys((options.seeds, 2)):
            steps = int(min(full, max(_NEEDED_SHARE * total / (needed * seeds * step), min(_FEWEST_STEPS, full))))
            if needed * seeds * steps * step <= 0.7 * total:
                break
    rounds = int(min(SimGAN.Config().steps, _REFINER_SHARE * total / speed["simgan"]))
    if known is not None and known["rounds"]:
        rounds = known["rounds"]
    rounds = min(rounds, options.steps) if options.steps else rounds
    lengths = replace(budgeted, steps=steps)
    costs = {recipe.slug: _cost(recipe, speed, lengths, seeds, rounds, counts) for recipe in recipes}
    chosen: list[str] = []
    left_out: dict[str, float] = {}
    spent = 0.0
    for recipe in recipes:
        cost = costs[recipe.slug]
        was = known is not None and recipe.slug in known.get("arms", ())
        is_weak = "refined" in recipe.needs and rounds < _FEWEST_ROUNDS and not options.steps
        if not was and (is_weak or (spent + cost > _WHOLE_SHARE * total and len(chosen) >= 2)):
            left_out[recipe.slug] = cost
            continue
        chosen.append(recipe.slug)
        spent += cost
    return Plan(steps=steps, seeds=seeds, rounds=rounds if any("refined" in recipe.needs for recipe in recipes
                                                                if recipe.slug in chosen) else 0,
                arms=tuple(chosen), left_out=left_out, costs=costs)


def _cost(recipe: Recipe, speed: dict[str, float], lengths: Budgeted, seeds: int, rounds: int,
          counts: dict[str, int]) -> float:
    """Returns the estimated seconds of an arm, with what is made for it alone."""
    cost = seeds * lengths.steps_of(recipe) * speed[recipe.system or lengths.task.system]
    if recipe.slug in ("matched_plain", "refined"):
        cost += counts["simulated"] / _PICTURES_A_SECOND
    if recipe.slug == "refined":
        cost += rounds * speed["simgan"]
    if recipe.source:
        cost += seeds * counts["photos"] / _PICTURES_A_SECOND
    return cost
