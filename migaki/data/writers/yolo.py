"""YOLO: boxes and keypoints as one text file a picture, with data.yaml; see `importers/yolo.py` for the format."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.folder import ImageFolder
from migaki.data.writers.annotated import Labelled, Labels, stored, write_folder


def write_yolo(folder: ImageFolder, out: Path) -> dict[str, int]:
    """Write the pictures of `folder` to `out/images`, their labels to `out/labels`, and data.yaml.

    A set with `keypoints` and no boxes gets one object a picture, whose box goes round its labelled points. Crowds and
    masks have no place in the format; they are left out, which is said. Returns the number of images and objects.
    Raises UserError for a set without boxes or keypoints, or if something stands at `out`.
    """
    labels = Labels(folder)
    if not labels.has_boxes and not labels.has_points:
        raise UserError(f"{show(folder.path)}: has no boxes or keypoints, which YOLO holds: export masks with --format "
                        "masks, coco or voc")
    if labels.has_masks:
        notice(f"{show(folder.path)}: its masks are left out: --format coco, voc and masks hold them")

    def fill(inner: Path) -> dict[str, int]:
        counts, crowds = {"images": 0, "objects": 0, "classes": len(labels.classes)}, 0
        for picture in labels.pictures():
            content, ending = labels.picture_file(picture)
            stem = PurePosixPath(picture.name).with_suffix("")
            stored(inner / "images" / f"{stem}{ending}", content)
            lines = [_line(picture, place) for place in range(len(picture.boxes)) if not picture.crowd[place]]
            target = inner / "labels" / f"{stem}.txt"
            if target.exists():
                raise UserError(f"{show(folder.path)}: two pictures are called '{show(str(stem))}' but for their "
                                "ending, and would share their labels: rename one")
            stored(target, "".join(f"{line}\n" for line in lines).encode())
            counts["images"] += 1
            counts["objects"] += len(lines)
            crowds += len(picture.boxes) - len(lines)
        if crowds:
            notice(f"{show(folder.path)}: {crowds} crowds are left out, for which YOLO has no place")
        stored(inner / "data.yaml", _yaml(labels).encode(errors="backslashreplace"))
        return counts

    return write_folder(out, fill)


def _line(picture: Labelled, place: int) -> str:
    height, width = picture.size
    left, top, across, down = picture.boxes[place]
    values = [(left + across / 2) / width, (top + down / 2) / height, across / width, down / height]
    words = [f"{value:.9g}" for value in values]
    if picture.points is not None:
        for x, y, flag in picture.points[place].astype(np.float64):
            words += [f"{(x + 0.5) / width:.9g}", f"{(y + 0.5) / height:.9g}", f"{flag:.0f}"] if flag > 0 else ["0"] * 3
    return " ".join([str(picture.classes[place]), *words])


def _yaml(labels: Labels) -> str:
    count = labels.num_points
    lines = ["path: .", "train: images", "val: images  # the same pictures: put others here",
             f"nc: {len(labels.classes)}"]
    if count:
        lines += [f"kpt_shape: [{count}, 3]", "kpt_names:",
                  f"  0: [{', '.join(json.dumps(name, ensure_ascii=False) for name in labels.point_names(count))}]"]
    names = [f"  {number}: {json.dumps(name, ensure_ascii=False)}" for number, name in enumerate(labels.classes)]
    return "\n".join([*lines, "names:", *names]) + "\n"
