"""Sheets of images: rows with captions, enlarged so that small patches can be judged by eye."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

import torch
from PIL import Image, ImageDraw, ImageFont

from migaki.core.errors import UserError

Row = tuple[str, torch.Tensor]
"""A caption, and images (B, C, H, W) in [0, 1] with one or three channels."""

GAP = 4
"""Pixels between images."""

_INK, _PAPER = (40, 40, 40), (255, 255, 255)


def sheet(rows: Sequence[Row], *, min_side: int = 96, upscale: Literal["nearest", "bicubic"] = "nearest",
          max_columns: int = 12) -> bytes:
    """Returns a contact sheet as PNG: one captioned row of images per entry, e.g. synthetic, refined, nearest real.

    Column i holds image i of every row; images beyond `max_columns` continue below. Images are enlarged by the smallest
    whole number that makes their shorter side at least `min_side` pixels. Rows may differ in size and in channels; each
    is scaled to the height of the tallest. Raises UserError for a shape that is no image, and if there are no images.
    """
    if not rows or not all(len(images) for _, images in rows):
        raise UserError("sheet: every row needs at least one image")
    pictures = [[picture(image, min_side, upscale) for image in images] for _, images in rows]
    height = max(image.height for row in pictures for image in row)
    pictures = [[_at_height(image, height, upscale) for image in row] for row in pictures]
    width = max(image.width for row in pictures for image in row)
    font = ImageFont.load_default(max(15, height // 5))  # legible when a phone shrinks the sheet
    margin = max(int(font.getlength(caption)) for caption, _ in rows) + 3 * GAP if any(c for c, _ in rows) else GAP
    columns = min(max_columns, max(map(len, pictures)))
    blocks = -(-max(map(len, pictures)) // columns)
    block_height = len(rows) * (height + GAP) + 3 * GAP
    canvas = Image.new("RGB", (margin + columns * (width + GAP), blocks * block_height - 2 * GAP), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for block in range(blocks):
        for number, ((caption, _), row) in enumerate(zip(rows, pictures, strict=True)):
            top = GAP + block * block_height + number * (height + GAP)
            part = row[block * columns:(block + 1) * columns]
            if part:
                draw.text((GAP, top + height // 2), caption, fill=_INK, font=font, anchor="lm")
            for column, image in enumerate(part):
                canvas.paste(image, (margin + column * (width + GAP), top))
    return png(canvas)


def picture(image: torch.Tensor, min_side: int = 1, upscale: Literal["nearest", "bicubic"] = "nearest") -> Image.Image:
    """Convert an image (C, H, W) in [0, 1] to RGB, enlarged by a whole number to `min_side`; NaN becomes magenta.

    Raises UserError if C is neither 1 nor 3, or if an axis is empty.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise UserError(f"sheet: an image must be (1 or 3, H, W), got {tuple(image.shape)}")
    pixels = image.detach().float().cpu().expand(3, -1, -1)
    broken = torch.where(pixels.isnan(), torch.tensor([1.0, 0.0, 1.0])[:, None, None], pixels)
    array = (broken.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    small = Image.fromarray(array)
    factor = max(1, -(-min_side // min(small.size)))
    return small.resize((small.width * factor, small.height * factor), _FILTERS[upscale])


def png(image: Image.Image) -> bytes:
    """Returns the picture as the content of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=6)  # 9 takes nine times as long for 1 % less
    return buffer.getvalue()


def image_png(image: torch.Tensor, *, min_side: int = 240, upscale: Literal["nearest", "bicubic"] = "nearest") -> bytes:
    """Returns an image (C, H, W) in [0, 1], enlarged, as the content of a PNG file, for a pair or a figure."""
    return png(picture(image, min_side, upscale))


_FILTERS = {"nearest": Image.Resampling.NEAREST, "bicubic": Image.Resampling.BICUBIC}


def _at_height(image: Image.Image, height: int, upscale: str) -> Image.Image:
    if image.height == height:
        return image
    return image.resize((max(1, round(image.width * height / image.height)), height), _FILTERS[upscale])
