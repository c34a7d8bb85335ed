"""migaki export RUN --out FILE.onnx; migaki export DIR --format coco|yolo|voc|masks --out OUT"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from migaki.commands.options import Single, parse
from migaki.core.errors import UserError
from migaki.core.files import show

ABOUT = """Write a trained model as ONNX, or the labels of a set of images in a format of other tools.

onnx: the trained system in the folder SOURCE, for any batch size, checked against onnxruntime. A system that restores
pictures of any size is written for one --size (height and width in px, by default 256 256). coco: boxes, keypoints,
segmentations or classes of the images in the folder SOURCE, as one JSON file. yolo (boxes, keypoints), voc (boxes,
masks) and masks (class indices as PNG): a new folder with the images and their labels."""


def run(words: list[str]) -> int:
    """Run the command."""
    options = parse(
        "export", ABOUT, words,
        source=Single(kind=Path, about="the folder of a trained run, or of images for labels", operand="SOURCE"),
        out=Single(kind=Path, about="the file to write; a folder for yolo, voc and masks"),
        format=Single(kind=Literal["onnx", "coco", "yolo", "voc", "masks"], default="onnx", about="what to write"),
        size=Single(kind=tuple[int, int] | None, default=None,
                    about="px, height and width, for a system that restores pictures of any size"))
    if options.format == "coco":
        return _coco(options.source, options.out)
    if options.format != "onnx":
        return _folder(options.format, options.source, options.out)
    from migaki.stages.export import export  # imports PyTorch, which the export of labels does not need

    for key, gap in export(options.source, options.out, options.size).items():
        print(f"{key}: PyTorch and onnxruntime differ by at most {gap:.2g}")
    print(f"written: {show(options.out)}")
    return 0


def _coco(source: Path, out: Path) -> int:
    from migaki.data.folder import ImageFolder
    from migaki.data.writers.coco import write_coco

    if out.is_dir():
        raise UserError(f"{out}: is a folder: give the name of a file, such as {out / 'annotations.json'}")
    return _written(write_coco(ImageFolder(source), out), out)


def _folder(form: str, source: Path, out: Path) -> int:
    from migaki.core.files import apart
    from migaki.data.folder import ImageFolder
    from migaki.data.writers.mask_folder import write_masks
    from migaki.data.writers.voc import write_voc
    from migaki.data.writers.yolo import write_yolo

    apart(out, source)
    write = {"yolo": write_yolo, "voc": write_voc, "masks": write_masks}[form]
    return _written(write(ImageFolder(source), out), out)


def _written(counts: dict[str, int], out: Path) -> int:
    print(", ".join(f"{count} {what}" for what, count in counts.items()) + f": {show(out)}")
    return 0
