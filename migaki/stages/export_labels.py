"""export: the labels of a set of images in a format of others."""

from __future__ import annotations

from pathlib import Path

from migaki.core.errors import UserError
from migaki.core.files import apart
from migaki.data.folder import ImageFolder
from migaki.data.writers.cameras import write_colmap, write_transforms
from migaki.data.writers.coco import write_coco
from migaki.data.writers.mask_folder import write_masks
from migaki.data.writers.voc import write_voc
from migaki.data.writers.yolo import write_yolo

FORMS = ("coco", "yolo", "voc", "masks", "transforms", "colmap")
"""The formats."""


def write_as(form: str, folder: Path, out: Path) -> dict[str, int]:
    """Write the labels of a folder as `form`: coco into the file `out`, the others with the images into the folder.

    Returns how many images, boxes, ... were written. Raises UserError for a place that is taken and for labels that
    the format cannot hold.
    """
    if form == "coco":
        if out.is_dir():
            raise UserError(f"{out}: is a folder: give the name of a file, such as {out / 'annotations.json'}")
        return write_coco(ImageFolder(folder), out)
    apart(out, folder)
    write = {"yolo": write_yolo, "voc": write_voc, "masks": write_masks, "transforms": write_transforms,
             "colmap": write_colmap}[form]
    return write(ImageFolder(folder), out)
