"""CARLA: `rgb/`, `semantic_segmentation/` and `depth/`, as scripts save the sensors' pictures.

Source: CARLA's sensors reference. In a raw mask the red channel is the tag of the object. Depth is packed into colours:
metres = 1000 (R + 256 G + 65536 B) / (2^24 - 1); 1000 m is the far plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.image_file import read_image
from migaki.importers.annotations import UNKNOWN, plain_files, plain_folders
from migaki.importers.frames import Colour, Frame, Plane, depth_in_mm, looked_up
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.layers import layer, matched, named

_IMAGES = ("rgb", "camerargb", "camera_rgb", "images", "image", "camera")
_MASKS = ("semantic_segmentation", "semantic", "semseg", "camerasemseg", "cameraseg", "segmentation", "seg", "ss",
          "labels", "masks")
_DEPTHS = ("depth", "cameradepth", "camera_depth", "depth_raw")
_LOSSLESS = (".png", ".bmp", ".tif", ".tiff")
_FAR_METRES = 999.9  # nearer than the far plane

TAGS: Final[dict[str, tuple[tuple[str, Colour], ...]]] = {
    "0.9.14": (
        ("Unlabeled", (0, 0, 0)), ("Roads", (128, 64, 128)), ("SideWalks", (244, 35, 232)), ("Building", (70, 70, 70)),
        ("Wall", (102, 102, 156)), ("Fence", (190, 153, 153)), ("Pole", (153, 153, 153)),
        ("TrafficLight", (250, 170, 30)), ("TrafficSign", (220, 220, 0)), ("Vegetation", (107, 142, 35)),
        ("Terrain", (152, 251, 152)), ("Sky", (70, 130, 180)), ("Pedestrian", (220, 20, 60)), ("Rider", (255, 0, 0)),
        ("Car", (0, 0, 142)), ("Truck", (0, 0, 70)), ("Bus", (0, 60, 100)), ("Train", (0, 80, 100)),
        ("Motorcycle", (0, 0, 230)), ("Bicycle", (119, 11, 32)), ("Static", (110, 190, 160)),
        ("Dynamic", (170, 120, 50)), ("Other", (55, 90, 80)), ("Water", (45, 60, 150)), ("RoadLine", (157, 234, 50)),
        ("Ground", (81, 0, 81)), ("Bridge", (150, 100, 100)), ("RailTrack", (230, 150, 140)),
        ("GuardRail", (180, 165, 180))),
    "0.9.13": (
        ("Unlabeled", (0, 0, 0)), ("Building", (70, 70, 70)), ("Fence", (100, 40, 40)), ("Other", (55, 90, 80)),
        ("Pedestrian", (220, 20, 60)), ("Pole", (153, 153, 153)), ("RoadLine", (157, 234, 50)),
        ("Road", (128, 64, 128)), ("SideWalk", (244, 35, 232)), ("Vegetation", (107, 142, 35)),
        ("Vehicles", (0, 0, 142)), ("Wall", (102, 102, 156)), ("TrafficSign", (220, 220, 0)), ("Sky", (70, 130, 180)),
        ("Ground", (81, 0, 81)), ("Bridge", (150, 100, 100)), ("RailTrack", (230, 150, 140)),
        ("GuardRail", (180, 165, 180)), ("TrafficLight", (250, 170, 30)), ("Static", (110, 190, 160)),
        ("Dynamic", (170, 120, 50)), ("Water", (45, 60, 150)), ("Terrain", (145, 170, 100))),
}
"""Names and colours of the tags by version, in the order of their numbers."""


class Carla(Importer):
    """`migaki import carla DIR --out DIR`: pictures with masks and depth of CARLA's cameras.

    DIR holds a folder of pictures (rgb) and one of masks (semantic_segmentation), of depth (depth), or both; files that
    belong together have one name. Masks are raw (the tag in red) or in the Cityscapes palette. Depth is in mm.
    """

    licence = "that of the renders"
    source = "CARLA: An Open Urban Driving Simulator, CoRL 2017"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Which folders, and whose tags."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "tags images masks depth"}

        tags: Literal["0.9.14", "0.9.13"] = "0.9.14"  # from that version on 29 tags in another order; before it 23
        images: str = ""  # the folder of pictures; none named: rgb, CameraRGB, ...
        masks: str = ""  # the folder of masks; none named: semantic_segmentation, CameraSeg, ...
        depth: str = ""  # the folder of depth; none named: depth, CameraDepth, ...

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether pictures lie beside raw masks (values in red alone) or packed depth."""
        images, masks, depth = (named(path, names) for names in (_IMAGES, _MASKS, _DEPTHS))
        if not images or not _first(path / images, (*_LOSSLESS, ".jpg", ".jpeg")):
            return ""
        mask, far = (_first(path / folder, _LOSSLESS) if folder else None for folder in (masks, depth))
        try:
            if mask is not None and _is_raw(read_image(mask)):
                return f"CARLA: {masks}/{mask.name} has tags in its red channel, beside {images}"
            if far is not None and (pixels := read_image(far)).dtype == np.uint8 and len(pixels) >= 3:
                return f"CARLA: {depth}/{far.name} has depth packed into colours, beside {images}"
        except UserError:
            return ""
        return ""

    def find(self, path: Path) -> Sequence[Frame]:
        """The frames, one for each picture."""
        config = self.config
        wanted = ((config.images, _IMAGES), (config.masks, _MASKS), (config.depth, _DEPTHS))
        images, masks, depth = (named(path, (own.lower(),) if own else names) for own, names in wanted)
        if not images or not (masks or depth):
            raise UserError(f"{show(path)}: holds no folder of pictures beside one of masks or depth (rgb, "
                            "semantic_segmentation, depth): name them with --images, --masks and --depth")
        pictures = layer(path / images)
        of_masks = matched(path / masks, pictures, layer(path / masks, _LOSSLESS)) if masks else {}
        of_depth = matched(path / depth, pictures, layer(path / depth, _LOSSLESS)) if depth else {}
        tags = TAGS[config.tags]
        self.mask_classes = tuple(name for name, _ in tags) if masks else ()
        frames = []
        for stem, name in pictures.items():
            planes: dict[str, Plane] = {}
            if masks:
                planes["mask"] = partial(read_tags, path / masks / of_masks[stem], tags)
            if depth:
                planes["depth"] = partial(read_packed_depth, path / depth / of_depth[stem])
            frames.append(Frame(stem, path / images / name, path / images / name, {}, planes))
        return frames

    def load(self, entry: Frame) -> tuple[str, Array, Row]:
        """One picture (C, H, W) with its planes."""
        return entry.load()


