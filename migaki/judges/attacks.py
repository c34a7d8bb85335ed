"""Measures whether attacked pictures still fool a classifier when they are seen anew, beside noise of equal norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.core.seeds import fold, generator
from migaki.core.view_ranges import Views
from migaki.data.files.names import stem_of
from migaki.data.folder import ImageFolder
from migaki.metrics.shares import share_of_pictures
from migaki.nets.scorer import Scorer, fit_pictures, open_single
from migaki.ops.attacks import Goal, lab_distance, noise_like, rounded
from migaki.ops.views import Drawn, draw_views, show_views, take
from migaki.report.sheets import sheet
from migaki.report.tables import Table

_HELD_OUT = 7041  # folded into the seed, so that no attack has drawn the same views
_CHUNK = 2**20  # values of the views that are shown at once
_SHOWN = 8

_ABOUT = (
    "Success: the share of views in which the model says the target, or without a target no longer says what it said "
    "of the picture itself. The views are drawn anew and are the same for the attacked picture, the picture as it was "
    "and noise whose L2 norm is that of the attack. Intervals are Wilson's at 95 % with the pictures as trials.")


class Attacks(Judge):
    """Shows attacked pictures under transforms that the attack has not seen, and counts how often they still fool.

    Beside it stand the same pictures before the attack and with random noise of equal norm. `attacked` is what `migaki
    apply attack` made of `data`. Distances are root mean square, largest change and mean distance in CIE L*a*b*.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The pictures, the model and the transforms."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "target transforms seed"}

        data: Path  # the pictures as they were
        attacked: Path  # the same pictures, attacked (`migaki apply attack`); paired by name
        model: Path  # the classifier to fool; another than the attack's measures how far it carries over
        target: str = ""  # the class that the attack wanted; none = any other than the model says of the picture
        transforms: int = 200  # views of each picture
        seed: int = 0  # of the views; they are never those of an attack
        views: Views = field(default_factory=lambda: Views())

        def __post_init__(self) -> None:
            if self.transforms < 1:
                raise UserError(f"--transforms {self.transforms}: at least 1")

    config: Config

    def sources(self) -> tuple[Path, ...]:
        """Returns both folders."""
        return (self.config.data, self.config.attacked)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns success with and without transforms, of the attack and its controls, and the distances."""
        config = self.config
        scores = open_single(config.model)
        target = scores.class_number(config.target) if config.target else None
        plain, attacked = ImageFolder(config.data), ImageFolder(config.attacked)
        pairs = paired(plain, attacked)
        rows: list[dict[str, Any]] = []
        pictures: list[tuple[Tensor, Tensor, Tensor]] = []
        for number, (before, after) in enumerate(pairs):
            one, other = (_picture(folder, index, scores) for folder, index in ((plain, before), (attacked, after)))
            if one.shape != other.shape:
                raise UserError(f"{show(attacked.file(after))}: has another size than {show(plain.file(before))}: give "
                                "what `migaki apply attack` made of --data")
            noisy = rounded(noise_like(one, other, [generator(config.seed, _HELD_OUT, number)]))
            rows.append({"file_name": plain.names[before], **self._measured(scores, target, number, one, other, noisy)})
            pictures += [(one, other, noisy)] if number < _SHOWN else []
            progress(number + 1, len(pairs))
        record = {"model": str(config.model), "data": str(config.data), "attacked": str(config.attacked),
                  "target": config.target, "transforms": config.transforms, "seed": config.seed,
                  "data_fingerprint": plain.fingerprint, "attacked_fingerprint": attacked.fingerprint,
                  "version": __version__}
        figures, baseline = _figures(rows, "attacked"), _figures(rows, "noise")
        untouched = {key: value for key, value in _figures(rows, "before").items() if key.startswith("success")}
        table = Table(list(rows[0]), [list(row.values()) for row in rows])
        return Findings(title="Attacks under transforms", record=record,
                        figures=figures | {f"untouched_{key}": value for key, value in untouched.items()},
                        baseline=baseline, baseline_name="noise of equal norm", notes=[_ABOUT],
                        sections=[_shown(pictures)], files={"attacks.csv": table.csv().encode()})

    def _measured(self, scores: Scorer, target: int | None, number: int, plain: Tensor, attacked: Tensor,
                  noisy: Tensor) -> dict[str, Any]:
        """Returns the row of one picture: success of the three, without and with transforms, and the distances."""
        config = self.config
        with torch.no_grad():
            said = scores(plain).argmax(1)
        goal = Goal(said if target is None else torch.full_like(said, target), target is not None)
        seen = draw_views(config.views, config.transforms, (plain.shape[2], plain.shape[3]),
                          generator(config.seed, _HELD_OUT, fold(0, number) % 2**31))
        found: dict[str, Any] = {"class_before": scores.class_name(int(said))}
        for name, picture in (("before", plain), ("attacked", attacked), ("noise", noisy)):
            found[f"{name}_flat"] = float(_reached(scores, goal, picture).mean())
            found[f"{name}_views"] = success_under(scores, goal, picture, seen)
        for name, picture in (("attacked", attacked), ("noise", noisy)):
            apart = picture - plain
            found |= {f"{name}_l2": float(apart.square().mean().sqrt()), f"{name}_linf": float(apart.abs().max()),
                      f"{name}_lab": float(lab_distance(plain, picture))}
        return found


def success_under(scores: Scorer, goal: Goal, picture: Tensor, seen: Drawn) -> float:
    """Returns the share of the drawn views of a picture (1, C, H, W) in which the goal is reached."""
    many = max(1, _CHUNK // picture.numel())
    hits = [_reached(scores, Goal(goal.classes.expand(len(part)), goal.is_target), show_views(picture, part))
            for part in (take(seen, start, start + many) for start in range(0, len(seen), many))]
    return float(torch.cat(hits).mean())


@torch.no_grad()
def _reached(scores: Scorer, goal: Goal, pictures: Tensor) -> Tensor:
    return goal.reached(scores(pictures)).float()


def _figures(rows: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"count": len(rows)}
    found |= share_of_pictures("success", [row[f"{name}_views"] for row in rows])
    found |= share_of_pictures("success_flat", [row[f"{name}_flat"] for row in rows])
    for distance in ("l2", "linf", "lab"):
        values = [row[f"{name}_{distance}"] for row in rows if f"{name}_{distance}" in row]
        found |= {distance: float(np.mean(values))} if values else {}
    return found


def paired(plain: ImageFolder, attacked: ImageFolder) -> list[tuple[int, int]]:
    """Returns the places of the pictures that both folders have, by name without ending; UserError if there is none."""
    places = {stem_of(name): place for place, name in enumerate(plain.names)}
    found = [(places[stem_of(name)], place) for place, name in enumerate(attacked.names) if stem_of(name) in places]
    if not found:
        raise UserError(f"{show(attacked.path)}: shares no name with {show(plain.path)}: give what `migaki apply "
                        "attack` made of --data, without --variants")
    return found


def _picture(folder: ImageFolder, index: int, scores: Scorer) -> Tensor:
    alone = folder.select([index])
    alone.channels = None
    picture = alone.read([0], ("image",))["image"]
    if problem := fit_pictures(scores, picture.shape[1:]):
        raise UserError(f"{show(folder.file(index))}: {problem}")
    return picture


def _shown(pictures: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Section:
    """Three rows of pictures; of differing sizes only the first one's size is shown."""
    same = [one for one in pictures if one[0].shape == pictures[0][0].shape]
    rows = [(caption, torch.cat([one[place] for one in same])) for place, caption in
            enumerate(("as it was", "attacked", "noise"))]
    return Section(heading="Pictures", picture=sheet(rows), caption="The first pictures of the set.")
