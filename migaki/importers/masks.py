"""Masks in a folder beside the pictures: `images/a.jpg` and `masks/a.png`, whose values are class indices."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.image_file import read_header, read_indices
from migaki.data.files.mask_file import read_mask
from migaki.importers.annotations import chosen_split, class_name, plain_files, plain_folders, read_bytes
from migaki.importers.frames import Colour, Frame, Plane, coloured_mask, reading, whole
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.layers import layer, matched, named

_IMAGES = ("images", "image", "imgs", "img", "photos", "pictures")
_MASKS = ("masks", "mask", "segmentations", "segmentation", "seg", "labels", "annotations", "gt")
_ENDINGS = (".png", ".npy", ".tif", ".tiff", ".bmp", ".gif")
_TABLES = ("label_colors.txt", "class_dict.csv")
_MAX_TABLE = 2**20  # bytes of a table of colours


class Masks(Importer):
    """`migaki import masks DIR --out DIR`: pictures and their masks from two folders of DIR, or of each of its splits.

    Values of masks are class indices: grey, palette or .npy. Masks in colours are read by a table beside the folders:
    label_colors.txt (lines "r g b name") or class_dict.csv (name,r,g,b). A mask may be called as its picture or with
    `_mask` behind that.
    """

    licence = "that of the pictures"
    source = "folders of pictures and masks"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Which folders, and what the indices mean."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "classes split images masks"}

        classes: tuple[str, ...] = ()  # names of the indices 0, 1, 2 ..., the background's first; none: unnamed
        split: str = ""  # which of several folders such as train and val; none named: the only one, or train
        images: str = ""  # the folder of pictures; none named: images, imgs, ...
        masks: str = ""  # the folder of masks; none named: masks, labels, ...

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether a folder of pictures lies beside one of masks of one channel, or in colours with a table."""
        for root in [path, *plain_folders(path)]:
            images, masks = named(root, _IMAGES), named(root, _MASKS)
            if images and masks and _is_mask(path, root, root / masks):
                place = "" if root == path else f"{root.name}/"
                return f"masks: {place}{masks} beside {place}{images}"
        return ""

    def find(self, path: Path) -> Sequence[Frame]:
        """The frames, one for each picture."""
        config = self.config
        if not path.is_dir():
            raise UserError(f"{show(path)}: is a file: name the folder that holds the pictures and the masks")
        roots = {("" if root == path else root.name): root for root in [path, *plain_folders(path)]
                 if self._folders(root)}
        if not roots:
            raise UserError(f"{show(path)}: no folder of pictures lies beside one of masks in it (images and masks): "
                            "name them with --images and --masks")
        root = roots[""] if "" in roots else roots[chosen_split(path, list(roots), config.split, "masks")]
        images, masks = (root / name for name in self._folders(root) or ("", ""))
        table = _colours(path, root)
        self.mask_classes = config.classes or tuple(dict.fromkeys(table.values()))
        places = {name: place for place, name in enumerate(self.mask_classes)}
        if table and not set(table.values()) <= set(places):
            raise UserError(f"{show(root)}: its table of colours names other classes than --classes: leave --classes "
                            "out")
        colours = {colour: places[name] for colour, name in table.items()}
        pictures = layer(images)
        files = matched(masks, pictures, layer(masks, _ENDINGS))
        frames = []
        for stem, name in pictures.items():
            mask = masks / files[stem]
            plane: Plane = partial(coloured_mask, mask, colours) if colours else partial(read_mask, mask)
            size = read_header(images / name)
            frames.append(Frame(stem, images / name, mask, {}, {"mask": plane}, (size.height, size.width)))
        return frames

    def load(self, entry: Frame) -> tuple[str, Array, Row]:
        """One picture (C, H, W) with its mask."""
        return entry.load()

    def _folders(self, root: Path) -> tuple[str, str] | None:
        """The names of the folders of pictures and of masks in a folder; None if one is missing."""
        images = named(root, (self.config.images.lower(),) if self.config.images else _IMAGES)
        masks = named(root, (self.config.masks.lower(),) if self.config.masks else _MASKS)
        return (images, masks) if images and masks else None


def _is_mask(path: Path, root: Path, folder: Path) -> bool:
    files = plain_files(folder, *_ENDINGS) or [file for inner in plain_folders(folder)[:3]
                                               for file in plain_files(inner, *_ENDINGS)[:1]]
    if not files:
        return False
    try:
        return bool(files[0].suffix.lower() == ".npy" or read_header(files[0]).channels == 1
                    or read_indices(files[0]) is not None or _colours(path, root))
    except UserError:
        return False


def _colours(path: Path, root: Path) -> dict[Colour, str]:
    """The table of colours beside the folders of a split or of the set; an empty one if there is none."""
    for file in (folder / name for folder in (root, path) for name in _TABLES):
        if file.is_file() and file in plain_files(file.parent, file.suffix):
            with reading(file, "colours and names"):
                lines = read_bytes(file, _MAX_TABLE).decode("utf-8-sig").splitlines()
                if file.suffix == ".txt":
                    words = [line.split() for line in lines if line.strip()]
                    return {_colour(line[:3]): class_name(" ".join(line[3:])) for line in words}
                rows = [line for line in csv.reader(lines) if line]
                return {_colour(line[1:4]): class_name(line[0]) for line in rows[1:]}
    return {}


def _colour(words: Sequence[str]) -> Colour:
    red, green, blue = (whole(word.strip(), 0, 255) for word in words)
    return red, green, blue


