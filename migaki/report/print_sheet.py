"""A sheet to print: a picture at a true size on A4, 300 dpi, with marks to cut along and a ruler to check the size."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from migaki.core.errors import UserError
from migaki.report.sheets import picture

DPI = 300
"""Dots per inch of the sheet."""

_PAPER = (2480, 3508)  # px, A4 at 300 dpi
_MARGIN = 118  # px, 1 cm
_INK = (0, 0, 0)


def px(centimetres: float) -> int:
    """Returns a length in px of the sheet."""
    return round(centimetres * DPI / 2.54)


def require_width(centimetres: float) -> None:
    """UserError for a patch that does not fit the paper."""
    most = (_PAPER[0] - 4 * _MARGIN) * 2.54 / DPI
    if not 1 <= centimetres <= most:
        raise UserError(f"--print-cm {centimetres:g}: the patch is from 1 to {most:.0f} cm wide on A4")


def print_sheet(patch: Tensor, centimetres: float, caption: str) -> Image.Image:
    """Returns the sheet of a patch (C, S, S) in [0, 1] that is `centimetres` wide and high when printed at full size.

    Raises UserError for a patch that does not fit the paper.
    """
    require_width(centimetres)
    side = px(centimetres)
    page = Image.new("RGB", _PAPER, (255, 255, 255))
    draw = ImageDraw.Draw(page)
    left, top = (_PAPER[0] - side) // 2, (_PAPER[1] - side) // 2
    page.paste(picture(patch).resize((side, side), Image.Resampling.BICUBIC), (left, top))
    for x in (left, left + side):
        for start, stop in ((top - 90, top - 15), (top + side + 15, top + side + 90)):
            draw.line([(x, start), (x, stop)], fill=_INK, width=2)
    for y in (top, top + side):
        for start, stop in ((left - 90, left - 15), (left + side + 15, left + side + 90)):
            draw.line([(start, y), (stop, y)], fill=_INK, width=2)
    font = ImageFont.load_default(42)
    draw.text((2 * _MARGIN, _MARGIN), caption, fill=_INK, font=font)
    draw.text((2 * _MARGIN, _MARGIN + 60), f"Print at 100 % (no scaling): the patch is {centimetres:g} cm wide. Cut "
              "along the marks.", fill=_INK, font=font)
    _ruler(draw, 2 * _MARGIN, _PAPER[1] - 2 * _MARGIN, font)
    return page


def _ruler(draw: ImageDraw.ImageDraw, left: int, y: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> None:
    """Ten centimetres, to check the scale of the printer."""
    draw.line([(left, y), (left + px(10), y)], fill=_INK, width=3)
    for step in range(11):
        draw.line([(left + px(step), y - (40 if step % 5 == 0 else 20)), (left + px(step), y)], fill=_INK, width=3)
    draw.text((left + px(10) + 30, y - 42), "10 cm", fill=_INK, font=font)


def as_png(page: Image.Image) -> bytes:
    """Returns the sheet as PNG that says its resolution."""
    file = io.BytesIO()
    page.save(file, "PNG", dpi=(DPI, DPI), compress_level=3)  # most of the sheet is white
    return file.getvalue()


def as_pdf(page: Image.Image) -> bytes:
    """Returns the sheet as a PDF of one page of A4."""
    file = io.BytesIO()
    # Without these dates Pillow writes the clock, and equal patches would give other bytes.
    page.save(file, "PDF", resolution=DPI, quality=95, creationDate=0, modDate=0)
    return file.getvalue()
