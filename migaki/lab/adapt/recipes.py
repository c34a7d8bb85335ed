"""The arms of an adaptation: ways to train a model for photographs from simulated pictures, the cheapest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from migaki.core.discovery import find_class
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


def first_arms(task: Task, *, is_writing: bool = False) -> list[Recipe]:
    """Returns the arms that depend on no other arm's result, cheapest first.

    `is_writing` says that the pictures may be single characters: tiny and grey. For these there is an arm whose
    augmentation imitates other hands.
    """
    arms = [
        Recipe(slug="plain", name="simulated", data=("simulated",), augment=False),
        Recipe(slug="augmented", name="simulated, augmented", data=("simulated",)),
        Recipe(slug="matched_plain", name="matched", data=("matched",), augment=False, saw=_PHOTOS),
        Recipe(slug="matched", name="matched, augmented", data=("matched",), saw=_PHOTOS),
        Recipe(slug="adabn", name="simulated, augmented, AdaBN", data=("simulated",), photos=True, saw=_PHOTOS),
        Recipe(slug="matched_adabn", name="matched, augmented, AdaBN", data=("matched",), photos=True, saw=_PHOTOS),
        Recipe(slug="mixed", name="simulated and matched, augmented, AdaBN", data=("simulated", "matched"), photos=True,
               saw=_PHOTOS),
    ]
    if task.name == "label":
        adapted = Recipe(slug="adapted", name="simulated, adapted classifier", data=("simulated",), saw=_PHOTOS,
                         system="adapted_classifier", changes=(("augment", True), ("handwriting", 0.0)))
        arms.append(adapted)
        if is_writing:
            arms.append(replace(adapted, slug="adapted_writing", name="simulated, adapted classifier, other hands",
                                changes=()))
    return arms


def later_arms(task: Task, best: Recipe) -> list[Recipe]:
    """Returns the arms that build on the best of the first ones, told without labels: self-training, refining."""
    base = ("matched",) if best.system else best.data
    arms = [Recipe(slug="self", name=f"self-training from '{best.name}'" if best.slug != "plain" else
                   "self-training from the best", data=(*base, "read_{seed}"), photos=True,
                   saw=_PHOTOS, source=best.slug)]
    if task.name == "label":
        changes = best.changes or (("augment", True), ("handwriting", 0.0))
        arms.append(Recipe(slug="adapted_matched", name="matched, adapted classifier", data=("matched",),
                           system="adapted_classifier", saw=_PHOTOS,
                           changes=() if best.slug == "adapted_writing" else changes))
    return [*arms,
            Recipe(slug="refined", name="refined, augmented, AdaBN", data=("refined",), photos=True, saw=_PHOTOS),
            Recipe(slug="refined_mixed", name="simulated and refined, augmented, AdaBN", data=("simulated", "refined"),
                   photos=True, saw=_PHOTOS)]


def require_known(slugs: Sequence[str], task: Task) -> None:
    """Raises UserError for an arm that does not exist, and for arms that build on others if none of these is named."""
    start = first_arms(task, is_writing=True)
    known = [arm.slug for arm in (*start, *later_arms(task, start[0]))]
    if unknown := sorted(set(slugs) - set(known)):
        raise UserError(f"--arms {' '.join(unknown)}: known are {', '.join(known)}")
    if slugs and not set(slugs) & {arm.slug for arm in start}:
        raise UserError(f"--arms {' '.join(slugs)}: name one of {', '.join(arm.slug for arm in start)} too: the others "
                        "build on them")


@dataclass(frozen=True, kw_only=True, slots=True)
class Budgeted:
    """How long the models of every arm are trained."""

    task: Task
    steps: int
    seed: int
    quiet: bool = False
    looks: str = "auto"  # what a classifier's augmentation imitates

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

    def steps_of(self, recipe: Recipe) -> int:
        """Returns the updates of an arm's models: those of the task's system, in proportion to what is usual."""
        if not recipe.system:
            return self.steps
        usual, own = (find_class("systems", name, System).Config().steps
                      for name in (self.task.system, recipe.system))
        return max(1, round(self.steps * float(own) / float(usual)))

    def config(self, recipe: Recipe) -> Any:
        """Returns the configuration of an arm's models."""
        cls = find_class("systems", recipe.system or self.task.system, System).Config
        wanted = {"steps": self.steps_of(recipe), "augment": recipe.augment, "validate": 0.0, **dict(recipe.changes)}
        wanted |= dict(self.task.options) if not recipe.system else {}
        wanted |= {"looks": self.looks}
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in wanted.items() if name in known})


def model_folder(out: Path, slug: str, number: int) -> Path:
    """Returns the folder of model `number` of an arm."""
    return out / "models" / f"{slug}_{number}"
