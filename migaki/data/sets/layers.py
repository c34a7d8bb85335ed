"""Layers: files that renderers write beside each picture (segmentations, depth, normals) are no pictures of the set.

Known layouts: Unity Perception (SOLO: `step0.camera.png`, `step0.camera.semantic segmentation.png`; before it
`RGB.../`, `SemanticSegmentation.../`), Isaac Sim's Replicator (`rgb_0001.png`, `semantic_segmentation_0001.png`),
Kubric (`rgba_00001.png`, `segmentation_00001.png`), BOP (`rgb/`, `depth/`, `mask/`), VOC (`JPEGImages/`,
`SegmentationClass/`), Cityscapes (`leftImg8bit/`, `gtFine/`), and pictures with masks of the same names (`a.png`,
`a_mask.png`; `images/`, `masks/`).

A file is a layer only beside a picture of the same name: in a set that consists of depth images, all are pictures.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

_LAYER = re.compile(
    r"(?:^|(?<=[._ \-]))(?:(?:semantic|instance|panoptic|class|object)[ _\-]?(?:segmentation|seg|mask)s?(?:[ _\-]?map)?"
    r"|segmentations?|seg|masks?|depths?(?:[ _\-]?map)?|distance_to_(?:camera|image_plane)|normals?|object_coordinates|"
    r"pixel[ _\-]?position|(?:forward|backward)_flow|optical_flow|occlusion)(?=[._ \-]|$)", re.IGNORECASE)
_HINT = re.compile("seg|mask|depth|distance_to|normal|coordinates|position|flow|occlusion", re.IGNORECASE)
_PICTURE = re.compile(r"(?:^|(?<=[._ \-]))(?:rgba?|camera|colou?r|images?|img)(?=[._ \-]|$)", re.IGNORECASE)
_NEEDS_PICTURE = re.compile(r"(?:^|[._ \-])(?:normals?|occlusion)(?:[._ \-]|$)", re.IGNORECASE)
_SEPARATORS = re.compile(r"[._ \-]+")

_PICTURE_FOLDER = re.compile(r"(?:rgba?|images?|imgs?|jpegimages|colou?r|camera|leftimg8bit)|rgb[0-9a-f]{8}-.*",
                             re.IGNORECASE)
_LAYER_FOLDER = re.compile(
    r"masks?(?:_visib)?|segmentation(?:s|class|object)?|(?:semantic|instance|panoptic)(?:[ _\-]?segmentation)?s?|"
    r"(?:semantic|instance)segmentation[0-9a-f]{8}-.*|depths?|disparity|normals?|gtfine|gtcoarse|labels?|annotations?",
    re.IGNORECASE)


def without_layers(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the names of image files (relative to a set) into pictures and layers."""
    folders = tuple(_layer_folders(names))
    kept = [name for name in names if not name.startswith(folders)]
    layers = {name for name in names if name.startswith(folders)} if folders else set[str]()
    if any(map(_HINT.search, kept)):
        pictures = _pictures(kept)
        layers |= {name for name in kept if _is_layer(name, pictures)}
    return [name for name in names if name not in layers], [name for name in names if name in layers]


def _pictures(names: Sequence[str]) -> dict[tuple[str, str], bool]:
    """Returns folder and key of each file that is no layer by its name, and whether its name marks it as a picture."""
    found: dict[tuple[str, str], bool] = {}
    for name in names:
        folder, stem = posixpath.split(posixpath.splitext(name)[0])
        if not _LAYER.search(stem):
            key = (folder, _key(stem))
            found[key] = found.get(key, False) or bool(_PICTURE.search(stem))
    return found


def _is_layer(name: str, pictures: dict[tuple[str, str], bool]) -> bool:
    folder, stem = posixpath.split(posixpath.splitext(name)[0])
    bare = _LAYER.sub("", stem)
    if bare == stem:
        return False
    says_so = pictures.get((folder, _key(bare)))
    return says_so if says_so is not None and _NEEDS_PICTURE.search(stem) else says_so is not None


def _key(stem: str) -> str:
    """Returns the part of the name that a picture shares with its layers."""
    return _SEPARATORS.sub(".", _PICTURE.sub("", stem)).strip(".").lower()


def _layer_folders(names: Sequence[str]) -> list[str]:
    """Returns folders, with a trailing slash, with layers of pictures in neighbouring or parent folders."""
    children: dict[str, set[str]] = {}
    for path in {name.rpartition("/")[0] for name in names}:
        parts = path.split("/") if path else []
        for depth, part in enumerate(parts):
            children.setdefault("/".join(parts[:depth]), set()).add(part)
    found = []
    for parent, folders in children.items():
        has_pictures = any(map(_PICTURE_FOLDER.fullmatch, folders))
        for folder in filter(_LAYER_FOLDER.fullmatch, folders):
            path = f"{parent}/{folder}" if parent else folder
            if has_pictures or not _stems(names, path).isdisjoint(_stems(names, parent)):
                found.append(path + "/")
    return found


def _stems(names: Sequence[str], folder: str) -> set[str]:
    """Returns the names without endings of the files in one folder."""
    return {posixpath.splitext(posixpath.basename(name))[0] for name in names if name.rpartition("/")[0] == folder}
