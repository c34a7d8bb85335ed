"""Adversarial pictures: changed a little, so that a classifier says something else. Labels are carried along."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from migaki.core.batch import Batch, Key
from migaki.core.change import Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.seeds import generator
from migaki.core.view_ranges import Views
from migaki.nets.scorer import fit_pictures, open_single
from migaki.ops import attacks
from migaki.ops.attacks import Goal

_START = 1  # folded into the seed of a row for the random start


class Attack(Change):
    """Leads each picture to the class `target`, or without one away from what the model says of it now.

    The pictures are written as PNG of 8 bits, and everything is measured on these: `attack_success` (0 or 1),
    `attack_from` and `attack_to` (the model's classes, by number), `attack_l2` (root of the mean square change),
    `attack_linf` (largest change), both in units of the range [0, 1], and `attack_lab` (mean distance of the colours in
    CIE L*a*b*, 1 is white from black). No label is read.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The model, the goal and the way to it."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "method target epsilon step steps samples lab_weight norm"}

        model: Path  # the folder of a trained classifier, a file of weights, or the name of a published network
        method: Literal["fgsm", "pgd", "eot", "lbfgs", "noise"] = "pgd"  # noise: the control, with pgd's norm
        target: str = ""  # class to lead to, by name or number; none = away from what the model says
        epsilon: str = "8/255"  # largest change, in units of the range; lbfgs finds its own
        step: str = "2/255"  # length of a step of pgd and eot
        steps: int = 20  # of pgd and eot; of each minimisation of lbfgs
        norm: Literal["linf", "l2"] = "linf"  # pgd: what epsilon bounds, each value or the root mean square
        random_start: bool = True  # pgd begins at a random place within epsilon
        samples: int = 8  # eot: views drawn for each step
        lab_weight: float = 0.0  # eot: weight of the distance of the colours, which holds the change small
        searches: int = 8  # lbfgs: minimisations, each with another weight of the distance
        views: Views = field(default_factory=lambda: Views())  # eot

        def __post_init__(self) -> None:
            for name in ("epsilon", "step"):
                share(name, getattr(self, name))
            if min(self.steps, self.samples, self.searches) < 1:
                raise UserError("--steps, --samples and --searches must be at least 1")
            if self.lab_weight < 0:
                raise UserError(f"--lab-weight {self.lab_weight:g}: must not be negative")

    config: Config
    keys = (
        Key(name="attack_success", shape=(), unit="0 or 1, whether the model says what the attack wanted"),
        Key(name="attack_from", shape=(), unit="int64 class index, what the model said before"),
        Key(name="attack_to", shape=(), unit="int64 class index, what the model says of the changed picture"),
        Key(name="attack_l2", shape=(), unit="root of the mean square change, in units of the range"),
        Key(name="attack_linf", shape=(), unit="largest change of a value, in units of the range"),
        Key(name="attack_lab", shape=(), unit="mean distance in CIE L*a*b* divided by 100"),
    )

    def open(self, folder: Path) -> None:
        """Load the model and find the target among its classes."""
        self._scores = open_single(self.config.model)
        self._target = self._scores.class_number(self.config.target) if self.config.target else None

    def reads(self) -> dict[str, Path]:
        """The model decides the result."""
        return {"model": self.config.model} if self.config.model.exists() else {}

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """(B, C, H, W) in [0, 1] to the same shape, multiples of 1/255, with the columns of the class."""
        images = batch["image"]
        if problem := fit_pictures(self._scores, images.shape[1:]):
            raise UnfitPicture(problem)
        # One picture at a time: a network rounds differently in batches of another size, and steps follow signs.
        made = [self._one(image[None], int(seed)) for image, seed in zip(images, seeds, strict=True)]
        return {key: torch.cat([one[key] for one in made]) for key in made[0]}

    def _one(self, image: Tensor, seed: int) -> Batch:
        with torch.no_grad():
            before = self._scores(image).argmax(1)
        is_target = self._target is not None
        goal = Goal(torch.full_like(before, self._target) if self._target is not None else before, is_target)
        changed = attacks.rounded(self._attacked(image, goal, seed))
        with torch.no_grad():
            scores = self._scores(changed)
        apart = changed - image
        return {
            "image": changed, "attack_success": goal.reached(scores).long(), "attack_from": before,
            "attack_to": scores.argmax(1), "attack_l2": apart.square().mean((1, 2, 3)).sqrt(),
            "attack_linf": apart.abs().amax((1, 2, 3)), "attack_lab": attacks.lab_distance(image, changed),
        }

    def _attacked(self, image: Tensor, goal: Goal, seed: int) -> Tensor:
        config = self.config
        epsilon, step = share("epsilon", config.epsilon), share("step", config.step)
        if config.method == "fgsm":
            return attacks.fgsm(self._scores, image, goal, epsilon)
        if config.method == "lbfgs":
            return attacks.lbfgs(self._scores, image, goal, steps=config.steps, searches=config.searches)
        if config.method == "eot":
            return attacks.eot(self._scores, image, goal, epsilon, step, config.steps, views=config.views,
                               samples=config.samples, lab_weight=config.lab_weight, draw=generator(seed, 0))
        start = None
        if config.random_start:
            draw = generator(seed, _START)
            start = image + epsilon * (2 * torch.rand(image.shape, generator=draw) - 1)
        found = attacks.pgd(self._scores, image, goal, epsilon, step, config.steps, norm=config.norm, start=start)
        if config.method == "noise":
            return attacks.noise_like(image, attacks.rounded(found), [generator(seed, 2)])
        return found


def share(option: str, text: str) -> float:
    """Returns a number above 0 and up to 1 that is written as 0.03 or 8/255; UserError for any other text."""
    above, stroke, below = text.partition("/")
    try:
        value = float(above) / (float(below) if stroke else 1.0)
    except (ValueError, ZeroDivisionError) as error:
        raise UserError(f"--{option} {text}: give a number such as 0.03 or 8/255") from error
    if not 0 < value <= 1:
        raise UserError(f"--{option} {text}: give more than 0 and at most 1, in units of the range of the values")
    return value
