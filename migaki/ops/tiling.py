"""Apply a network to an image of any size: overlapping tiles, bounded memory, no seams."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

Network = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Span:
    """One tile along one axis: it reads [start, stop) and is kept in [first, last), fading at inner ends."""

    start: int
    stop: int
    first: int
    last: int
    fade_in: int  # px over which this tile takes over from the one before; 0 at the image's border
    fade_out: int


def apply_tiled(network: Network, image: torch.Tensor, *, tile: int = 512, context: int = 64, blend: int = 16,
                multiple: int = 1, scale: int = 1, device: torch.device | str | None = None) -> torch.Tensor:
    """Return the network's output for the whole image, computed tile by tile.

    It takes the arguments of `tiled_rows` and concatenates its rows.

    Shape:
        image: (C, H, W); result: (C', H * scale, W * scale) of the network's dtype, on the CPU where the rows are
        gathered, or as uint8 if the image is uint8
    """
    _, height, width = image.shape
    result: torch.Tensor | None = None
    for top, rows in tiled_rows(network, image, tile=tile, context=context, blend=blend, multiple=multiple,
                                scale=scale, device=device):
        if image.dtype == torch.uint8:
            rows = (rows.clamp(0, 1) * 255).round().to(torch.uint8)
        if result is None:
            result = rows.new_empty((rows.shape[0], height * scale, width * scale))
        result[:, top:top + rows.shape[1]] = rows
    assert result is not None  # an image has at least one row
    return result


def tiled_rows(network: Network, image: torch.Tensor, *, tile: int = 512, context: int = 64, blend: int = 16,
               multiple: int = 1, scale: int = 1, device: torch.device | str | None = None,
               ) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield (top, rows (C', h, W * scale)) of the network's output from top to bottom, each row once.

    Besides the image, only one band of tiles is in memory, whatever the image's height, so writing the rows to a file
    needs constant memory. If `context` is at least the radius of the network's receptive field, the result equals that
    of the whole image at once, also at the border (tiles are not padded there). With a smaller `context`, neighbouring
    tiles differ; they are blended linearly to hide the seam.

    Args:
        network: (1, C, h, w) -> (1, C', h * scale, w * scale), for any h, w.
        image: (C, H, W) float, or uint8, which the network sees divided by 255.
        tile: side of a tile without its context, px; rounded up to `multiple`.
        context: px that a tile sees on each side beyond what is kept of it.
        blend: px over which neighbouring tiles fade into each other.
        multiple: tiles start at multiples of this many px (the total stride of a network with pooling).
        scale: output px per input px.
        device: where the network runs; None = the image's.
    """
    if min(tile, multiple, scale) < 1 or min(context, blend) < 0 or 0 in image.shape:
        raise ValueError("tile, multiple and scale must be at least 1, context and blend at least 0, "
                         f"and the image not empty, got {tile, multiple, scale, context, blend, tuple(image.shape)}")
    tile = max(tile, 2 * blend)  # a pixel lies under at most two tiles of an axis
    tile, context = (-(-side // multiple) * multiple for side in (tile, context))
    rows, columns = (_spans(size, tile, context, blend, multiple) for size in image.shape[1:])
    carry: torch.Tensor | None = None  # the lowest rows of the band above, already faded out
    for span in rows:
        band = _band(network, image, span, columns, scale, device)
        if carry is not None:
            band[:, :carry.shape[1]] += carry
        ready = band.shape[1] - span.fade_out * scale
        carry = band[:, ready:].clone()
        yield span.first * scale, band[:, :ready]


def _spans(size: int, tile: int, context: int, blend: int, multiple: int) -> list[_Span]:
    """Cut an axis of `size` px: cores of `tile` px, of which neighbours share `blend` px around each cut."""
    cuts = [*range(0, size, tile), size]
    if len(cuts) > 2 and cuts[-1] - cuts[-2] <= blend:
        del cuts[-2]  # the remainder is too short to fade in
    spans = []
    for core, end in itertools.pairwise(cuts):
        first = core - blend // 2 if core else 0
        last = end if end == size else end + blend - blend // 2
        start = max(0, (first - context) // multiple * multiple)
        stop = min(size, -(-(last + context) // multiple) * multiple)
        spans.append(_Span(start=start, stop=stop, first=first, last=last, fade_in=blend if core else 0,
                           fade_out=0 if end == size else blend))
    return spans


def _band(network: Network, image: torch.Tensor, row: _Span, columns: list[_Span], scale: int,
          device: torch.device | str | None) -> torch.Tensor:
    """One row of tiles, (C', (row.last - row.first) * scale, W * scale), faded at its inner edges."""
    band: torch.Tensor | None = None
    for column in columns:
        piece = image[:, row.start:row.stop, column.start:column.stop].to(device)
        piece = piece.float() / 255 if piece.dtype == torch.uint8 else piece
        with torch.no_grad():
            output = network(piece[None])[0]
        if output.shape[1:] != (piece.shape[1] * scale, piece.shape[2] * scale):
            raise ValueError(f"the network made {tuple(output.shape)} of {tuple(piece.shape)}, not {scale} times it")
        top, left = (row.first - row.start) * scale, (column.first - column.start) * scale
        height, width = (row.last - row.first) * scale, (column.last - column.first) * scale
        output = output[:, top:top + height, left:left + width]
        output = (output * _weights(row, scale, output)[:, None] * _weights(column, scale, output)).to(image.device)
        if band is None:
            band = output.new_zeros((len(output), height, image.shape[2] * scale))
        band[:, :, column.first * scale:column.last * scale] += output
    assert band is not None
    return band


def _weights(span: _Span, scale: int, like: torch.Tensor) -> torch.Tensor:
    """Rises linearly over the first fade_in px and falls over the last fade_out; neighbours sum to one."""
    weights = like.new_ones((span.last - span.first) * scale)
    for length, at_end in ((span.fade_in * scale, False), (span.fade_out * scale, True)):
        ramp = (torch.arange(length, device=like.device, dtype=like.dtype) + 0.5) / max(length, 1)
        if at_end:
            weights[len(weights) - length:] *= 1 - ramp
        else:
            weights[:length] *= ramp
    return weights
