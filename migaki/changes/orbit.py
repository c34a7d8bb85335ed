"""A film of a tour round a scene that a field has learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from migaki.changes.parts.field_pictures import pictures_of
from migaki.core.batch import Batch
from migaki.core.change import Change
from migaki.core.errors import UserError
from migaki.core.field import open_field
from migaki.core.files import explain, show, write_alone
from migaki.data.files.video import film_bytes
from migaki.ops.camera import orbit


class Orbit(Change):
    """Films a tour round the scene of a trained field: `migaki apply orbit --model RUN --out tour.mp4`.

    The path goes round what the training cameras look at, at their mean distance and height. For a capture that saw one
    side alone give --turn, since a field invents what no camera saw. Views of other cameras: `migaki apply RUN`.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The field and the path."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "turn frames rate picture"}

        model: Path  # the folder of a trained field (voxel_field, nerf)
        turn: float = 360.0  # degrees that the tour goes round
        frames: int = 90  # of the film
        rate: int = 25  # frames a second
        picture: Literal["colour", "depth", "normals", "all"] = "colour"  # what is shown; all: side by side

        def __post_init__(self) -> None:
            if not 0 < abs(self.turn) <= 3600 or not 1 <= self.frames <= 100_000 or not 1 <= self.rate <= 240:
                raise UserError(f"--turn {self.turn:g} --frames {self.frames} --rate {self.rate}: the turn is up to "
                                "3600 degrees, the frames 1 to 100000, the rate 1 to 240 frames a second")

    config: Config
    by_itself = True

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """There is nothing to change in a set."""
        raise UserError("apply orbit: takes no set: give --model RUN and --out NAME.mp4")

    def write(self, out: Path, progress: Callable[[int, int], None]) -> None:
        """Render the tour into the film `out`, whole or not at all; one frame at a time is in memory."""
        if out.suffix.lower() != ".mp4":
            raise UserError(f"--out {show(out)}: a tour is a film: give a name that ends in .mp4")
        if not out.parent.is_dir():
            raise UserError(f"{show(out.parent)}: no such folder: create it first")
        film = film_bytes(self._frames(progress), self.config.rate)
        try:
            write_alone(out, film)
        except OSError as error:
            raise explain(error, out) from error

    def _frames(self, progress: Callable[[int, int], None]) -> Iterator[np.ndarray[Any, Any]]:
        """Yields the frames (H, W, 3) uint8."""
        field = open_field(self.config.model)
        kept = field.kept
        poses = orbit(kept.poses[: int(kept.count)], self.config.frames, turn_deg=self.config.turn)
        far = (kept.poses[: int(kept.count), :, 3] - kept.poses[: int(kept.count), :, 3].mean(0)).norm(dim=1).mean()
        for number, pose in enumerate(poses):
            with torch.inference_mode():
                made = field.predict({"camera_to_world": pose[None], "intrinsics": kept.lens[None]})
            yield self._shown(made, float(far))
            progress(number + 1, len(poses))

    def _shown(self, made: Batch, scale: float) -> np.ndarray[Any, Any]:
        """One frame; all share the scale of depth, so that it does not flicker."""
        parts = pictures_of(made, scale)
        wanted = list(parts) if self.config.picture == "all" else [self.config.picture]
        if missing := [name for name in wanted if name not in parts]:
            raise UserError(f"--picture {missing[0]}: this field has none: give colour or depth")
        whole = torch.cat([parts[name] for name in wanted], 2)
        found: np.ndarray[Any, Any] = (whole.permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)
        return found
