"""What a run says of one picture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from migaki.api.show import picture_html
from migaki.core.errors import UserError
from migaki.data.files.image_file import read_image
from migaki.data.files.member import Member
from migaki.report.drawn import as_picture, draw_labels, in_words, joined
from migaki.stages.predict import Reading

Array = np.ndarray[Any, Any]
Picture = str | os.PathLike[str] | Image.Image | Array | torch.Tensor

_SIDE = 240  # px, in a notebook


class Prediction:
    """What a run says of one picture; places are px of the picture that was given.

    `prediction["label"]` is a value; `values` holds all of them, `shares` the likeliest classes with their shares,
    `planes` masks and the like, `made` the picture that the run makes (a refiner, a restorer), or None. A notebook
    shows the picture with what was read drawn in red.
    """

    def __init__(self, reading: Reading, pixels: Array, name: str, classes: tuple[str, ...]) -> None:
        self.reading, self.pixels, self.name, self.classes = reading, pixels, name, classes

    @property
    def values(self) -> dict[str, Any]:
        """Plain values by name: a class, numbers, lists of places in px."""
        return self.reading.values

    @property
    def shares(self) -> dict[str | int, float]:
        """The likeliest classes with their shares, the likeliest first."""
        return dict(self.reading.shares)

    @property
    def planes(self) -> dict[str, Array]:
        """Masks and the like, (H, W) in the size of the picture."""
        return self.reading.planes

    @property
    def made(self) -> Image.Image | None:
        """The picture that the run makes."""
        return None if self.reading.image is None else as_picture(self.reading.image)

    @property
    def picture(self) -> Image.Image:
        """The picture that was given, with what was read drawn on it."""
        return self.drawn(max(_SIDE, *self.pixels.shape[1:]))

    def drawn(self, side: int) -> Image.Image:
        """The same, `side` px wide or high."""
        return draw_labels(as_picture(self.pixels), self.reading.row, mask=self.planes.get("mask"),
                           names=self.classes, side=side)

    def words(self) -> list[str]:
        """What was read, one line each."""
        lines = [f"{name}: {value}" for name, value in in_words(joined(self.values), self.classes)]
        return lines + [f"{name}: {share:.1%}" for name, share in self.reading.shares[:3]]

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            raise KeyError(f"{name}: the run says {', '.join(self.values) or 'no values'}")
        return self.values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __repr__(self) -> str:
        return f"Prediction({self.name}: {'; '.join(self.words()) or 'a picture'})"

    def _repr_html_(self) -> str:
        made = self.made
        after = "" if made is None else picture_html(draw_labels(made, {}, side=_SIDE), ["what the run makes of it"])
        return picture_html(self.drawn(_SIDE), [self.name, *self.words()]) + after


class Predictions(list[Prediction]):
    """What a run says of several pictures, in their order."""

    def _repr_html_(self) -> str:
        return "".join(one._repr_html_() for one in self)


def pixels_of(picture: Picture) -> tuple[Array, str]:
    """Returns a picture's pixels (C, H, W) and its name.

    A path is read as in a set. An array is (H, W), (H, W, C) or (C, H, W): the shorter of the outer axes is the
    channels; a tensor is (C, H, W) or (H, W). Values are bytes, 16 bits or floats in [0, 1]. Raises UserError for
    anything else.
    """
    if isinstance(picture, torch.Tensor):
        array = picture.detach().cpu().numpy()
        return _checked(array[None] if array.ndim == 2 else array), "tensor"
    if isinstance(picture, np.ndarray):
        array = picture[None] if picture.ndim == 2 else picture
        if array.ndim == 3 and array.shape[2] < array.shape[0]:
            array = array.transpose(2, 0, 1)
        return _checked(array), "array"
    if isinstance(picture, Image.Image):
        upright = ImageOps.exif_transpose(picture)
        kept = upright if upright.mode in ("L", "RGB", "RGBA") else upright.convert("RGB")
        array = np.asarray(kept)
        return _checked(array[None] if array.ndim == 2 else array.transpose(2, 0, 1)), "picture"
    if isinstance(picture, Member):  # of a shard
        return read_image(picture), str(picture)
    if isinstance(picture, str | os.PathLike):
        return read_image(Path(picture)), str(picture)
    raise UserError(f"predict: give a path, a picture, an array or a tensor, not {type(picture).__name__}")


def _checked(array: Array) -> Array:
    if array.ndim != 3 or array.size == 0:
        raise UserError(f"predict: a picture is (H, W), (H, W, C) or (C, H, W), not {array.shape}")
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype.kind == "b":
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype not in (np.uint8, np.uint16):
        raise UserError(f"predict: values are bytes, 16 bits or floats in [0, 1], not {array.dtype}")
    return np.ascontiguousarray(array)
