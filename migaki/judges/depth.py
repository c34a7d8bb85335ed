"""Depth against the truth: relative error and share within a quarter, beside depths that need no picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.judges.same_rows import AgainstTruth
from migaki.metrics.geometry import MeanInverse, depth_errors, lower_is_nearer, with_scale, with_scale_and_shift
from migaki.report.tables import Table

Array = np.ndarray[Any, Any]

_COLUMNS = ("name", "abs_rel", "within_1_25", "known", "abs_rel_constant", "abs_rel_ramp", "abs_rel_others",
            "within_constant", "within_ramp", "within_others")
_FLOORS = ("constant", "ramp", "others")
_SAID = {"constant": "the best constant", "ramp": "lower is nearer", "others": "the mean of the other pictures"}
_ABOUT = ("AbsRel: the mean of |depth - truth| / truth over the pixels whose depth and truth are known. Within 1.25: "
          "the share of them whose depth is at most a quarter too large or too small (delta 1). Known: the share of "
          "true pixels that have a depth. What needs no picture: constant, the median of the truth; ramp, 1 / depth "
          "that grows evenly downwards; others, the mean of 1 / depth of all other true pictures at the same place. "
          "The last two are fitted to the truth of the picture by scale and shift of 1 / depth, whatever --align is.")


def _as_it_is(depth: Array, truth: Array) -> Array:
    return depth


_ALIGN: dict[str, Callable[[Array, Array], Array]] = {"none": _as_it_is, "scale": with_scale,
                                                      "affine": with_scale_and_shift}


class Depth(AgainstTruth, Judge):
    """Compares the `depth` of a set, made by `migaki apply depth`, with the true one of pictures of the same names.

    Depth without a unit is brought to the truth first: --align scale by the medians, affine by scale and shift of
    1 / depth (Ranftl et al. 2022).
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Both sets."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "align"}

        data: Path  # the set whose depth is judged
        truth: Path  # the set with the true depth; 0 = unknown
        align: Literal["none", "scale", "affine"] = "none"  # what is fitted to the truth of each picture first

    config: Config

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the errors of each picture and their means."""
        rows, align = self.pairs(runs, "depth"), _ALIGN[self.config.align]
        table = list[list[Any]]()
        others = MeanInverse()
        for number in range(len(rows)):
            others.add(rows.maps(number)[1])
        for number in range(len(rows)):
            made, truth = rows.maps(number)
            table.append([rows.name(number), *measured(align(made, truth), truth, others.without(truth),
                                                       show(rows.name(number)))])
            progress(number + 1, len(rows))
        means = dict(zip(_COLUMNS[1:], np.mean([row[1:] for row in table], 0).tolist(), strict=True))
        figures: dict[str, Any] = {key: means[key] for key in _COLUMNS[1:4]}
        figures |= {"num_images": len(table), "num_true": rows.num_true}
        best = min(_FLOORS, key=lambda floor: means[f"abs_rel_{floor}"])
        return Findings(title="Depth against the truth", record=self.record(align=self.config.align), figures=figures,
                        notes=[_ABOUT], baseline={"abs_rel": means[f"abs_rel_{best}"],
                                                  "within_1_25": means[f"within_{best}"]},
                        baseline_name=_SAID[best],
                        sections=[Section(heading="Every picture", columns=_COLUMNS, rows=table)],
                        files={"depth.csv": Table(columns=_COLUMNS, rows=tuple(map(tuple, table))).csv().encode()})


def measured(made: Array, truth: Array, others: Array, name: str) -> list[float]:
    """Returns AbsRel, the share within 1.25, the share of true pixels that are known; the errors of the floors.

    `others` (H, W) is the depth that other pictures have at each place; 0 where none has one.
    """
    true = (truth > 0) & np.isfinite(truth)
    errors = depth_errors(made, truth)
    if not true.any() or not len(errors["relative"]):
        raise UserError(f"{name}: no pixel has both a depth and a true one: leave the picture out")
    constant = np.full(truth.shape, np.median(truth[true]))
    floors = [constant, *(with_scale_and_shift(np.where(floor > 0, floor, constant), truth)
                          for floor in (lower_is_nearer(*truth.shape), others))]
    found = [depth_errors(floor, truth) for floor in floors]
    return [float(errors["relative"].mean()), float((errors["ratio"] < 1.25).mean()),
            len(errors["relative"]) / float(true.sum()), *(float(one["relative"].mean()) for one in found),
            *(float((one["ratio"] < 1.25).mean()) for one in found)]
