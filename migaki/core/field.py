"""Field: what a trained system of one scene gives beside pictures, so that changes and pages need not know which it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, cast

from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.trained import load_system

CAMERA = ("camera_to_world", "intrinsics")
"""What a field's `predict` needs."""


class Cameras(Protocol):
    """Cameras that a field has learned from: the first `count` of `poses` (N, 3, 4), and a `lens` (4,)."""

    poses: Tensor
    lens: Tensor
    count: Tensor


class Field(Protocol):
    """A scene that cameras look at."""

    config: Any
    kept: Cameras

    def predict(self, batch: Batch) -> Batch:
        """What cameras see: `rendered` (B, 3, H, W) and `rendered_depth` (B, H, W); some give `rendered_normals`."""

    def render(self, poses: Tensor, lenses: Tensor, size: tuple[int, int] | None = None) -> Batch:
        """The same of cameras (B, 3, 4) and (B, 4), all at once, in pictures of another `size` (height, width)."""


def open_field(run: Path) -> Field:
    """Returns the trained field of the run; UserError for a run that is none, or whose cameras are not known."""
    system: Any = load_system(run)
    kept = getattr(system, "kept", None)
    if tuple(system.inputs) != CAMERA or kept is None or not int(kept.count):
        raise UserError(f"{show(run)}: is no trained field of a scene: give a run of `migaki train voxel_field`")
    return cast(Field, system)
