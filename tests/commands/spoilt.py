"""Ways in which a folder of images is spoilt."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image


def with_text_for_an_image(folder: Path) -> None:
    (folder / "001.png").write_text("this is no picture")


def with_a_truncated_jpeg(folder: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 40), dtype=np.uint8))
    image.save(folder / "whole.jpg")
    (folder / "001.png").write_bytes((folder / "whole.jpg").read_bytes()[:400])
    (folder / "whole.jpg").unlink()


def with_an_empty_file(folder: Path) -> None:
    (folder / "001.png").write_bytes(b"")


def without_a_named_file(folder: Path) -> None:
    (folder / "001.png").unlink()


def climbing_out(folder: Path) -> None:
    text = (folder / "metadata.jsonl").read_text()
    (folder / "metadata.jsonl").write_text(text.replace("001.png", "../../etc/secret.png"))


def with_broken_metadata(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text('{"file_name": "000.png", \n')


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def missing(folder: Path) -> None:
    shutil.rmtree(folder)


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")
