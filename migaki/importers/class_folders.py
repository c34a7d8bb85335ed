"""Folders of classes: `train/cat/a.jpg`; the folder that a picture lies in is its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.sets.splits import split_of
from migaki.importers.annotations import chosen_split, class_name, plain_files, plain_folders, set_names
from migaki.importers.frames import Frame, reading
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.layers import PICTURES, layer

_LABELS = (".json", ".jsonl", ".csv", ".parquet", ".xml", ".yaml", ".txt", ".npy")  # in a set of another kind
_OTHERS = frozenset((
    "images", "image", "imgs", "img", "photos", "pictures", "masks", "mask", "labels", "annotations", "rgb", "depth",
    "jpegimages", "segmentationclass", "segmentationobject", "imagesets", "gt", "seg", "semantic_segmentation"))


class ClassFolders(Importer):
    """`migaki import class_folders DIR --out DIR`: pictures in one folder a class, of one split where DIR has several.

    Such folders are read by train and evaluate as they are; an import takes one split, or deeper folders of a class.
    """

    licence = "that of the pictures"
    source = "folders of classes"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What to take."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "split"}

        split: str = ""  # which of several folders such as train and val; none named: the only one, or train

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether there are two folders or more, each with pictures and nothing that belongs to another layout."""
        for root in [path, *(folder for folder in plain_folders(path) if split_of(folder.name))]:
            folders = plain_folders(root)
            if len(folders) < 2 or plain_files(root, *_LABELS) or any(
                    split_of(folder.name) or folder.name.lower() in _OTHERS for folder in folders):
                continue
            if all(plain_files(folder, *PICTURES) and not plain_files(folder, *_LABELS)
                   for folder in folders[:50]):
                return f"folders of {len(folders)} classes, such as {show((folders[0]).relative_to(path))}"
        return ""

    def find(self, path: Path) -> Sequence[Frame]:
        """The frames, one for each picture, class by class."""
        if not path.is_dir():
            raise UserError(f"{show(path)}: is a file: name the folder that holds one folder a class")
        splits = {folder.name: folder for folder in plain_folders(path) if split_of(folder.name)}
        root = splits[chosen_split(path, list(splits), self.config.split, "class_folders")] if splits else path
        places = []
        for folder in plain_folders(root):
            with reading(folder, "classes"):
                label = class_name(folder.name)
            places += [(f"{folder.name}/{name}", folder / name, label) for name in layer(folder).values()]
        names = sorted({label for _, _, label in places})
        if len(names) < 2:
            raise UserError(f"{show(root)}: holds {len(names)} folders of pictures, where one for each of several "
                            "classes is wanted: give the folder above them")
        self.classes = names
        return [Frame(name, picture, picture, {"label": label}) for name, (_, picture, label) in
                zip(set_names(inner for inner, _, _ in places), places, strict=True)]

    def load(self, entry: Frame) -> tuple[str, Array, Row]:
        """One picture (C, H, W) with its class."""
        return entry.load()
