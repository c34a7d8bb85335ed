"""Index masks: pictures in images/, their masks as grey PNG of class indices in masks/, the names in classes.txt."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.encoding import encode_plane
from migaki.data.folder import ImageFolder
from migaki.data.writers.annotated import Labels, stored, write_folder


def write_masks(folder: ImageFolder, out: Path) -> dict[str, int]:
    """Write the pictures of `folder` that have a mask to `out/images`, and their masks to `out/masks`.

    A mask has its picture's name and the ending .png; line n of classes.txt, from 0, names index n. Returns the number
    of masks. Raises UserError for a set without masks, or if something stands at `out`.
    """
    labels = Labels(folder)
    if not labels.has_masks:
        raise UserError(f"{show(folder.path)}: has no masks (a column mask_file_name): export boxes with --format "
                        "coco, yolo or voc")

    def fill(inner: Path) -> dict[str, int]:
        count = 0
        for picture in labels.pictures():
            mask = labels.mask(picture)
            if mask is None:
                continue
            content, ending = labels.picture_file(picture)
            stem = PurePosixPath(picture.name).with_suffix("")
            target = inner / "masks" / f"{stem}.png"
            if target.exists():
                raise UserError(f"{show(folder.path)}: two pictures are called '{show(str(stem))}' but for their "
                                "ending, and would share their mask: rename one")
            stored(inner / "images" / f"{stem}{ending}", content)
            stored(target, encode_plane(mask, "png"))
            count += 1
        if labels.mask_classes:
            stored(inner / "classes.txt", "".join(f"{show(name)}\n" for name in labels.mask_classes).encode())
        return {"masks": count}

    return write_folder(out, fill)
