"""The one shape of a folder's pictures, and what is said where they have several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.image_file import Header


def common_shape(path: Path, names: Sequence[str], headers: Sequence[Header], size: tuple[int, int] | None,
                 channels: int | None) -> tuple[int, int, int]:
    """Returns the shape (C, H, W) of pictures that are brought to `size` and `channels`, where these are given.

    UserError if the files differ in what is not given.
    """
    height, width = size or (headers[0].height, headers[0].width)
    number = channels or headers[0].channels
    for name, header in zip(names, headers, strict=True):
        if size is None and (header.height, header.width) != (height, width):
            raise UserError(f"{show(path)}: images differ in size ({show(names[0])} is {width} x {height}, "
                            f"{show(name)} {header.width} x {header.height}): give a size, in training --height and "
                            "--width, or bring them to one with `migaki import photos`")
        if channels is None and header.channels != number:
            raise UserError(f"{show(path)}: images differ in channels ({show(names[0])} has {number}, {show(name)} "
                            f"{header.channels}): give --channels 1 or 3 in training, or bring them to one number with "
                            "`migaki import photos --channels 3`")
    return (number, height, width)
