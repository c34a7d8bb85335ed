"""The pictures of a material: one picture, a folder of them, or those of a word, of which one cluster is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_names import listed
from migaki.losses.style import gram, weights_for
from migaki.nets.style_features import StyleFeatures
from migaki.ops.style_clusters import LEAST, StyleClusters, style_clusters, style_vectors

LEAST_SIDE: Final = 16
"""Shorter side in px of a picture that has a style."""

MOST_READ: Final = 200
"""Pictures of a word that are clustered, evenly spaced."""


@dataclass(frozen=True, slots=True)
class StylePicture:
    """A picture (1, 3, H, W) in [0, 1] and, where its set has a mask, what counts of it (1, 1, H, W), 0 or 1."""

    name: str
    image: Tensor
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """The pictures whose style a region takes, and what they were chosen from."""

    name: str
    pictures: tuple[StylePicture, ...]
    candidates: tuple[StylePicture, ...]
    clusters: StyleClusters | None = None  # of the candidates
    cluster: int = 0  # the chosen one, from 1; 0 = not clustered


def open_material(to: str, words: Path | None, features: StyleFeatures, *, side: int, most: int,
                  cluster: int, only: int = 0) -> Material:
    """Returns the material `to`: a picture, a folder of pictures, or a word among the classes of `words`.

    Pictures are scaled so that their longer side has `side` px. A word's are clustered, and of its `cluster` (1 = the
    largest, 0 = all) the `most` most central ones are taken; of a folder some, evenly spaced. Of these, `only` takes
    one, from 1. Raises UserError for no picture, pictures too small, an unknown word, and too few pictures to cluster.
    """
    candidates = _read(ImageFolder(Path(to)), None, side) if words is None else _of_word(words, to, side)
    if words is None or not cluster:
        chosen = [candidates[place] for place in _spaced(len(candidates), most)]
        return Material(to, _lone(chosen, only), tuple(candidates))
    if len(candidates) < LEAST:
        count = f"{len(candidates)} picture{'s' if len(candidates) > 1 else ''}"
        raise UserError(f"{show(words)}: has {count} of '{show(to)}', and clusters need {LEAST} or more: add pictures, "
                        "or take all with --cluster 0")
    clusters = style_clusters(style_vectors(grams_of(candidates, features)))
    if cluster > len(clusters.order):
        raise UserError(f"--cluster {cluster}: the pictures of '{show(to)}' have {len(clusters.order)} clusters: give "
                        f"1 to {len(clusters.order)}, or 0 for all")
    chosen = [candidates[place] for place in clusters.order[cluster - 1][:most]]
    return Material(to, _lone(chosen, only), tuple(candidates), clusters, cluster)


def _lone(chosen: Sequence[StylePicture], only: int) -> tuple[StylePicture, ...]:
    if only > len(chosen):
        raise UserError(f"--only {only}: {len(chosen)} pictures were chosen: give 1 to {len(chosen)}")
    return (chosen[only - 1],) if only else tuple(chosen)


def grams_of(pictures: Sequence[StylePicture], features: StyleFeatures) -> list[Tensor]:
    """Returns the Gram matrices (N, C, C) of each layer."""
    found: list[list[Tensor]] = []
    for one in pictures:
        maps, weights = style_maps(one, features)
        found.append([gram(part, None if weights is None else weights[place]) for place, part in enumerate(maps)])
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


def style_maps(picture: StylePicture, features: StyleFeatures,
               image: Tensor | None = None) -> tuple[list[Tensor], list[Tensor] | None]:
    """Returns the maps of a picture (or of `image` in its place), and the weights of their places if it has a mask."""
    with torch.no_grad():
        maps = features.style_maps(picture.image if image is None else image)
    return maps, None if picture.mask is None else weights_for(picture.mask, maps)


def _of_word(words: Path, word: str, side: int) -> list[StylePicture]:
    """The pictures of a word: those of a class, or of the folder of that name, which may be a set of its own."""
    own = words / word
    try:
        folder = ImageFolder(words)
    except UserError:
        if Path(word).name == word and own.is_dir():
            return _read(ImageFolder(own), None, side)
        raise
    names = list(folder.class_names("label"))
    if "label" in folder.labels and word in names:
        rows = np.flatnonzero(folder.labels["label"] == names.index(word))
        if len(rows):
            return _read(folder, rows.tolist(), side)
    if folder.lone_subfolder == word:
        return _read(folder, None, side)
    known = names or ([folder.lone_subfolder] if folder.lone_subfolder else [])
    has = f"it has pictures of {listed(known)}" if known else "its pictures have no classes"
    raise UserError(f"{show(words)}: has no picture of '{show(word)}' ({has}): give one of its words as --to, or "
                    "another folder of word folders as --words")


def _read(folder: ImageFolder, rows: Sequence[int] | None, side: int) -> list[StylePicture]:
    """Up to `MOST_READ` pictures of a folder, evenly spaced, scaled to `side`."""
    rows = range(len(folder)) if rows is None else rows
    return [read_picture(folder, rows[place], side) for place in _spaced(len(rows), MOST_READ)]


def read_picture(folder: ImageFolder, row: int, side: int | None = None) -> StylePicture:
    """Returns a picture of a folder, its longer side scaled to `side` px, and what its mask shows if there is one.

    UserError for a picture that is too small or damaged, and for a mask of another size or without anything.
    """
    path = folder.file(row)
    header = read_header(path)
    if min(header.height, header.width) < LEAST_SIDE:
        raise UserError(f"{show(path)}: has {header.width} x {header.height} px, too few to have a style: give "
                        f"pictures of at least {LEAST_SIDE} px")
    array = framing.check_values(read_image(path), None, path)
    has_alpha = path.suffix.lower() != ".npy" and array.shape[0] in (2, 4) and header.has_alpha
    unit = framing.to_unit(framing.convert_channels(array, 3, has_alpha=has_alpha, path=path))
    image = torch.from_numpy(np.ascontiguousarray(unit))[None]
    image = image if side is None else scaled_to(image, side)
    if "mask" not in folder.files or folder.files["mask"][row] is None:
        return StylePicture(folder.names[row], image)
    numbers = folder.plane("mask", row)
    if numbers.shape != unit.shape[1:]:
        raise UserError(f"{show(path)}: has {unit.shape[2]} x {unit.shape[1]} px, and its mask {numbers.shape[1]} x "
                        f"{numbers.shape[0]}: bring them to one size")
    inside = torch.from_numpy(numbers != 0).float()[None, None]
    if not bool(inside.any()):
        raise UserError(f"{show(path)}: its mask is empty, so nothing of it shows the material: leave it out")
    return StylePicture(folder.names[row], image, F.interpolate(inside, size=image.shape[2:], mode="nearest-exact"))


def scaled_to(image: Tensor, side: int) -> Tensor:
    """Returns a picture (1, C, H, W) whose longer side has `side` px; the shorter one at least `LEAST_SIDE`."""
    height, width = image.shape[2:]
    scale = max(side / max(height, width), LEAST_SIDE / min(height, width))
    size = (max(LEAST_SIDE, round(height * scale)), max(LEAST_SIDE, round(width * scale)))
    if size == (height, width):
        return image
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)


def _spaced(count: int, most: int) -> list[int]:
    places: list[int] = np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
    return places
