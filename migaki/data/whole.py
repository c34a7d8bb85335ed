"""Applies a system that takes pictures of any size to a picture of any size and type, band by band."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.system import System
from migaki.data.files import framing
from migaki.ops.tiling import tiled_rows

Array = np.ndarray[Any, Any]
Restore = Callable[[Array], tuple[Array, Array | None]]


def restorer(system: System, value_range: tuple[float, float] | None = None, device_name: hardware.Device = "auto",
             precision_name: hardware.Precision = "auto") -> Restore:
    """Returns a function from pixels (C, H, W) to restored pixels (C', H', W') of the same type, and a mask or None.

    The mask is (H', W'). `value_range` are the file values that map to 0 and 1; None: by the range of the type. Raises
    UserError for a system whose pictures have a fixed size.
    """
    if system.tiling is None:
        raise UserError(f"{type(system).__name__} does not take pictures of any size")
    device = hardware.choose_device(device_name)
    precision = hardware.choose_precision(precision_name, device)
    system.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return lambda pixels: _tiled(system, pixels, value_range, device, precision)


def _tiled(system: Any, pixels: Array, value_range: tuple[float, float] | None, device: torch.device,
           precision: Any) -> tuple[Array, Array | None]:
    """Restore band by band, so that only the picture and its result, in their own type, are in memory as a whole."""
    framing.check_values(pixels[:, :1, :1] if pixels.dtype.kind in "ui" else pixels, value_range, Path("picture"))
    # Tensors of uint16 support few operations, so the bits are passed as int16.
    image = torch.from_numpy(pixels.view(np.int16) if pixels.dtype == np.uint16 else pixels)
    has_mask = False

    def network(tile: torch.Tensor) -> torch.Tensor:
        nonlocal has_mask
        unit = _unit(tile, pixels.dtype, value_range).to(memory_format=torch.channels_last)
        with torch.inference_mode(), hardware.autocast(device, precision):
            made = system.predict({"image": unit})
        has_mask = "mask" in made
        return torch.cat([made["target"], made["mask"][:, None]], 1).float() if has_mask else made["target"].float()

    tiling = system.tiling
    result: Array | None = None
    mask: Array | None = None
    for top, rows in tiled_rows(network, image, tile=tiling.tile, context=tiling.context, blend=tiling.blend,
                                multiple=tiling.multiple, scale=tiling.scale, device=device):
        band = rows.cpu().numpy()
        colours = band[:-1] if has_mask else band
        if result is None:
            height, width = image.shape[1] * tiling.scale, image.shape[2] * tiling.scale
            result = np.empty((len(colours), height, width), pixels.dtype)
            mask = np.empty((height, width), np.uint8) if has_mask else None
        result[:, top : top + band.shape[1]] = _own(colours, pixels.dtype, value_range)
        if mask is not None:
            mask[top : top + band.shape[1]] = band[-1] >= 0.5
    assert result is not None
    return result, mask


def _unit(tile: torch.Tensor, dtype: np.dtype[Any], value_range: tuple[float, float] | None) -> torch.Tensor:
    """Returns a tile's values as float32 in [0, 1]; bytes were already divided by 255."""
    if value_range is not None:
        low, high = value_range
        values = tile * 255 if dtype == np.uint8 else tile.int() & 0xFFFF if dtype == np.uint16 else tile
        return ((values.float() - low) / (high - low)).clamp(0, 1)
    return (tile.int() & 0xFFFF).float() / 65535 if dtype == np.uint16 else tile.float()


def _own(values: Array, dtype: np.dtype[Any], value_range: tuple[float, float] | None) -> Array:
    """Convert values in [0, 1] to the file's type and range."""
    low, high = value_range or (0.0, 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max))
    scaled = values.clip(0, 1) * (high - low) + low
    own: Array = scaled.astype(dtype) if dtype.kind == "f" else np.rint(scaled).astype(dtype)
    return own
