"""Rays of the pixels of posed pictures, as a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.seeds import fold
from migaki.data.folder import ImageFolder

_HELD_OUT = ("test", "val")


def divide_views(folder: ImageFolder, every: int) -> tuple[list[int], list[int]]:
    """Returns the places of the views that are learned from, and of those that are held out.

    Held out are the rows whose `split` is test or val; in a set without these every `every`-th view, none for 0.
    Raises UserError if nothing is left to learn from.
    """
    named = [index for index, row in enumerate(folder.rows) if row.get("split") in _HELD_OUT]
    held = named or (list(range(0, len(folder), every)) if every > 0 else [])
    learned = [index for index in range(len(folder)) if index not in set(held)]
    if not learned:
        why = ("each row's `split` says test or val: leave some of them out" if named
               else "give more views, or --hold-out 0")
        raise UserError(f"{show(folder.path)}: its views ({len(folder)}) are all held out, so none is left to learn "
                        f"from: {why}")
    return learned, held


class RayPixels:
    """Rays through pixels that are drawn from all views: a step's batch depends on (seed, step) alone.

    Args:
        folder: Views with `camera_to_world` and `intrinsics`.
        batch_size: Rays a step.
        seed: Of the draws.
        held_out: Other views, rendered to judge the field while it learns.
    """

    def __init__(self, folder: ImageFolder, batch_size: int, seed: int, held_out: ImageFolder | None = None) -> None:
        self._seed, self._count, self._held = seed, batch_size, held_out
        folder.require("camera_to_world", "intrinsics")
        self._poses = folder.read_label("camera_to_world", range(len(folder))).float()
        self._lenses = folder.read_label("intrinsics", range(len(folder))).float()
        self._pixels = self._load(folder)

    def _load(self, folder: ImageFolder) -> np.ndarray[Any, Any]:
        """All pixels (N, C, H, W), as they are kept in memory."""
        return np.stack([_bytes(folder, index) for index in range(len(folder))])

    @property
    def num_images(self) -> int:
        """Views that are learned from."""
        return len(self._pixels)

    def batch(self, step: int) -> Batch:
        """`ray_origin`, `ray_direction` and `ray_colour`, each (B, 3); colours in [0, 1]."""
        draw = np.random.Generator(np.random.PCG64(fold(self._seed, step)))
        views, _, height, width = self._pixels.shape
        places = draw.integers(0, views * height * width, self._count)
        view, rest = np.divmod(places, height * width)
        row, column = np.divmod(rest, width)
        pixel = torch.from_numpy(np.stack([column, row], 1).astype(np.float32)) + 0.5
        chosen = torch.from_numpy(view)
        lens, pose = self._lenses[chosen], self._poses[chosen]
        local = torch.cat([(pixel - lens[:, 2:]) / lens[:, :2], torch.ones(self._count, 1)], 1)
        direction = torch.nn.functional.normalize((pose[:, :, :3] * local[:, None]).sum(-1), dim=-1)
        return {"ray_origin": pose[:, :, 3], "ray_direction": direction} | self._seen(view, row, column)

    def _seen(self, view: np.ndarray[Any, Any], row: np.ndarray[Any, Any], column: np.ndarray[Any, Any]) -> Batch:
        """What was measured at these pixels, each (B,) int64."""
        return {"ray_colour": torch.from_numpy(self._pixels[view, :, row, column].astype(np.float32) / 255)}

    def held_out(self) -> Iterator[Batch]:
        """The held-out views one by one: `camera_to_world`, `intrinsics` and `image`."""
        if self._held is None:
            return
        for index in range(len(self._held)):
            yield self._held.read([index], ("image", "camera_to_world", "intrinsics"))


def _bytes(folder: ImageFolder, index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    pixels = folder.decode(index)
    return pixels if pixels.dtype == np.uint8 else np.rint(
        pixels.astype(np.float64) * (255 if pixels.dtype.kind == "f" else 1 / 257)).astype(np.uint8)


def evenly(places: Sequence[int], count: int) -> list[int]:
    """At most `count` of these places, evenly spread."""
    if len(places) <= count:
        return list(places)
    return [places[len(places) * k // count] for k in range(count)]
