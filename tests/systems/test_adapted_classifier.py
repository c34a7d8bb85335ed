"""The adapted classifier: what it may see, and that it learns from photographs without labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.systems.adapted_classifier import AdaptedClassifier


def test_no_label_of_a_photograph_reaches_a_batch(image_folder: Callable[..., Path]) -> None:
    data = AdaptedClassifier.Data(data=(image_folder("ours"),), photos=image_folder("theirs", 8, (30, 50)))
    config, source = AdaptedClassifier.open(data, AdaptedClassifier.Config(batch_size=4), 0)
    batch = source.batch(3)
    assert set(batch) == {"image", "label", "real"} and config.num_classes == 3
    assert batch["real"].shape == batch["image"].shape == (4, 1, 24, 40)
    assert "photos" not in config.__dataclass_fields__


def test_folders_without_classes_are_refused(image_folder: Callable[..., Path]) -> None:
    bare = image_folder("bare", labels=())
    with pytest.raises(UserError, match="has no label 'label'"):
        AdaptedClassifier.open(AdaptedClassifier.Data(data=(bare,), photos=bare), AdaptedClassifier.Config(), 0)


class Two:
    """Digits with labels, and darker digits by a thinner pen without."""

    def __init__(self) -> None:
        bunch = load_digits(n_class=3)
        images = torch.from_numpy(bunch.images).float()[:, None] / 16
        self.labels = torch.from_numpy(bunch.target).long()
        self.half = len(images) // 2
        self.ours, self.theirs = images[: self.half], 0.5 * images[self.half :] ** 3

    def batch(self, step: int) -> Batch:
        draw = torch.Generator().manual_seed(step)
        first = torch.randint(0, len(self.ours), (32,), generator=draw)
        second = torch.randint(0, len(self.theirs), (32,), generator=draw)
        return {"image": self.ours[first], "label": self.labels[: self.half][first], "real": self.theirs[second]}


def _accuracy(system: AdaptedClassifier, images: Tensor, labels: Tensor) -> float:
    with torch.inference_mode():
        return (system.eval().predict({"image": images})["logits"].argmax(1) == labels).float().mean().item()


def test_the_terms_make_the_classes_of_photographs_sure_and_not_worse() -> None:
    data = Two()
    base = AdaptedClassifier.Config(channels=1, height=8, width=8, num_classes=3, steps=80, batch_size=32, features=8,
                                    handwriting=0.0, ema=0.9, first=0.3, information=0.0, centroids=0.0,
                                    confident=0.0)
    right, information, sure = [], [], []
    for config in (base, replace(base, information=0.3, centroids=0.3, confident=1.0)):
        torch.manual_seed(0)
        system = AdaptedClassifier(config).train()
        for step in range(config.steps):
            torch.manual_seed(step)
            scalars = system.update(data.batch(step), step)
        assert torch.isfinite(torch.stack(list(scalars.values()))).all()
        right.append(_accuracy(system, data.theirs, data.labels[data.half :]))
        information.append(scalars["real/information"].item())
        sure.append(scalars["real/sure"].item())
    assert information[1] > information[0] + 0.1 and information[1] > 0.9 * math.log(3)
    assert sure[1] > 0.95 > sure[0]
    assert right[0] > 0.8 and right[1] > right[0]


def test_terms_on_photographs_begin_late_and_by_a_ramp() -> None:
    """Before their time they change nothing: the same bits with and without."""
    config, batch = AdaptedClassifier.tiny()
    weights = []
    for confident in (0.0, 5.0):
        torch.manual_seed(0)
        system = AdaptedClassifier(replace(config, first=0.5, confident=confident, alignment=0.0)).train()
        torch.manual_seed(1)
        system.update(batch, 0)
        weights.append(torch.cat([p.detach().flatten() for p in system.net.parameters()]))
    assert torch.equal(*weights)


def test_shares_of_the_open_set_that_cannot_be_are_refused() -> None:
    mistake: dict[str, Any]
    for mistake in ({"max_entropy": 0.0}, {"max_entropy": 1.5}, {"min_margin": 2.0}):
        with pytest.raises(UserError, match=r"--max-entropy .* --min-margin .*: both are shares"):
            AdaptedClassifier(AdaptedClassifier.Config(channels=1, height=8, width=8, num_classes=3, **mistake))
