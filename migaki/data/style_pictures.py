"""Pictures whose style is taken: read whole, brought to one length of the shorter side, named after their files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.files.member import FilePath
from migaki.data.folder import ImageFolder

LEAST = 32
"""px, the shorter side of a style: below that its statistics are those of a few positions."""

MOST = 256
"""Styles of one network."""


def open_styles(path: Path, least: int = LEAST) -> tuple[tuple[str, ...], list[FilePath]]:
    """Returns the names (file names without ending) and the files of the styles in a folder, or of one picture.

    UserError for pictures below `least` px, for two of one name, and for more than `MOST`.
    """
    folder = ImageFolder(path)
    if len(folder) > MOST:
        raise UserError(f"{show(path)}: holds {len(folder)} pictures: a network learns at most {MOST} styles: give a "
                        "folder of the styles alone")
    names = tuple(PurePosixPath(name).stem for name in folder.names)
    files = [folder.file(index) for index in range(len(folder))]
    for place, (name, file) in enumerate(zip(names, files, strict=True)):
        header = read_header(file)
        if min(header.width, header.height) < least:
            raise UserError(f"{show(file)}: is {header.width} x {header.height} px, too small for a style: give at "
                            f"least {least} x {least}")
        if any(letter in name for letter in "=,:"):
            raise UserError(f"{show(file)}: a style is called by its file's name, which must not hold = , or :")
        if name in names[:place]:
            raise UserError(f"{show(file)}: another style is called '{show(name)}' too: give each its own name")
    return names, files


def read_style(file: FilePath | Path, side: int = 0) -> Tensor:
    """Returns a picture (1, 3, H, W) in [0, 1] whose shorter side is `side` px; 0 = as it is. Grey becomes RGB."""
    array = framing.check_values(read_image(file), None, file)
    has_alpha = array.shape[0] in (2, 4) and file.suffix.lower() != ".npy" and read_header(file).has_alpha
    unit = framing.to_unit(framing.convert_channels(array, 3, has_alpha=has_alpha, path=file, opaque=False))
    picture = torch.from_numpy(np.ascontiguousarray(unit))[None]
    return picture if not side else shorter_side(picture, side)


def shorter_side(pictures: Tensor, side: int) -> Tensor:
    """Pictures (B, C, H, W) scaled so that the shorter side has `side` px, means where they get smaller."""
    height, width = pictures.shape[2:]
    if min(height, width) == side:
        return pictures
    factor = side / min(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return F.interpolate(pictures, size=size, mode="bilinear", align_corners=False, antialias=factor < 1).clamp(0, 1)
