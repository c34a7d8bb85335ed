"""The images of a visual Turing test, in one common form: only their content can tell real from fake.

Every image gets one width, one height, one number of channels and eight bits, and is sent as a PNG without compression:
all have the same number of bytes, and none carries a name, a date or any other metadata.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from migaki.core.errors import UserError
from migaki.core.seeds import generator
from migaki.data.folder import ImageFolder

Pixels = NDArray[np.uint8]
"""(H, W, C) with C = 1 (grey) or 3 (RGB)."""

LARGEST_SIDE = 1024
"""px. Larger pictures are reduced: a screen shows no more, and the page would load slowly."""

GREY_TOLERANCE = 2.5 / 255
"""Largest difference of the colour channels in a picture that counts as grey (JPEG changes them a little)."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """The properties that all images of one test share."""

    width: int
    height: int
    channels: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stimulus:
    """One image of the test."""

    is_real: bool
    name: str
    """File name in its folder. Only the report shows it; it is never sent to the page."""
    pixels: Pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class StimulusSet:
    """The images of one test. `assemble` puts the real ones first; the file stores them in random order."""

    form: Form
    stimuli: tuple[Stimulus, ...]
    warnings: tuple[str, ...] = ()
    """Differences between the two sets that remain although all images have the same form."""


def pick(folder: ImageFolder, count: int, seed: int, role: str) -> tuple[list[int], list[int]]:
    """Choose `count` images at random by `seed`; returns the indices (chosen, left over), each in random order."""
    if len(folder.names) < count:
        raise UserError(f"--{role}: has {len(folder.names)} images but --per-class is {count}: "
                        f"give more images or --per-class {len(folder.names)}")
    order = torch.randperm(len(folder.names), generator=generator(seed, 0 if role == "real" else 1)).tolist()
    return order[:count], order[count:]


def read_each(folder: ImageFolder, indices: Iterable[int]) -> list[Tensor]:
    """Read images one by one, since their sizes may differ. Shape: each (3, H, W) in [0, 1]."""
    return [folder.select([index]).read([0], keys=["image"])["image"][0] for index in indices]


def assemble(real_path: Path, fake_path: Path, per_class: int, seed: int) -> StimulusSet:
    """Choose the images of a test and give all of them one form; UserError if there are too few."""
    if per_class < 1:
        raise UserError(f"--per-class {per_class}: at least one image of each class is needed")
    if real_path.resolve() == fake_path.resolve():
        raise UserError(f"--photos and --fake are the same folder {real_path}: give two folders")
    chosen: dict[bool, list[tuple[str, Tensor]]] = {}
    for is_real, path, role in ((True, real_path, "real"), (False, fake_path, "fake")):
        folder = ImageFolder(path, channels=3)
        indices, _ = pick(folder, per_class, seed, role)
        names = [folder.names[index] for index in indices]
        chosen[is_real] = list(zip(names, read_each(folder, indices), strict=True))
    reals, fakes = ([image for _, image in chosen[is_real]] for is_real in (True, False))
    form = common_form(reals, fakes)
    stimuli = tuple(Stimulus(is_real=is_real, name=name, pixels=prepare(image, form))
                    for is_real in (True, False) for name, image in chosen[is_real])
    return StimulusSet(form=form, stimuli=stimuli, warnings=_warnings(reals, fakes, form))


def common_form(reals: Sequence[Tensor], fakes: Sequence[Tensor]) -> Form:
    """Returns the largest form that enlarges no image: the smallest width and height; grey if one set is all grey."""
    images = [*reals, *fakes]
    height, width = (min(image.shape[axis] for image in images) for axis in (1, 2))
    shrink = min(1.0, LARGEST_SIDE / max(width, height))
    grey = any(all(is_grey(image) for image in images) for images in (reals, fakes))
    return Form(width=max(1, round(width * shrink)), height=max(1, round(height * shrink)),
                channels=1 if grey else 3)


def is_grey(image: Tensor) -> bool:
    """Returns whether an image stored as RGB has no colour. Shape: (3, H, W)."""
    return bool((image.amax(0) - image.amin(0)).max() <= GREY_TOLERANCE)


def prepare(image: Tensor, form: Form) -> Pixels:
    """Give an image the common form: centre crop to its aspect, smooth reduction, its channels, eight bits.

    Shape: (3, H, W) in [0, 1] to (form.height, form.width, form.channels) uint8.
    """
    if form.channels == 1:
        image = (image * torch.tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)
    cropped = _crop_to_aspect(image, form.width / form.height)
    if cropped.shape[1:] != (form.height, form.width):
        cropped = functional.interpolate(cropped[None], (form.height, form.width), mode="bilinear", antialias=True)[0]
    pixels: Pixels = (cropped.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(pixels)


def _crop_to_aspect(image: Tensor, aspect: float) -> Tensor:
    """Returns the largest centred part of (C, H, W) whose width is `aspect` times its height."""
    height, width = image.shape[1:]
    new_width = max(1, min(width, round(height * aspect)))
    new_height = max(1, min(height, round(width / aspect)))
    left, top = (width - new_width) // 2, (height - new_height) // 2
    return image[:, top:top + new_height, left:left + new_width]


def _warnings(reals: Sequence[Tensor], fakes: Sequence[Tensor], form: Form) -> tuple[str, ...]:
    """Returns the differences that a common form cannot remove, one sentence each."""
    size = (form.height, form.width)
    scaled = [sum(image.shape[1:] != size for image in images) / len(images) for images in (reals, fakes)]
    found = []
    if abs(scaled[0] - scaled[1]) > 0.1:
        found.append(f"{scaled[0]:.0%} of the real and {scaled[1]:.0%} of the fake images had to be made smaller: "
                     "sharpness may give them away; give both sets one size")
    if form.channels == 1 and any(not is_grey(image) for image in [*reals, *fakes]):
        found.append("one set is grey, so the other one is shown in grey too")
    return tuple(found)


def encode_png(pixels: Pixels) -> bytes:
    """Returns a PNG without compression and without metadata; its length depends on the form alone.

    An image library would choose row filters, and might add chunks, depending on the content.
    """
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with filter 0: none
    rows[:, 1:] = pixels.reshape(height, -1)
    body = zlib.compress(rows.tobytes(), level=0)  # stored blocks
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data) for kind, data in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
