"""Pictures of eyes with two lines of sight drawn on them: the true one and the predicted one."""

from __future__ import annotations

import math

import torch
from PIL import Image, ImageDraw, ImageFont

from migaki.ops.gaze import to_vector
from migaki.report.sheets import GAP, picture, png

TRUE, READ = (20, 160, 70), (214, 50, 40)
"""Colours of the arrows."""

_WIDTH, _PAPER, _INK = 240, (255, 255, 255), (40, 40, 40)
_REACH = 0.8  # length of an arrow perpendicular to the camera's axis, as a share of the picture's width


def arrow_end(gaze: torch.Tensor, width: int) -> torch.Tensor:
    """Convert gaze (..., 2) rad to the end x, y (..., 2) px of an arrow from the middle of a picture `width` px wide.

    The image's x and y axes are those of the camera, so dropping the depth projects a line of sight.
    """
    return to_vector(gaze.double())[..., :2] * (_REACH * width)


def gaze_sheet(images: torch.Tensor, truth: torch.Tensor, read: torch.Tensor, captions: list[str],
               columns: int = 4) -> bytes:
    """Draw eyes (B, 1 or 3, H, W) in [0, 1], enlarged, with true gaze in green and predicted gaze in red, as PNG.

    `truth` and `read` are (B, 2) rad, `captions` go below the pictures. Arrows start in the middle of the picture.
    """
    tiles = [_tile(image, arrow_end(torch.stack([a, b]), _WIDTH).tolist(), caption)
             for image, a, b, caption in zip(images, truth, read, captions, strict=True)]
    width, height = (max(tile.size[axis] for tile in tiles) for axis in (0, 1))
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    canvas = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), _PAPER)
    for place, tile in enumerate(tiles):
        canvas.paste(tile, (GAP + place % columns * (width + GAP), GAP + place // columns * (height + GAP)))
    return png(canvas)


def _tile(image: torch.Tensor, ends: list[list[float]], caption: str) -> Image.Image:
    """Returns one eye, `_WIDTH` px wide or more, with its arrows and its caption."""
    factor = max(1, math.ceil(_WIDTH / image.shape[2]))
    eye = picture(image, min_side=factor * min(image.shape[1:]))
    scale = eye.width / _WIDTH
    draw = ImageDraw.Draw(eye)
    for (x, y), colour in zip(ends, (TRUE, READ), strict=True):
        arrow(draw, (eye.width / 2, eye.height / 2), (x * scale, y * scale), colour, round(3 * scale))
    font = ImageFont.load_default(16)
    tile = Image.new("RGB", (eye.width, eye.height + 24), _PAPER)
    tile.paste(eye, (0, 0))
    ImageDraw.Draw(tile).text((2, eye.height + 12), caption, fill=_INK, font=font, anchor="lm")
    return tile


def arrow(draw: ImageDraw.ImageDraw, start: tuple[float, float], move: tuple[float, float],
           colour: tuple[int, int, int], width: int) -> None:
    """Draw a line with a head; a gaze straight into the camera is a dot."""
    x, y = start
    dx, dy = move
    length, thick = math.hypot(dx, dy), max(2, width)
    draw.ellipse((x - thick, y - thick, x + thick, y + thick), fill=colour)
    if length < 2 * thick:
        return
    ux, uy, head = dx / length, dy / length, min(length, 5.0 * thick)
    draw.line((x, y, x + dx - ux * head / 2, y + dy - uy * head / 2), fill=colour, width=thick)
    draw.polygon([(x + dx, y + dy), *((x + dx - ux * head + side * -uy * head / 2,
                                       y + dy - uy * head + side * ux * head / 2) for side in (1, -1))], fill=colour)
