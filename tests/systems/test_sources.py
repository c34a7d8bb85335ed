"""Where batches come from: no two runs share an order of images; an estimator is calibrated a few images at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from twin_parts import Reader

from migaki.core.batch import Batch
from migaki.data.batches.source import FolderSource
from migaki.data.batches.task_source import labelled_source
from migaki.data.folder import ImageFolder
from migaki.systems.parts import held_labels as module
from migaki.systems.simgan import SimGAN


def seeds_of(source: Any) -> list[int]:
    """The seeds of all folders below a source."""
    if isinstance(source, FolderSource):
        return [source.seed]
    parts = getattr(source, "sources", None) or [source.synthetic, source.real]
    return [seed for part in parts for seed in seeds_of(part)]


def test_no_two_runs_share_an_order(image_folder: Callable[..., Path]) -> None:
    """Added seeds did: the photographs of run 0 came in the order of run 1's renderings."""
    synthetic, real = image_folder("synthetic"), image_folder("real", real=True)
    first, second, photos = ImageFolder(synthetic), ImageFolder(synthetic), ImageFolder(real)
    for opened in (lambda seed: labelled_source([first, second], ("image",), 4, seed, photos),
                   lambda seed: SimGAN.open(SimGAN.Data(synthetic=synthetic, real=real), SimGAN.Config(), seed)[1]):
        runs = [seeds_of(opened(seed)) for seed in (0, 1, 2, 3, 1000, 1001)]
        seeds = [seed for run in runs for seed in run]
        assert len(seeds) == len(set(seeds)) >= 2 * len(runs)


def test_an_estimator_is_calibrated_over_many_images_a_few_at_a_time(image_folder: Callable[..., Path],
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic = image_folder("synthetic", 150)
    torch.manual_seed(0)
    reader = Reader(24 * 40)
    reader.config = SimpleNamespace(channels=1, height=24, width=40)  # type: ignore[assignment]
    sizes: list[int] = []
    predict = reader.predict

    def noted(batch: Batch) -> Batch:
        sizes.append(len(batch["image"]))
        return predict(batch)

    reader.predict = noted  # type: ignore[method-assign]
    monkeypatch.setattr(module, "load_system", lambda _: reader)
    data = SimGAN.Data(synthetic=synthetic, real=synthetic, estimator=Path("estimator"))
    system = SimGAN(SimGAN.Config(channels=1, height=24, width=40, max_drift="0.1std"))
    system.prepare(data)
    assert sum(sizes) == 150 and max(sizes) <= 64
    with torch.no_grad():
        images = ImageFolder(synthetic, channels=1).read(range(150), ("image",))["image"]
        spread = predict({"image": images})["gaze"].std(0, unbiased=False)
    (meter,) = system.readings.meters
    torch.testing.assert_close(meter._spread["gaze"], spread)
