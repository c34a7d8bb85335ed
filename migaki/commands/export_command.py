"""migaki export RUN --out FILE.onnx; migaki export DIR --format coco|yolo|voc|masks|transforms|colmap --out OUT"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from migaki.commands.options import Single, parse
from migaki.core.files import show

ABOUT = """Write a trained model as ONNX, or the labels of a set of images in a format of other tools.

onnx: the trained system in the folder SOURCE, for any batch size, checked against onnxruntime. A system that restores
pictures of any size is written for one --size (height and width in px, by default 256 256). coco: boxes, keypoints,
segmentations or classes of the images in the folder SOURCE, as one JSON file. yolo (boxes, keypoints), voc (boxes,
masks) and masks (class indices as PNG): a new folder with the images and their labels. transforms and colmap: a new
folder with the images and their cameras."""


def run(words: list[str]) -> int:
    """Run the command."""
    options = parse(
        "export", ABOUT, words,
        source=Single(kind=Path, about="the folder of a trained run, or of images for labels", operand="SOURCE"),
        out=Single(kind=Path, about="the file to write; a folder for yolo, voc and masks"),
        format=Single(kind=Literal["onnx", "coco", "yolo", "voc", "masks", "transforms", "colmap"], default="onnx",
                      about="what to write"),
        size=Single(kind=tuple[int, int] | None, default=None,
                    about="px, height and width, for a system that restores pictures of any size"))
    if options.format != "onnx":
        from migaki.stages.export_labels import write_as

        counts = write_as(options.format, options.source, options.out)
        print(", ".join(f"{count} {what}" for what, count in counts.items()) + f": {show(options.out)}")
        return 0
    from migaki.stages.export import export  # imports PyTorch, which the export of labels does not need

    for key, gap in export(options.source, options.out, options.size).items():
        print(f"{key}: PyTorch and onnxruntime differ by at most {gap:.2g}")
    print(f"written: {show(options.out)}")
    return 0
