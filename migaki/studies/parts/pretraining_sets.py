"""Sets that a study of pre-training is made of: fewer pictures, two domains, damaged pictures, coarser classes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.seeds import fold, generator
from migaki.data.folder import ImageFolder
from migaki.data.writers.writer import FolderWriter
from migaki.simulate.jpeg import Jpeg

DAMAGES = {"jpeg": "JPEG of quality 10", "small": "a quarter of the resolution", "pepper": "salt and pepper, a tenth"}
"""Slug and name."""


def take(parts: Sequence[tuple[Path, int]], out: Path, seed: int, like: Path) -> None:
    """Write `count` pictures of each (folder, count), chosen by `seed`, to a new set without labels, in one size.

    The size and the channels are those of the folder `like`; other folders may hold pictures of any sizes.
    """
    channels, height, width = ImageFolder(like).shape
    folders = [ImageFolder(path, size=(height, width), channels=channels) for path, _ in parts]
    for folder, (_, count) in zip(folders, parts, strict=True):
        if count > len(folder):
            raise UserError(f"{show(folder.path)}: has {len(folder)} pictures, and {count} are wanted")
    chosen = [np.random.default_rng(fold(seed, number)).permutation(len(folder))[:count]
              for number, (folder, (_, count)) in enumerate(zip(folders, parts, strict=True))]
    rows = [(folder, int(index)) for folder, places in zip(folders, chosen, strict=True) for index in places]
    _write(out, rows, lambda *_: {}, lambda image, _: image)


def damage(path: Path, out: Path, kind: str, seed: int) -> None:
    """Write all pictures of a folder, damaged as `DAMAGES` says, with their class labels."""
    folder = ImageFolder(path)
    _write(out, [(folder, index) for index in range(len(folder))], _class_of,
           lambda image, number: _damaged(image, kind, fold(seed, number)))


def regroup(path: Path, out: Path, groups: Mapping[str, str]) -> None:
    """Write all pictures of a folder with the class of their class: `groups` maps a name to that of its group."""
    folder = ImageFolder(path)
    names = [_class_of(folder, index)["label"] for index in range(len(folder))]
    lacking = sorted(set(names) - set(groups))
    if lacking:
        raise UserError(f"--groups: the class {show(lacking[0])} of {show(path)} is in no group: name it in one")
    _write(out, [(folder, index) for index in range(len(folder))], lambda _, index: {"label": groups[names[index]]},
           lambda image, _: image)


def groups_of(words: Sequence[str]) -> dict[str, str]:
    """Returns the group of every class, of words such as `animal:cat,dog`; UserError for other words."""
    found: dict[str, str] = {}
    for word in words:
        name, colon, classes = word.partition(":")
        parts = [part.strip() for part in classes.split(",")]
        if not name or not colon or not all(parts) or any(part in found for part in parts):
            raise UserError(f"--groups {show(word)}: give GROUP:CLASS,CLASS,... with each class once")
        found |= dict.fromkeys(parts, name)
    if words and len(set(found.values())) < 2:
        raise UserError("--groups: give two groups at least")
    return found


def _class_of(folder: ImageFolder, index: int) -> dict[str, Any]:
    """The class of a picture by its name; nothing where the folder has none, or no class for it."""
    number = folder.labels["label"][index] if "label" in folder.labels else np.nan
    if np.ndim(number) or np.isnan(number):
        return {}
    return {"label": folder.classes[int(number)] if folder.classes else str(int(number))}


def _damaged(image: Tensor, kind: str, seed: int) -> Tensor:
    """A damaged picture (C, H, W)."""
    draw = generator(seed)
    if kind == "jpeg":
        return Jpeg(Jpeg.Config(quality=(10, 10))).damage_one(image, draw)[0]
    if kind == "small":
        height, width = image.shape[-2:]
        little = F.interpolate(image[None], (max(1, height // 4), max(1, width // 4)), mode="area")
        return F.interpolate(little, (height, width), mode="bilinear", align_corners=False)[0]
    lots = torch.rand(1, *image.shape[-2:], generator=draw)
    return torch.where(lots < 0.05, 0.0, torch.where(lots > 0.95, 1.0, image))


def _write(out: Path, rows: Sequence[tuple[ImageFolder, int]], label: Callable[[ImageFolder, int], dict[str, Any]],
           change: Callable[[Tensor, int], Tensor]) -> None:
    if out.exists():
        shutil.rmtree(out)  # left by an interrupted call; nothing else writes there
    parents = list(dict.fromkeys(str(folder.path) for folder, _ in rows))
    with FolderWriter(out, {"parents": parents}, len(rows)) as writer:
        for place, (folder, index) in enumerate(rows):
            image = folder.read([index], ("image",))["image"][0]
            writer.write(place, f"{place:06d}", change(image, place), label(folder, index))
