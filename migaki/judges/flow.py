"""Flow against the truth: endpoint error and angle, beside no motion and the best constant motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.judges.same_rows import AgainstTruth
from migaki.metrics.geometry import UNKNOWN_FLOW, flow_errors
from migaki.ops.geometry.colours import paint_flow
from migaki.report.sheets import sheet
from migaki.report.tables import Table

Array = np.ndarray[Any, Any]

_SHOWN = 6
_COLUMNS = ("name", "endpoint", "angle", "over_1_px", "no_motion", "best_constant")
_ABOUT = ("Endpoint error: the mean distance in px between flow and truth over the pixels whose truth is known. Angle: "
          "between (u, v, 1) and the truth, in degrees. Beside them the endpoint error of no motion at all, and of the "
          "one motion (median of the truth) that would be best for the whole picture.")


class Flow(AgainstTruth, Judge):
    """Compares the `flow` of a set, made by `migaki apply flow`, with the true one of pictures of the same names.

    `aepe` is the average endpoint error in px, the mean over pictures; `aae` the average angular error in degrees.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Both sets."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": ""}

        data: Path  # the set whose flow is judged
        truth: Path  # the set with the true flow

    config: Config

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the errors of each picture and their means."""
        rows = self.pairs(runs, "flow")
        table, shown = list[list[Any]](), list[tuple[Array, Array]]()
        for number in range(len(rows)):
            made, truth = rows.maps(number)
            table.append([rows.name(number), *_measured(made, truth, show(rows.name(number)))])
            if len(shown) < _SHOWN:
                shown.append((made, np.where(np.abs(truth) < UNKNOWN_FLOW, truth, np.nan)))
            progress(number + 1, len(rows))
        means = np.mean([row[1:] for row in table], 0)
        figures = {"aepe": float(means[0]), "aae": float(means[1]), "over_1_px": float(means[2]),
                   "num_images": len(table), "num_true": rows.num_true}
        pictures = [_pictures(made, truth) for made, truth in shown]
        return Findings(title="Flow against the truth", record=self.record(), figures=figures, notes=[_ABOUT],
                        baseline={"aepe": float(min(means[3], means[4]))},
                        baseline_name="no motion, or the best constant one",
                        sections=[Section(heading="Flow, made and true", picture=sheet(
                            [(name, torch.stack([one[k] for one in pictures])) for k, name in
                             enumerate(("made", "true"))]) if _one_size(pictures) else None),
                            Section(heading="Every picture", columns=_COLUMNS, rows=table)],
                        files={"flow.csv": Table(columns=_COLUMNS, rows=tuple(map(tuple, table))).csv().encode()})


def _measured(made: Array, truth: Array, name: str) -> list[float]:
    errors = flow_errors(made, truth)
    if not len(errors["endpoint"]):
        raise UserError(f"{name}: its true flow is unknown everywhere: leave the picture out")
    known = np.isfinite(truth).all(0) & (np.abs(truth) < UNKNOWN_FLOW).all(0)
    right = truth[:, known]
    constant = np.median(right, 1, keepdims=True)
    return [float(errors["endpoint"].mean()), float(errors["angle"].mean()), float((errors["endpoint"] > 1).mean()),
            float(np.hypot(*right).mean()), float(np.hypot(*(right - constant)).mean())]


def _pictures(made: Array, truth: Array) -> tuple[torch.Tensor, torch.Tensor]:
    largest = float(np.nanpercentile(np.hypot(*truth), 99)) or 1.0
    return torch.from_numpy(paint_flow(made, largest)), torch.from_numpy(paint_flow(truth, largest))


def _one_size(pictures: Sequence[tuple[torch.Tensor, ...]]) -> bool:
    return len({one[0].shape for one in pictures}) == 1
