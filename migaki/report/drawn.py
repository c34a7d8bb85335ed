"""Draws labels on pictures (masks, boxes with classes, points, gaze) and puts the rest of a row into words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from migaki.core.files import show
from migaki.core.glossary import glossary
from migaki.data.sets.objects import of_objects
from migaki.report.gaze_pictures import READ, TRUE, arrow, arrow_end

Array = np.ndarray[Any, Any]
Row = Mapping[str, Any]

COLOURS: Final = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233),
                  (240, 228, 66), (140, 109, 49))
"""Colours of class 0, 1, ..., repeated (Okabe and Ito 2008, safe for colour-blind readers)."""

IGNORED: Final = 255
"""The class index of pixels that are not judged."""

_COVER = 0.45  # opacity of a mask's colour
_LARGEST_ZOOM = 16  # limits the enlargement of tiny pictures
_MOST_OBJECTS = 300  # objects of a row that are drawn
_MOST_ENTRIES = 8  # entries of a list that are put into words
_MOST_WORDS = 40  # columns of a row that are put into words


def as_picture(array: Array) -> Image.Image:
    """Returns pixels (C, H, W) of bytes, 16 bits or floats in [0, 1] as RGB. If C is not 1, 3 or 4, the first channel
    is shown, stretched to its range."""
    planes = array[:3] if array.shape[0] in (3, 4) else array[:1]
    if planes.dtype == np.uint16:
        planes = planes >> 8
    elif planes.dtype != np.uint8:
        planes = np.nan_to_num(planes.astype(np.float32))
        if array.shape[0] not in (1, 3, 4):
            planes = (planes - planes.min()) / max(float(np.ptp(planes)), 1e-9)
        planes = np.rint(planes.clip(0, 1) * 255)
    whole = np.broadcast_to(planes, (3, *planes.shape[1:])).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(whole.transpose(1, 2, 0)))


def shown_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Returns the width and height of a picture shown with its longer side near `side` px: small ones are enlarged by
    a whole number, large ones reduced."""
    longer = max(width, height)
    if longer > side:
        return max(1, round(width * side / longer)), max(1, round(height * side / longer))
    zoom = min(_LARGEST_ZOOM, side // longer)
    return width * zoom, height * zoom


def draw_labels(picture: Image.Image, row: Row, *, mask: Array | None = None, names: Sequence[str] = (),
                side: int = 320) -> Image.Image:
    """Returns the picture with the labels of its row, `side` px wide or high.

    Labels are green, predictions of a model (`predicted_...`) are red. `row` holds metadata columns, positions in px of
    `picture`. `mask` (H, W) holds class indices; 0 and 255 are not coloured. `names` are those of the classes.
    """
    width, height = shown_size(*picture.size, side)
    how = Image.Resampling.NEAREST if width >= picture.width else Image.Resampling.LANCZOS
    shown = picture.convert("RGB").resize((width, height), how)
    if mask is not None:
        shown = _covered(shown, mask)
    draw, scale = ImageDraw.Draw(shown), (width / picture.width, height / picture.height)
    columns = joined(row)
    for name in sorted(columns, key=lambda name: name.startswith("predicted_")):  # predictions are drawn last
        colour = READ if name.startswith("predicted_") else TRUE
        own, values = name.removeprefix("predicted_"), _numbers(columns[name])
        if values is None:
            continue
        if own == "boxes":
            _boxes(draw, values, _words(columns, name, names), colour, scale)
        elif own == "gaze" and values.shape == (2,):
            end = arrow_end(torch.from_numpy(values), width).tolist()
            arrow(draw, (width / 2, height / 2), (end[0], end[1]), colour, max(2, width // 100))
        elif _kind(own) == "points":
            _points(draw, values, colour, scale, size=max(2, width // 110))
    return shown


def joined(row: Row) -> dict[str, Any]:
    """Returns the columns of a row; components of one vector (`gaze_pitch`, `gaze_yaw`) are joined under its key."""
    found = dict(row)
    for key in glossary().values():
        for prefix in ("", "predicted_"):
            parts = [f"{prefix}{column}" for column in key.columns]
            if parts and all(found.get(part) is not None for part in parts):
                found[f"{prefix}{key.name}".replace("predicted_predicted_", "predicted_")] = [
                    found.pop(part) for part in parts]
    return found


def in_words(row: Row, names: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Returns what is not drawn, as pairs (column, text): classes, numbers, short lists, text. No file names.

    Objects are given by their number, angles in degrees. `names` are those of the classes.
    """
    found: list[tuple[str, str]] = []
    for name, value in row.items():
        own = name.removeprefix("predicted_")
        prefix = name.removesuffix(own)
        has_boxes = own != "boxes" and f"{prefix}boxes" in row and of_objects(name)
        if name == "file_name" or name.endswith("_file_name") or value is None or has_boxes or _kind(own) == "points":
            continue
        if isinstance(value, str | int | float | bool | list) and len(found) < _MOST_WORDS:
            found.append((name.replace("_", " "), _text(own, value, names)))
    return found


def _text(own: str, value: Any, names: Sequence[str]) -> str:
    key = glossary().get(own)
    if isinstance(value, list):
        if own == "boxes" or len(value) > _MOST_ENTRIES:
            return f"{len(value)}" if own == "boxes" else f"{len(value)} numbers"
        return ", ".join(_text(own, item, names) for item in value) or "none"
    if own in ("label", "labels", "classes") and type(value) is int and 0 <= value < len(names):
        return show(names[value])
    if isinstance(value, float) and key is not None and key.unit.startswith("rad") and math.isfinite(value):
        return f"{math.degrees(value):.1f}°"
    if isinstance(value, float):
        return f"{value:.4g}"
    return show(str(value)[:200])


def _kind(own: str) -> str:
    key = glossary().get(own)
    return "points" if own in ("points", "landmarks") else key.kind if key is not None else ""


def _numbers(value: Any) -> Array | None:
    """Returns a list of numbers as an array; None for any other value."""
    if not isinstance(value, list) or not value:
        return None
    try:
        array = np.array(value[:_MOST_OBJECTS], np.float64)
    except (ValueError, TypeError):
        return None
    return array if np.isfinite(array).all() and (np.abs(array) < 1e6).all() else None


def _words(columns: Row, name: str, names: Sequence[str]) -> Iterator[str]:
    """Yields the text of each box: its class and the model's score."""
    prefix = name.removesuffix("boxes")
    classes, scores = columns.get(f"{prefix}classes"), columns.get(f"{prefix}scores")
    for number in range(_MOST_OBJECTS):
        name_of, score = _at(classes, number), _at(scores, number)
        said = [] if name_of is None else [_text("classes", name_of, names)]
        yield " ".join(said + ([f"{score:.0%}"] if isinstance(score, int | float) else []))


def _at(values: Any, number: int) -> Any:
    return values[number] if isinstance(values, list) and number < len(values) else None


def _boxes(draw: ImageDraw.ImageDraw, boxes: Array, words: Iterator[str], colour: tuple[int, int, int],
           scale: tuple[float, float]) -> None:
    if boxes.shape[-1] != 4:
        return
    font = ImageFont.load_default(12)
    for (left, top, width, height), word in zip(boxes.reshape(-1, 4), words, strict=False):
        x, y = left * scale[0], top * scale[1]
        corner = x + max(0.0, width * scale[0]), y + max(0.0, height * scale[1])
        draw.rectangle((x, y, *corner), outline=colour, width=2)
        if word:
            place = (x + 3, y + 1) if y < 14 else (x + 1, y - 14)
            draw.rectangle(draw.textbbox(place, word, font=font), fill=colour)
            draw.text(place, word, fill=(255, 255, 255), font=font)


def _points(draw: ImageDraw.ImageDraw, values: Array, colour: tuple[int, int, int], scale: tuple[float, float],
            size: int) -> None:
    """Draw dots. In triples the last number is the state: 0 (not labelled) is not drawn, 1 (hidden) is a ring."""
    if values.shape[-1] not in (2, 3):
        return
    has_state = values.ndim == 3  # points of objects: x, y, visible
    for point in values.reshape(-1, values.shape[-1])[: 64 * _MOST_OBJECTS]:
        state = point[2] if has_state and len(point) == 3 else 2
        if state <= 0:
            continue
        x, y = (point[0] + 0.5) * scale[0], (point[1] + 0.5) * scale[1]
        draw.ellipse((x - size, y - size, x + size, y + size), fill=colour if state >= 2 else None, outline=colour,
                     width=1)


def _covered(shown: Image.Image, mask: Array) -> Image.Image:
    """Returns the picture covered by the colours of the mask's classes."""
    plane = np.where((mask > 0) & (mask != IGNORED), mask.astype(np.int64) % len(COLOURS) + 1, 0).astype(np.uint8)
    large = np.asarray(Image.fromarray(plane).resize(shown.size, Image.Resampling.NEAREST))
    paint = np.array([(0, 0, 0), *COLOURS], np.float32)[large]
    share = np.where(large > 0, _COVER, 0.0)[..., None]
    pixels = np.asarray(shown, np.float32) * (1 - share) + paint * share
    return Image.fromarray(np.rint(pixels).astype(np.uint8))
