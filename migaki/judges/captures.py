"""Captures: whether cameras look where they should, and which pictures are blurred or badly exposed."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.data.files import framing
from migaki.data.files.image_file import read_image
from migaki.data.folder import ImageFolder
from migaki.metrics.captures import (
    Capture,
    Look,
    Remark,
    aim_angles,
    look_of,
    remarks_on_looks,
    remarks_on_poses,
)
from migaki.report.capture_plan import capture_plan
from migaki.report.tables import harmless

_ABOUT = ("What is odd about a set of posed pictures. Sharpness is the share of an edge's rise that its steepest pixel "
          "takes (1: a step); a picture counts as blurred below three quarters of the median. The aim is the angle "
          "between a camera's axis and the point that all axes pass nearest to.")


class Captures(Judge):
    """Judges cameras and pictures of a set with the columns `camera_to_world` and `intrinsics`."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The set."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "data"}

        data: Path  # a folder with the columns camera_to_world and intrinsics

    config: Config
    file_name = "captures"

    def sources(self) -> tuple[Path, ...]:
        """The set."""
        return (self.config.data,)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns what is odd, a table and a plan of the cameras; UserError for a set without cameras."""
        folder = ImageFolder(self.config.data)
        capture = capture_of(folder)
        looks = []
        for index, name in enumerate(folder.names):
            path = folder.file(index)
            pixels = framing.to_unit(framing.check_values(read_image(path), None, path))
            looks.append(look_of(name, np.rint(255 * pixels).astype(np.uint8)))
            progress(index + 1, len(folder))
        cameras, pictures = remarks_on_poses(capture), remarks_on_looks(look.text() for look in looks)
        return self._findings(folder, capture, looks, [*cameras, *pictures])

    def _findings(self, folder: ImageFolder, capture: Capture, looks: list[Look], remarks: list[Remark]) -> Findings:
        angles = aim_angles(capture.poses)
        aims = np.full(len(looks), np.nan) if angles is None else angles
        named = {name for remark in remarks for name in remark.names}
        odd = [index for index, name in enumerate(folder.names) if name in named]
        splits = [str(row.get("split") or "") for row in folder.rows]
        scene = folder.made.get("scene")
        bounds = np.array(scene["bounds"], np.float64) if isinstance(scene, dict) and scene.get("bounds") else None
        figures: dict[str, Any] = {
            "pictures": len(looks), "remarks": len(remarks), "odd_pictures": len(odd),
            "sharpness": float(np.median([one.sharpness for one in looks])),
            "aim_deg": None if angles is None else float(np.median(angles)),
            "look_away": None if angles is None else int((angles > 90).sum())}
        table = [[one.name, splits[number], f"{one.sharpness:.3f}", f"{one.mean:.3f}", f"{one.black:.3f}",
                  f"{one.white:.3f}", "" if np.isnan(aims[number]) else f"{aims[number]:.1f}"]
                 for number, one in enumerate(looks)]
        columns = ["picture", "split", "sharpness", "brightness", "black", "white", "aim in degrees"]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *([harmless(str(cell)) for cell in row]
                                                                   for row in table)])
        lines = [remark.line() for remark in remarks] or ["Nothing is odd."]
        return Findings(
            title="Captures", record={"data": str(self.config.data), "version": __version__}, figures=figures,
            notes=[_ABOUT, *lines], files={"captures.csv": text.getvalue().encode()},
            sections=[Section(heading="Cameras", picture=capture_plan(capture.poses, splits, bounds, odd),
                              caption="A dart for each camera, which points where it looks. Green: testing; red: odd; "
                                      "the box: the bounds of dataset.json."),
                      Section(heading="Pictures", columns=columns, rows=[[show(row[0]), *row[1:]] for row in table],
                              is_folded=True)])


def capture_of(folder: ImageFolder) -> Capture:
    """The cameras of a folder; UserError where columns are missing or hold no poses."""
    for key in ("camera_to_world", "intrinsics"):
        if key not in folder.labels:
            raise UserError(f"{show(folder.path)}: has no column '{key}': import a set with cameras, such as `migaki "
                            "import transforms`")
    folder.require("camera_to_world", "intrinsics")
    sizes = np.array([(header.height, header.width) for header in folder.headers])
    return Capture(names=folder.names, poses=folder.labels["camera_to_world"].astype(np.float64),
                   intrinsics=folder.labels["intrinsics"].astype(np.float64), sizes=sizes)
