"""Values of images, made once each in blocks that never change, whoever asks first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from migaki.core.batch import Batch
from migaki.data.batches.remembered import PLACE, Remembered, number_images
from migaki.data.folder import ImageFolder


def test_each_image_is_made_once_in_a_block_of_its_own_folder(image_folder: Callable[..., Path]) -> None:
    folders = [ImageFolder(image_folder("a", 20)), ImageFolder(image_folder("b", 5))]
    number_images(folders)
    assert folders[1].labels[PLACE].tolist() == [20, 21, 22, 23, 24]
    asked: list[list[int]] = []

    def make(batch: Batch) -> Batch:
        asked.append(batch[PLACE].tolist())
        return {"mean": batch["image"].mean((1, 2, 3)), "twice": 2 * batch[PLACE]}

    kept = Remembered(folders, ("image", PLACE), make)
    assert len(kept) == 25
    found = kept.values([19, 3, 24, 3])
    assert found["twice"].tolist() == [38, 6, 48, 6]
    assert asked == [[16, 17, 18, 19], list(range(16)), [20, 21, 22, 23, 24]]
    image = folders[0].read([3], ("image",))["image"]
    torch.testing.assert_close(found["mean"][1:2], image.mean((1, 2, 3)))
    kept.values([0, 21])
    assert len(asked) == 3
    assert kept.read([24, 0])[PLACE].tolist() == [24, 0]
    kept.forget()
    kept.values([0])
    assert asked[3:] == [list(range(16))]
