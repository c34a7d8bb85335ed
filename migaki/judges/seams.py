"""Measures whether a film shows where a field in blocks passes from one block to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.sets.clips import CLIP, clips_of
from migaki.report.figures import training_curves
from migaki.report.sheets import sheet
from migaki.systems.block_field import BlockField

_LEVELS = 255  # changes are in levels of a picture of 8 bits
_SHOWN = 3  # frames before and after a seam
_ABOUT = (
    "A change is the mean absolute difference of two frames that follow each other, in levels of 255. A seam lies "
    "where another block begins to count most. The ratio is the mean change across seams over that elsewhere: 1 if "
    "nothing shows. Apart is how much both blocks of a seam differ, alone, from the camera in which they meet: no "
    "camera moves there, and what blending hides is seen.")


class Seams(Judge):
    """Films along a camera path: how much the picture changes where one block of a field hands over to the next.

    The set has cameras and the columns `clip` and `frame`, as `migaki simulate scene --kind street` writes them; frames
    that lie close together tell more. The films themselves are the answer that costs nothing: their own changes at the
    same places, from the motion of the camera alone.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The camera path."""

        data: Path  # films with camera_to_world, intrinsics, clip and frame

    config: Config
    takes_runs = True
    file_name = "seams"

    def sources(self) -> tuple[Path, ...]:
        """The films."""
        return (self.config.data,)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the figures of one field in blocks."""
        if len(runs) != 1:
            raise UserError("evaluate seams: name one field in blocks: migaki evaluate seams RUN --data FILMS")
        system = load_system(runs[0])
        if not isinstance(system, BlockField):
            raise UserError(f"{show(runs[0])}: is no field in blocks: give a run of `migaki train block_field`")
        folder = ImageFolder(self.config.data, size=(system.config.height, system.config.width), channels=3)
        folder.require("camera_to_world", "intrinsics")
        clips = clips_of(folder.rows, show(folder.path))
        if clips is None:
            raise UserError(f"{show(folder.path)}: has no column `{CLIP}`, so it holds no films: give one that "
                            "`migaki simulate scene --kind street` has written")
        rows: list[dict[str, Any]] = []
        for film in clips.films:
            rows += steps_of(system, folder, film, lambda done: progress(done, len(folder)), len(rows))
        figures = figures_of(rows, "step")
        if figures["num_seams"] == 0:
            raise UserError(f"{show(folder.path)}: no film crosses from one block to another: give a longer path")
        chart = training_curves([{"frame": number, "change/the field": row["step"], "change/the film": row["truth"],
                                  "change/at a seam": row["step"] if row["is_seam"] else None}
                                 for number, row in enumerate(rows)], x="frame", points=("change/at a seam",))
        frames = _around(system, folder, rows)
        return Findings(
            title="Seams", record={"run": str(runs[0]), "data": str(self.config.data), "version": __version__},
            figures=figures, baseline=figures_of(rows, "truth"), baseline_name="the films themselves", notes=[_ABOUT],
            sections=[Section(picture=frames, caption="Frames round the seam with the largest change."),
                      Section(picture=chart, is_chart=True, caption="Change from frame to frame, film after film.")],
            files={"seams.png": frames})


@torch.inference_mode()
def steps_of(system: BlockField, folder: ImageFolder, film: Sequence[int], progress: Any = None,
             before: int = 0) -> list[dict[str, Any]]:
    """Returns for each pair of frames of a film (rows of `folder`) its change, that of the truth, and, at a seam, how
    much both blocks differ; two frames are in memory at a time."""
    poses = folder.read_label("camera_to_world", film).float()
    owners = system.shares(poses[:, :, 3]).argmax(1).tolist()
    rows: list[dict[str, Any]] = []
    last: tuple[Tensor, Tensor] | None = None
    for number, row in enumerate(film):
        batch = folder.read([row], ("image", "camera_to_world", "intrinsics"))
        now = system.predict(batch)["rendered"], batch["image"]
        if last is not None:
            is_seam = owners[number] != owners[number - 1]
            rows.append({"row": row, "is_seam": is_seam, "step": _change(last[0], now[0]),
                         "truth": _change(last[1], now[1]),
                         "apart": _apart(system, batch, owners[number - 1 : number + 1]) if is_seam else None})
        last = now
        if progress is not None:
            progress(before + number + 1)
    return rows


def figures_of(rows: Sequence[dict[str, Any]], key: str) -> dict[str, Any]:
    """Returns the mean change at seams and elsewhere, their ratio, and (of a field) how far blocks are apart."""
    seams, inside = ([row[key] for row in rows if row["is_seam"] is at] for at in (True, False))
    if not seams or not inside:
        return {"num_seams": 0}
    found = {"seam": sum(seams) / len(seams), "inside": sum(inside) / len(inside)}
    found["ratio"] = found["seam"] / max(found["inside"], 1e-9)
    if key == "step":
        found["apart"] = sum(row["apart"] for row in rows if row["is_seam"]) / len(seams)
    return found | {"num_seams": len(seams)}


def _change(one: Tensor, other: Tensor) -> float:
    return _LEVELS * float((one - other).abs().mean())


def _apart(system: BlockField, batch: dict[str, Tensor], pair: Sequence[int]) -> float:
    """How much two blocks differ, each alone, in what a camera sees."""
    one, other = (system.alone(number, batch["camera_to_world"], batch["intrinsics"])["rendered"].clamp(0, 1)
                  for number in pair)
    return _change(one, other)


def _around(system: BlockField, folder: ImageFolder, rows: Sequence[dict[str, Any]]) -> bytes:
    """The frames round the seam with the largest change: the field, and the film."""
    at = max((number for number, row in enumerate(rows) if row["is_seam"]), key=lambda number: rows[number]["step"])
    chosen = [row["row"] for row in rows[max(0, at - _SHOWN) : at + _SHOWN]]
    batch = folder.read(chosen, ("image", "camera_to_world", "intrinsics"))
    with torch.inference_mode():
        made = system.predict(batch)["rendered"]
    jumps = (4 * (made - torch.cat([made[:1], made[:-1]])).abs()).clamp(0, 1)
    return sheet([("field", made), ("film", batch["image"]), ("change x 4", jumps)],
                 min_side=160)
