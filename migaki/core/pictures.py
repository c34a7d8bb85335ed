"""Contact sheets as PNG bytes, for the samples that training writes."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

_CAPTION_HEIGHT = 14


def to_uint8(images: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Convert (B, C, H, W) in [0, 1] to (B, H, W, C) uint8, rounded."""
    bytes_ = (images.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return bytes_.permute(0, 2, 3, 1).cpu().numpy()


def contact_sheet(rows: list[tuple[str, Tensor]], zoom: int = 2) -> bytes:
    """Returns a PNG with one row of images per entry and its caption above. Images of one row have the same size."""
    strips = []
    for caption, images in rows:
        shown = images[:, :3] if images.shape[1] in (3, 4) else images[:, :1].expand(-1, 3, -1, -1)
        pixels = to_uint8(shown)
        strip = np.concatenate(list(pixels), axis=1).repeat(zoom, 0).repeat(zoom, 1)
        head = Image.new("RGB", (strip.shape[1], _CAPTION_HEIGHT), "white")
        ImageDraw.Draw(head).text((2, 1), caption, fill="black")
        strips += [np.asarray(head), strip]
    width = max(strip.shape[1] for strip in strips)
    page = np.concatenate([np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips])
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, "PNG")
    return buffer.getvalue()
