"""The arms of an adaptation: ways to train a model for photographs from simulated pictures, the cheapest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from migaki.core.discovery import find_class, names_in
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.system import System
from migaki.lab.chain import Step
from migaki.lab.steps import train_step
from migaki.lab.tasks import Task

_NOTHING, _PHOTOS = "nothing", "photographs, no label"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One arm: the folders that a model learns from, and how.

    In a folder's name `{seed}` stands for the number of the model. `needs` names what must be made before ("matched",
    "refined", "read"). `source` is the arm whose models read the photographs, of a self-training.
    """

    slug: str
    name: str
    data: tuple[str, ...]
    saw: str = _NOTHING
    augment: bool = True
    photos: bool = False  # batch norm's statistics come from the photographs (AdaBN)
    system: str = ""  # another one than the task's
    changes: tuple[tuple[str, Any], ...] = ()
    source: str = ""

    @property
    def needs(self) -> set[str]:
        """What must be made before this arm, besides the parts of the sets."""
        return {name.split("_")[0] for name in self.data} & {"matched", "refined", "read"}


def first_arms(task: Task, *, can_match: bool) -> list[Recipe]:
    """Returns the arms that depend on no other arm's result, cheapest first."""
    arms = [
        Recipe(slug="plain", name="simulated", data=("simulated",), augment=False),
        Recipe(slug="augmented", name="simulated, augmented", data=("simulated",)),
        Recipe(slug="adabn", name="simulated, augmented, AdaBN", data=("simulated",), photos=True, saw=_PHOTOS),
    ]
    if can_match:
        arms += [
            Recipe(slug="matched", name="matched, augmented", data=("matched",), saw=_PHOTOS),
            Recipe(slug="matched_adabn", name="matched, augmented, AdaBN", data=("matched",), photos=True, saw=_PHOTOS),
            Recipe(slug="mixed", name="simulated and matched, augmented, AdaBN", data=("simulated", "matched"),
                   photos=True, saw=_PHOTOS),
        ]
    if task.name == "label":
        arms += [Recipe(slug="adapted", name="simulated, adapted classifier", data=("simulated",),
                        system="adapted_classifier", saw=_PHOTOS, changes=(("augment", True), ("handwriting", 0.0)))]
    return arms


def later_arms(task: Task, best: Recipe, *, can_match: bool) -> list[Recipe]:
    """Returns the arms that build on the best of the first ones, told without labels: self-training, refining."""
    base = best.data if best.system == "" else ("matched",) if can_match else ("simulated",)
    arms = [Recipe(slug="self", name=f"self-training from '{best.name}'", data=(*base, "read_{seed}"), photos=True,
                   saw=_PHOTOS, source=best.slug)]
    arms += [Recipe(slug="refined", name="refined, augmented, AdaBN", data=("refined",), photos=True, saw=_PHOTOS),
             Recipe(slug="refined_mixed", name="simulated and refined, augmented, AdaBN",
                    data=("simulated", "refined"), photos=True, saw=_PHOTOS)]
    if task.name == "label" and can_match:
        arms.insert(1, Recipe(slug="adapted_matched", name="matched, adapted classifier", data=("matched",),
                              system="adapted_classifier", saw=_PHOTOS,
                              changes=(("augment", True), ("handwriting", 0.0))))
    return arms


def can_match() -> bool:
    """Whether this version has the change `match`."""
    return "match" in names_in("changes", "Change")


def require_known(slugs: Sequence[str], task: Task) -> None:
    """Raises UserError for an arm that does not exist."""
    start = first_arms(task, can_match=True)
    known = [arm.slug for arm in (*start, *later_arms(task, start[0], can_match=True))]
    if unknown := sorted(set(slugs) - set(known)):
        raise UserError(f"--arms {' '.join(unknown)}: known are {', '.join(known)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Budgeted:
    """How long the models of every arm are trained."""

    task: Task
    steps: int
    seed: int
    quiet: bool = False

    def train(self, recipe: Recipe, number: int, out: Path, more: tuple[Path, ...] = (), slug: str = "",
              cost: float = 0.0) -> Step:
        """Returns the step that trains model `number` of an arm, with `more` folders of labels beside its own."""
        name = recipe.system or self.task.system
        cls = find_class("systems", name, System)
        folders = (*(out / folder.format(seed=number) for folder in recipe.data), *more)
        photos = out / "photos" if recipe.photos or recipe.system else None
        run = Run(seed=self.seed + number, sample_every=0)
        return train_step(name, cls.Data(data=folders, photos=photos), self.config(recipe), run,
                          model_folder(out, slug or recipe.slug, number), self.quiet, cost)

    def config(self, recipe: Recipe) -> Any:
        """Returns the configuration of an arm's models."""
        cls = find_class("systems", recipe.system or self.task.system, System).Config
        wanted = {"steps": self.steps, "augment": recipe.augment, **dict(recipe.changes)}
        wanted |= dict(self.task.options) if not recipe.system else {}
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in wanted.items() if name in known})


def model_folder(out: Path, slug: str, number: int) -> Path:
    """Returns the folder of model `number` of an arm."""
    return out / "models" / f"{slug}_{number}"
