"""Pascal VOC: boxes as one XML file a picture, masks as palette PNG; see `importers/voc.py` for the format."""

from __future__ import annotations

import io
import os
from pathlib import Path, PurePosixPath
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.folder import ImageFolder
from migaki.data.writers.annotated import Labelled, Labels, decimal, stored, write_folder

Array = np.ndarray[Any, Any]


def write_voc(folder: ImageFolder, out: Path) -> dict[str, int]:
    """Write the pictures of `folder` to `out/JPEGImages`, boxes to Annotations, masks to SegmentationClass.

    Crowds become difficult objects. Names of the mask's indices stand in `labelmap.txt`, as CVAT has it. Keypoints have
    no place in the format; they are left out, which is said. Places keep four decimals. Returns the number of images,
    objects and masks. Raises UserError for a set without boxes or masks, or if something stands at `out`.
    """
    labels = Labels(folder)
    if not labels.has_boxes and not labels.has_masks:
        raise UserError(f"{show(folder.path)}: has no boxes or masks, which Pascal VOC holds: export keypoints with "
                        "--format coco or yolo")
    if labels.has_points:
        notice(f"{show(folder.path)}: its keypoints are left out: --format coco and yolo hold them")

    def fill(inner: Path) -> dict[str, int]:
        counts = {"images": 0, "objects": 0, "masks": 0}
        stems: set[str] = set()
        for picture in labels.pictures():
            content, ending = labels.picture_file(picture)
            stem = str(PurePosixPath(picture.name).with_suffix("")).replace("/", "_").replace(" ", "_")
            if stem in stems:
                raise UserError(f"{show(folder.path)}: two pictures would be called '{show(stem)}': rename one")
            stems.add(stem)
            stored(inner / "JPEGImages" / f"{stem}{ending}", content)
            mask = labels.mask(picture) if labels.has_masks else None
            if labels.has_boxes:
                text = _xml(labels, picture, f"{stem}{ending}", mask is not None)
                stored(inner / "Annotations" / f"{stem}.xml", text.encode(errors="xmlcharrefreplace"))
            if mask is not None:
                stored(inner / "SegmentationClass" / f"{stem}.png", _palette_png(folder, picture, mask))
                counts["masks"] += 1
            counts["images"] += 1
            counts["objects"] += len(picture.boxes)
        part = "Main" if labels.has_boxes else "Segmentation"
        stored(inner / "ImageSets" / part / "default.txt", os.fsencode("".join(f"{stem}\n" for stem in sorted(stems))))
        names = labels.mask_classes or ["background", *labels.classes] * labels.has_boxes
        if names[:1] == ["background"] and len(names) <= 255 and not any(":" in name or "\n" in name for name in names):
            stored(inner / "labelmap.txt", _label_map(names).encode(errors="backslashreplace"))
        return counts

    return write_folder(out, fill)


def _xml(labels: Labels, picture: Labelled, name: str, has_mask: bool) -> str:
    height, width = picture.size
    lines = ["<annotation>", f"  <filename>{escape(show(name))}</filename>",
             f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>",
             f"  <segmented>{int(has_mask)}</segmented>"]
    for box, number, crowd in zip(picture.boxes, picture.classes, picture.crowd, strict=True):
        left, top, across, down = (float(value) for value in box)
        lines += ["  <object>", f"    <name>{escape(show(labels.classes[number]))}</name>",
                  f"    <difficult>{int(crowd)}</difficult>",
                  f"    <bndbox><xmin>{decimal(left + 1)}</xmin><ymin>{decimal(top + 1)}</ymin>"
                  f"<xmax>{decimal(left + across)}</xmax><ymax>{decimal(top + down)}</ymax></bndbox>", "  </object>"]
    return "\n".join([*lines, "</annotation>"]) + "\n"


def palette() -> Array:
    """The colours (256, 3) uint8 of Pascal VOC: the bits of an index, by turns, from the highest bit of R, G, B on."""
    colours = np.zeros((256, 3), np.uint8)
    index = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


def _palette_png(folder: ImageFolder, picture: Labelled, mask: Array) -> bytes:
    if mask.size and int(mask.max()) > 255:
        raise UserError(f"{show(folder.path)}: the mask of '{show(picture.name)}' has indices above 255, which no "
                        "palette holds: --format masks or coco does")
    image = Image.fromarray(mask.astype(np.uint8))
    image.putpalette(palette().ravel().tolist())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _label_map(names: list[str]) -> str:
    lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in zip(names, palette().tolist(), strict=False)]
    return "\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n"
