"""Poses against the truth: degrees, and % of the scene's size, after the similarity that aligns both best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.judges.same_rows import AgainstTruth
from migaki.metrics.geometry import pose_errors
from migaki.ops.camera_poses import nearest_rotation, rotation_errors
from migaki.report.tables import Table

Array = np.ndarray[Any, Any]

_COLUMNS = ("name", "rotation_deg", "centre_percent")
_ABOUT = ("Poses are known but for a similarity (where the world begins, how it is turned, how large it is). The one "
          "that aligns them best with the truth is applied first. Rotation: the angle in degrees that is left. Centre: "
          "the distance in % of the diagonal of the box round the true centres. The baseline stands in the middle of "
          "all cameras and looks in their mean direction.")


class Poses(AgainstTruth, Judge):
    """Compares the poses of a set, found by `migaki import poses`, with the true ones of pictures of its names.

    `rotation_deg` and `centre_percent` are means over the pictures that have a pose; `posed` is their share.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Both sets."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": ""}

        data: Path  # the set whose poses are judged
        truth: Path  # the set with the true poses

    config: Config

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the errors of each picture, their means and largest."""
        rows = self.pairs(runs, "camera_to_world")
        made, truth = rows.labels()
        if made.shape[1:] != (3, 4) or truth.shape[1:] != (3, 4) or not np.isfinite(made).all() or not np.isfinite(
                truth).all():
            raise UserError(f"{show(self.config.data)}: poses are 3 x 4 finite numbers: correct `camera_to_world`")
        try:
            errors = pose_errors(made, truth)
        except ValueError as error:
            raise UserError(f"{show(self.config.data)}: {error}: give more pictures") from error
        progress(len(rows), len(rows))
        table: list[list[Any]] = [
            [rows.name(k), float(errors["rotation"][k]), float(errors["centre"][k])] for k in range(len(rows))]
        figures = {"rotation_deg": float(errors["rotation"].mean()), "centre_percent": float(errors["centre"].mean()),
                   "worst_rotation_deg": float(errors["rotation"].max()),
                   "worst_centre_percent": float(errors["centre"].max()), "posed": len(rows) / rows.num_true,
                   "num_images": len(rows)}
        return Findings(title="Poses against the truth", record=self.record(), figures=figures, notes=[_ABOUT],
                        baseline=_middle(truth), baseline_name="all in the middle",
                        sections=[Section(heading="Every picture", columns=_COLUMNS, rows=table)],
                        files={"poses.csv": Table(columns=_COLUMNS, rows=tuple(map(tuple, table))).csv().encode()})


def _middle(truth: Array) -> dict[str, Any]:
    """The errors of cameras that all stand in the middle and look in the mean direction."""
    centres = truth[:, :, 3].astype(np.float64)
    size = max(float(np.linalg.norm(np.ptp(centres, axis=0))), 1e-12)
    found = {"centre_percent": float(100 * np.linalg.norm(centres - centres.mean(0), axis=1).mean() / size)}
    try:
        mean = nearest_rotation(truth[:, :, :3].astype(np.float64).mean(0))
    except ValueError:  # cameras all round have no mean direction
        return found
    return found | {"rotation_deg": float(rotation_errors(np.broadcast_to(mean, (len(truth), 3, 3)), truth).mean())}
