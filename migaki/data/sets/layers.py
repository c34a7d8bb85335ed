"""Layers: what renderers write beside each picture (segmentations, depth, normals) is no picture of the set.

Known layouts: Unity Perception (SOLO: `step0.camera.png`, `step0.camera.semantic segmentation.png`; before it
`RGB.../`, `SemanticSegmentation.../`), Isaac Sim's Replicator (`rgb_0001.png`, `semantic_segmentation_0001.png`),
Kubric (`rgba_00001.png`, `segmentation_00001.png`), BOP (`rgb/`, `depth/`, `mask/`), VOC (`JPEGImages/`,
`SegmentationClass/`), Cityscapes (`leftImg8bit/`, `gtFine/`), and pictures with masks of the same names (`a.png`,
`a_mask.png`; `images/`, `masks/`).

A layer is only what stands beside a picture of the same name: a set that consists of depth images is taken whole.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

_LAYER = re.compile(
    r"(?:^|(?<=[._ \-]))(?:(?:semantic|instance|panoptic|class|object)[ _\-]?(?:segmentation|seg|mask)s?(?:[ _\-]?map)?"
    r"|segmentations?|seg|masks?|depths?(?:[ _\-]?map)?|distance_to_(?:camera|image_plane)|normals?|object_coordinates|"
    r"pixel[ _\-]?position|(?:forward|backward)_flow|optical_flow|occlusion)(?=[._ \-]|$)", re.IGNORECASE)
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
    """The pictures among the names of image files (relative to a set), and the layers."""
    folders = _layer_folders(names)
    kept = [name for name in names if not any(name.startswith(folder) for folder in folders)]
    pictures: dict[tuple[str, str], bool] = {}  # whether a name says that it is a picture
    for name in kept:
        folder, stem = posixpath.split(posixpath.splitext(name)[0])
        if not _LAYER.search(stem):
            key = (folder, _key(stem))
            pictures[key] = pictures.get(key, False) or bool(_PICTURE.search(stem))
    layers = {name for name in kept if _is_layer(name, pictures)}
    return ([name for name in kept if name not in layers],
            [name for name in names if name in layers or any(name.startswith(folder) for folder in folders)])


def _is_layer(name: str, pictures: dict[tuple[str, str], bool]) -> bool:
    folder, stem = posixpath.split(posixpath.splitext(name)[0])
    bare = _LAYER.sub("", stem)
    if bare == stem:
        return False
    says_so = pictures.get((folder, _key(bare)))
    return says_so if says_so is not None and _NEEDS_PICTURE.search(stem) else says_so is not None


def _key(stem: str) -> str:
    """What a picture and its layers have in common."""
    return _SEPARATORS.sub(".", _PICTURE.sub("", stem)).strip(".").lower()


def _layer_folders(names: Sequence[str]) -> list[str]:
    """Folders, with a slash at their end, that hold layers of pictures in the folders beside them or above."""
    children: dict[str, set[str]] = {}
    stems: dict[str, set[str]] = {}
    for name in names:
        parts = name.split("/")
        for depth in range(len(parts) - 1):
            children.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
        stems.setdefault("/".join(parts[:-1]), set()).add(posixpath.splitext(parts[-1])[0])
    found = []
    for parent, folders in children.items():
        has_pictures = any(_PICTURE_FOLDER.fullmatch(folder) for folder in folders)
        for folder in folders:
            path = f"{parent}/{folder}" if parent else folder
            is_beside = has_pictures or not stems.get(path, set()).isdisjoint(stems.get(parent, set()))
            if is_beside and _LAYER_FOLDER.fullmatch(folder):
                found.append(path + "/")
    return found
