"""Thumbnails of a set with its labels drawn: classes as captions, boxes, places, masks in colours, numbers."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from migaki.core.files import show
from migaki.core.glossary import keys_of
from migaki.data.folder import ImageFolder
from migaki.data.sets.labels import plain
from migaki.lab.tasks import Task
from migaki.report.sheets import GAP, picture

_SIDE = 96  # px, of the shorter side
_COLUMNS = 6
_LINE = 16  # px of a caption
_INK, _PAPER = (40, 40, 40), (255, 255, 255)
_COLOURS = ((230, 60, 40), (40, 150, 70), (30, 100, 200), (230, 160, 20), (150, 70, 180), (20, 170, 180))


def thumbnails(folder: ImageFolder, task: Task, count: int = 12) -> bytes:
    """Returns a sheet (PNG) of up to `count` pictures, evenly spaced, with the labels of the task drawn on them."""
    places = np.linspace(0, len(folder) - 1, min(count, len(folder))).round().astype(int).tolist()
    images = folder.read(places, ("image",))["image"]
    shown = [_with_labels(picture(image[:3] if image.shape[0] >= 3 else image[:1], _SIDE), image.shape[1:], folder,
                          place, task) for image, place in zip(images, places, strict=True)]
    width, height = shown[0][0].size
    captions = _LINE if any(caption for _, caption in shown) else 0
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + captions + GAP) - GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, (image, caption) in enumerate(shown):
        left, top = number % columns * (width + GAP), number // columns * (height + captions + GAP)
        sheet.paste(image, (left, top))
        while caption and font.getlength(caption) > width:
            caption = caption.removesuffix("…")[:-1] + "…"
        draw.text((left, top + height + 2), caption, fill=_INK, font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _with_labels(image: Image.Image, size: tuple[int, ...], folder: ImageFolder, index: int,
                 task: Task) -> tuple[Image.Image, str]:
    """Returns the picture with what can be drawn on it, and the caption that says the rest."""
    column, factor = task.column(folder), image.width / size[1]
    if column is None:
        return image, ""
    if column == "mask":
        return _tinted(image, folder.decode_file("mask", index)), ""
    value = folder.labels[column][index]
    draw = ImageDraw.Draw(image)
    if column == "boxes":
        classes = folder.labels.get("classes")
        for number, (x, y, w, h) in enumerate(value[(value[:, 2] > 0) & (value[:, 3] > 0)]):
            colour = _COLOURS[int(classes[index][number]) % len(_COLOURS)] if classes is not None else _COLOURS[0]
            draw.rectangle([x * factor, y * factor, (x + w) * factor, (y + h) * factor], outline=colour, width=2)
        return image, ""
    if column in keys_of("points"):
        for x, y in value.reshape(-1, value.shape[-1])[:, :2]:
            at = ((x + 0.5) * factor, (y + 0.5) * factor)
            draw.ellipse([at[0] - 2, at[1] - 2, at[0] + 2, at[1] + 2], fill=_COLOURS[0])
        return image, ""
    return image, _caption(folder, column, value)


def _caption(folder: ImageFolder, column: str, value: Any) -> str:
    names = folder.class_names(column)
    numbers = plain(np.atleast_1d(np.asarray(value)))
    if column in ("label", "labels"):
        return ", ".join(show(names[int(number)]) if int(number) < len(names) else str(int(number))
                         for number in numbers if number is not None and number >= 0)
    return ", ".join(f"{number:.3g}" if isinstance(number, float) else str(number) for number in numbers)


def _tinted(image: Image.Image, mask: Any) -> Image.Image:
    """Returns the picture with each class of the mask (H, W) in a colour; class 0 and 255 stay as they are."""
    tint = np.zeros((*mask.shape, 3), np.uint8)
    for value in np.unique(mask):
        if 0 < value < 255:
            tint[mask == value] = _COLOURS[int(value) % len(_COLOURS)]
    large = Image.fromarray(tint).resize(image.size, Image.Resampling.NEAREST)
    known = Image.fromarray(np.where(tint.any(-1), 140, 0).astype(np.uint8))
    return Image.composite(large, image, known.resize(image.size, Image.Resampling.NEAREST))
