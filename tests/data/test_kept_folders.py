"""Decoded folders are kept for the next source, but never past a change of their files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from migaki.data.batches.source import FolderSource
from migaki.data.folder import ImageFolder


def test_a_folder_is_decoded_once_until_a_file_changes(image_folder: Callable[..., Path],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    path, decode = image_folder("given", 6), ImageFolder.decode
    decoded: list[int] = []

    def counted(self: ImageFolder, index: int) -> Any:
        decoded.append(index)
        return decode(self, index)

    monkeypatch.setattr(ImageFolder, "decode", counted)
    first = FolderSource(ImageFolder(path), 6, 0).batch(0)["image"]
    assert len(decoded) == 6
    assert np.array_equal(FolderSource(ImageFolder(path), 6, 0).batch(0)["image"], first) and len(decoded) == 6
    smaller = FolderSource(ImageFolder(path, size=(12, 20)), 6, 0).batch(0)["image"]
    assert smaller.shape[2:] == (12, 20) and len(decoded) == 12
    FolderSource(ImageFolder(path).select([4, 2]), 2, 0)
    assert len(decoded) == 14
    file = path / "003.png"
    pixels = np.asarray(Image.open(file))
    Image.fromarray(255 - pixels).save(file)
    os.utime(file, ns=(1, 1))
    changed = FolderSource(ImageFolder(path), 6, 0).batch(0)["image"]
    assert not np.array_equal(changed, first)
