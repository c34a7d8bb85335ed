"""Pairs of pictures side by side, with the part of each that lies in the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont

from migaki.report.sheets import picture, png

_SIDE, _GAP, _LINE, _COLUMNS = 150, 8, 18, 3
_INK, _PAPER, _FRAME = (40, 40, 40), (255, 255, 255), (220, 60, 40)

Box = Sequence[float]


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture and its original as they are shown (`framed`), and the captions of both."""

    query: Image.Image
    original: Image.Image
    captions: tuple[str, str]


def pairs_sheet(pairs: Sequence[Pair]) -> bytes:
    """Returns a PNG of pairs, three in a row: the picture, and right of it its original."""
    wide, high = 2 * _SIDE + _GAP, _SIDE + _LINE + _GAP
    columns = min(_COLUMNS, len(pairs))
    canvas = Image.new("RGB", (columns * (wide + 2 * _GAP), -(-len(pairs) // columns) * high), _PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(12)
    for number, pair in enumerate(pairs):
        left, top = number % columns * (wide + 2 * _GAP), number // columns * high
        for side, image in enumerate((pair.query, pair.original)):
            draw.text((left + side * (_SIDE + _GAP), top), _fitting(pair.captions[side], font), fill=_INK, font=font)
            canvas.paste(image, (left + side * (_SIDE + _GAP), top + _LINE))
    return png(canvas)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of a caption as fits above a picture: its middle is left out."""
    shown, keep = text, len(text)
    while keep > 4 and font.getlength(shown) > _SIDE:
        keep -= 1
        shown = f"{text[: keep - keep // 2]}…{text[len(text) - keep // 2 :]}"
    return shown


def framed(pixels: object, box: Box | None) -> Image.Image:
    """A picture (C, H, W) in [0, 1] that fits into the square, with a frame around a part of it (x, y, width, height
    in px). Small, so that a page of many photographs needs the memory of one."""
    image = torch.as_tensor(pixels).float()
    shown = picture(image if image.shape[0] in (1, 3) else image[:1]).convert("RGB")
    scale = _SIDE / max(shown.size)
    shown = shown.resize((max(1, round(shown.width * scale)), max(1, round(shown.height * scale))))
    if box is not None:
        x, y, width, height = (value * scale for value in box)
        if width >= 2 and height >= 2:
            ImageDraw.Draw(shown).rectangle((x, y, min(x + width, shown.width) - 1, min(y + height, shown.height) - 1),
                                            outline=_FRAME, width=2)
    return shown
