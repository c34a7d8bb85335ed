"""Disparity against the truth: the share of bad pixels, of all and of those that both views show."""

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
from migaki.ops.geometry.colours import paint_nearness
from migaki.ops.geometry.stereo import occluded
from migaki.report.sheets import sheet
from migaki.report.tables import Table

Array = np.ndarray[Any, Any]

_COLUMNS = ("name", "bad_all", "bad_seen", "mean_error", "unknown", "bad_all_constant", "bad_seen_constant")
_ABOUT = ("Bad: more than LIMIT px from the truth, in % of the pixels whose truth is known; one without a disparity is "
          "bad. Seen: those that the right view shows too. Which these are follows from the true disparities of the "
          "left view: a pixel is hidden if it lands beyond the left border, or where one lands that is nearer by more "
          "than 1 px. Constant: the one disparity (median of the truth) that needs no picture.")


class Stereo(AgainstTruth, Judge):
    """Compares the `disparity` of a set, made by `migaki apply stereo`, with the true one of pictures of its names.

    `bad_all` and `bad_seen` are the shares of pixels in % that err by more than --limit, of all and of those that both
    views show; the mean over pictures.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Both sets."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "limit"}

        data: Path  # the set whose disparity is judged
        truth: Path  # the set with the true disparity; 0 = unknown
        limit: float = 1.0  # px; larger errors are bad

        def __post_init__(self) -> None:
            if not self.limit > 0:
                raise UserError(f"evaluate stereo: --limit {self.limit}: give a number above 0")

    config: Config

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the errors of each pair and their means."""
        rows = self.pairs(runs, "disparity")
        table, sections = list[list[Any]](), list[Section]()
        for number in range(len(rows)):
            made, truth = rows.maps(number)
            name = rows.name(number)
            table.append([name, *measured(made, truth, self.config.limit, show(name))])
            if len(sections) < 6:
                sections.append(Section(caption=f"{name}: made, true, and where it errs", picture=_picture(
                    made, truth, self.config.limit)))
            progress(number + 1, len(rows))
        means = np.mean([row[1:] for row in table], 0)
        figures: dict[str, Any] = {key: float(value) for key, value in zip(_COLUMNS[1:5], means, strict=False)}
        figures |= {"num_images": len(table), "num_true": rows.num_true, "limit": self.config.limit}
        record = self.record(limit=self.config.limit)
        return Findings(title="Disparity against the truth", record=record, figures=figures,
                        notes=[_ABOUT.replace("LIMIT", f"{self.config.limit:g}")],
                        baseline={"bad_all": float(means[4]), "bad_seen": float(means[5])},
                        baseline_name="the best constant",
                        sections=[Section(heading="Every pair", columns=_COLUMNS, rows=table), *sections],
                        files={"stereo.csv": Table(columns=_COLUMNS, rows=tuple(map(tuple, table))).csv().encode()})


def measured(made: Array, truth: Array, limit: float, name: str) -> list[float]:
    """Returns % bad of all and of seen pixels, mean error in px of known ones, % unknown, and % bad of a constant."""
    known = (truth > 0) & np.isfinite(truth)
    if not known.any():
        raise UserError(f"{name}: its true disparity is unknown everywhere: leave the picture out")
    seen = known & ~occluded(truth, known)
    there = np.isfinite(made) & (made > 0)
    bad = ~there | (np.abs(made - truth) > limit)
    constant = np.abs(np.median(truth[known]) - truth) > limit
    error = np.abs(made - truth)[known & there]
    return [100 * float(bad[known].mean()), 100 * float(bad[seen].mean()) if seen.any() else 0.0,
            float(error.mean()) if len(error) else 0.0, 100 * float((~there)[known].mean()),
            100 * float(constant[known].mean()), 100 * float(constant[seen].mean()) if seen.any() else 0.0]


def _picture(made: Array, truth: Array, limit: float) -> bytes:
    known = truth > 0
    errs = np.where(known & (np.abs(made - truth) > limit), 1, 0.15 * known).astype(np.float32)
    painted = (paint_nearness(made, made > 0), paint_nearness(truth, known), np.repeat(errs[None], 3, 0))
    return sheet([("", torch.from_numpy(np.stack(painted)))])
