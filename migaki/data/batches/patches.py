"""Random patches of photographs of any size, as a pure function of the step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.seeds import fold
from migaki.data.batches.scene_balance import describe, group, lay_out
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image, show
from migaki.data.files.member import FilePath
from migaki.data.folder import ImageFolder

Array = np.ndarray[Any, Any]

MEMORY_LIMIT = 1_500_000_000
"""Limit in bytes of the decoded images kept in memory; the others are decoded whenever needed."""


class PatchSource:
    """Square patches at random positions in one folder of photographs, or at the same positions in paired folders.

    A patch is cut `zoom` times larger and scaled down, which hides the artefacts of compressed files. Half of the
    patches are mirrored.

    Args:
        folders: Key -> folder. Several folders are paired by file name without its ending (and by size).
        channels: Key -> channels to convert to; a key without one keeps those of its files.
        patch: Side of a patch, px.
        batch_size: Patches per batch and process.
        seed: Of the choice of photographs and positions.
        zoom: Range of px of the photograph per px of the patch; reduced if a photograph is too small.
        flip: Mirror left to right.
        turn: Rotate half of the patches by a quarter, so that nothing can be recognised by its direction.
        vivid: Strength of the colour changes, equal in all RGB pictures of a pair: channels change places, each
            is scaled by exp(-vivid) to exp(vivid), saturation by 0.5 to 1 + 3 * vivid; 0 = no change.
        shard: (rank, world) of this process.
        balance: If not 0 (at least 8), draw evenly over a map of the appearance of so many windows of the first key
            (`scene_balance`) instead of evenly over the photographs.

    Raises:
        UserError: for folders that cannot be paired, a photograph smaller than a patch, and errors of `ImageFolder`.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        *,
        channels: Mapping[str, int],
        patch: int,
        batch_size: int,
        seed: int,
        zoom: tuple[float, float] = (1.0, 1.0),
        flip: bool = True,
        turn: bool = False,
        vivid: float = 0.0,
        shard: tuple[int, int] = (0, 1),
        balance: int = 0,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        if patch < 1 or batch_size < 1 or not 1 <= zoom[0] <= zoom[1] or not 0 <= vivid <= 1:
            raise UserError(
                f"patches: patch {patch} and batch_size {batch_size} must be positive, zoom {zoom} two "
                f"ascending numbers of at least 1, and vivid {vivid} in [0, 1]"
            )
        self.patch, self.batch_size, self.seed = patch, batch_size, seed
        self.zoom, self.flip, self.turn, self.vivid, self.shard = zoom, flip, turn, vivid, shard
        self.channels = dict(channels)
        self.files = _pair({key: ImageFolder(path) for key, path in folders.items()})
        self._kept: dict[tuple[str, int], Array] = {}
        self._room = memory_limit
        self._groups: list[list[tuple[int, Array]]] = []
        if balance:
            self._balance(balance)

    @property
    def num_images(self) -> int:
        """Photographs; a pair counts once."""
        return len(next(iter(self.files.values())))

    def batch(self, step: int) -> Batch:
        """Returns the patches of this step, `(batch_size, C, patch, patch)` float32 in [0, 1] for each key."""
        rank, world = self.shard
        first = (step * world + rank) * self.batch_size
        patches = [self._patch(first + place) for place in range(self.batch_size)]
        return {key: torch.from_numpy(np.stack([patch[key] for patch in patches])) for key in self.files}

    def _patch(self, place: int) -> dict[str, Array]:
        random = np.random.Generator(np.random.PCG64(fold(self.seed, place)))
        num = len(next(iter(self.files.values())))
        index, mirrored = int(random.integers(num)), self.flip and random.random() < 0.5
        zoom, where = random.uniform(*self.zoom), random.random(2)
        if self._groups:
            alike = self._groups[int(random.integers(len(self._groups)))]
            index, near = alike[int(random.integers(len(alike)))]
            # Near this position, not exactly at it, because there are few windows.
            rooms = [max(1, side - self.patch) for side in self._read(next(iter(self.files)), index).shape[1:]]
            where = np.clip(near + self.patch / 2 * (where - 0.5) / rooms, 0, 1 - 1e-9)
        turned = self.turn and random.random() < 0.5
        images = {key: self._read(key, index) for key in self.files}
        sizes = {image.shape[1:] for image in images.values()}
        name = show(next(iter(self.files.values()))[index])
        if len(sizes) > 1:
            listed = " and ".join(sorted(f"{width} x {height}" for height, width in sizes))
            raise UserError(f"{name}: its pictures differ in size ({listed}): pair pictures of one size")
        ((height, width),) = sizes
        if min(height, width) < self.patch:
            raise UserError(
                f"{name}: is {width} x {height}, smaller than a patch of {self.patch}: leave it out or "
                "choose a smaller patch"
            )
        side = min(round(self.patch * zoom), height, width)
        top, left = (int(part * (room - side + 1)) for part, room in zip(where, (height, width), strict=True))
        result = {}
        for key, image in images.items():
            part = framing.resize(image[:, top : top + side, left : left + side], (self.patch, self.patch))
            unit = framing.to_unit(part)[..., :: -1 if mirrored else 1]
            result[key] = np.ascontiguousarray(unit.swapaxes(1, 2) if turned else unit)
        return self._vivid(result, random) if self.vivid else result

    def _vivid(self, patches: dict[str, Array], random: np.random.Generator) -> dict[str, Array]:
        """Apply random colour changes: street scenes are mostly grey, but restored pictures may have any colour."""
        order, factor = random.permutation(3), random.uniform(0.5, 1 + 3 * self.vivid)
        gains = np.exp(random.uniform(-self.vivid, self.vivid, (3, 1, 1))).astype(np.float32)

        def change(image: Array) -> Array:
            grey = image.mean(0, keepdims=True)
            changed: Array = ((grey + np.float32(factor) * (image - grey)) * gains)[order].clip(0, 1)
            return changed

        return {key: change(image) if len(image) == 3 else image for key, image in patches.items()}

    def _balance(self, num_windows: int) -> None:
        """Group windows at random positions of random pictures by their appearance."""
        if num_windows < 8:
            raise UserError(f"patches: balance {num_windows}: give at least 8 windows, or 0 to draw evenly")
        random = np.random.Generator(np.random.PCG64(fold(self.seed, 2**31)))
        key = next(iter(self.files))
        found, windows = [], []
        for _ in range(num_windows):
            index, where = int(random.integers(len(self.files[key]))), random.random(2)
            image = self._read(key, index)
            side = min(self.patch, *image.shape[1:])
            top, left = (int(part * (room - side + 1)) for part, room in zip(where, image.shape[1:], strict=True))
            part = framing.resize(image[:, top : top + side, left : left + side], (32, 32))
            found.append((index, where))
            windows.append(framing.to_unit(part))
        points = lay_out(describe(np.stack(windows)))
        self._groups = [[found[i] for i in members] for members in group(points)]

    def _read(self, key: str, index: int) -> Array:
        """Returns the whole photograph (C, H, W) in its own type; kept in memory while there is space."""
        if (key, index) in self._kept:
            return self._kept[key, index]
        path = self.files[key][index]
        image = framing.check_values(read_image(path), None, path)
        wanted = self.channels.get(key, image.shape[0])
        if image.shape[0] != wanted:
            has_alpha = path.suffix.lower() != ".npy" and read_header(path).has_alpha
            image = framing.convert_channels(image, wanted, has_alpha=has_alpha, path=path, opaque=False)
        if image.nbytes <= self._room:
            self._room -= image.nbytes
            self._kept[key, index] = image
        return image


def _pair(folders: dict[str, ImageFolder]) -> dict[str, list[FilePath]]:
    """Returns the paired files of each folder, in the same order."""
    stems = {
        key: {str(PurePosixPath(name).with_suffix("")): folder.file(index) for index, name in enumerate(folder.names)}
        for key, folder in folders.items()
    }
    first_key, first = next(iter(stems.items()))
    for key, files in stems.items():
        odd = sorted(files.keys() ^ first.keys())
        if odd:
            lacking = key if odd[0] in first else first_key
            raise UserError(
                f"{show(folders[lacking].path)}: has no picture '{show(odd[0])}' to pair with that in "
                f"{show(folders[first_key if lacking == key else key].path)}: the pictures of a pair need the same name"
            )
    return {key: [files[stem] for stem in sorted(first)] for key, files in stems.items()}