def read_tags(path: Path, tags: Sequence[tuple[str, Colour]]) -> Array:
    """The tags (H, W) uint8 of a raw mask or of one in the palette; numbers and colours that are none become 255."""
    pixels = _eight_bits(path)
    if len(pixels) == 1 or _is_raw(pixels):
        return np.where(pixels[0] < len(tags), pixels[0], np.uint8(UNKNOWN)).astype(np.uint8)
    red, green, blue = (band.astype(np.int32) for band in pixels[:3])
    return looked_up((red << 16) | (green << 8) | blue,
                     {(r << 16) | (g << 8) | b: number for number, (_, (r, g, b)) in enumerate(tags)})


def read_packed_depth(path: Path) -> Array:
    """Depth (H, W) float32 in mm from 24 bits in three colours; the far plane is 0, no reading."""
    pixels = _eight_bits(path)
    if len(pixels) < 3:
        raise UserError(f"{show(path)}: has one channel, where depth is packed into three: save the sensor's raw "
                        "picture")
    red, green, blue = (band.astype(np.float64) for band in pixels[:3])
    metres = 1000 * (red + 256 * green + 65536 * blue) / (2**24 - 1)
    return depth_in_mm(np.where(metres < _FAR_METRES, metres, 0))


def _eight_bits(path: Path) -> Array:
    pixels = read_image(path)
    if pixels.dtype != np.uint8 or len(pixels) == 2:
        raise UserError(f"{show(path)}: has {len(pixels)} channels of {pixels.dtype}, where colours of 8 bits are "
                        "wanted: save the sensor's raw picture")
    return pixels


def _is_raw(pixels: Array) -> bool:
    """Whether a picture has values in its red channel alone, as low as tags are."""
    return bool(len(pixels) >= 3 and pixels.dtype == np.uint8 and not pixels[1:3].any()
                and pixels[0].max() < max(map(len, TAGS.values())))


def _first(folder: Path, endings: tuple[str, ...]) -> Path | None:
    files = plain_files(folder, *endings) or [file for inner in plain_folders(folder)[:1]
                                              for file in plain_files(inner, *endings)]
    return files[0] if files else None
