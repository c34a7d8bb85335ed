"""What a set says of its raw pictures: the columns of a sensor, checked together."""

from __future__ import annotations

from typing import Final

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.image_file import read_header
from migaki.data.files.member import place
from migaki.data.folder import ImageFolder

LEVELS: Final = ("mosaic", "black_level", "white_level")
"""What a raw needs so that its numbers mean light."""

COLOURS: Final = ("white_balance", "colour_matrix")
"""What leads from the camera's own colours to sRGB."""

NOISE: Final = ("shot_noise", "read_noise")


def require_levels(folder: ImageFolder) -> None:
    """UserError unless the set has `raw` in its pictures' size, the mosaic, and both levels, black below white."""
    folder.require("raw", *LEVELS)
    for index, (name, picture) in enumerate(zip(folder.files["raw"], folder.headers, strict=True)):
        raw = read_header(place(folder.path, folder.rows[index], "raw_file_name"))
        if (raw.height, raw.width) != (picture.height, picture.width):  # other planes are scaled to it
            raise UserError(f"{show(folder.path)}: the raw {show(str(name))} is {raw.width} x {raw.height} px, its "
                            f"picture {picture.width} x {picture.height}: a mosaic cannot be scaled, so give both one "
                            "size")
    wrong = folder.labels["black_level"] >= folder.labels["white_level"]
    if wrong.any():
        index = int(wrong.argmax())
        raise UserError(f"{show(folder.path)}: the black_level of {show(folder.names[index])} (row {index + 1}) is not "
                        "below its white_level: correct them")
