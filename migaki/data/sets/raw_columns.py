"""What a set says of its raw pictures: the columns of a sensor, checked together."""

from __future__ import annotations

from typing import Final

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.folder import ImageFolder

LEVELS: Final = ("mosaic", "black_level", "white_level")
"""What a raw needs so that its numbers mean light."""

COLOURS: Final = ("white_balance", "colour_matrix")
"""What leads from the camera's own colours to sRGB."""

NOISE: Final = ("shot_noise", "read_noise")


def require_levels(folder: ImageFolder) -> None:
    """UserError unless the set has `raw`, the mosaic and both levels, black below white."""
    folder.require("raw", *LEVELS)
    wrong = folder.labels["black_level"] >= folder.labels["white_level"]
    if wrong.any():
        index = int(wrong.argmax())
        raise UserError(f"{show(folder.path)}: the black_level of {show(folder.names[index])} (row {index + 1}) is not "
                        "below its white_level: correct them")
