"""How well runs agree about photographs: equal runs, other runs, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.judges.agreement import Agreement
from migaki.stages.evaluate import judge_into, run_judge
from migaki.stages.train import train
from migaki.systems.classifier import Classifier


@pytest.fixture
def runs(image_folder: Callable[..., Path], tmp_path: Path) -> list[Path]:
    """Two small classifiers of other seeds, hardly trained."""
    data = image_folder("data", 12, (8, 12))
    for seed in (0, 1):
        config = Classifier.Config(steps=3, batch_size=6, features=4, num_classes=5)
        train(Classifier, Classifier.Data(data=(data,)), config,
              Run(seed=seed, device="cpu", precision="fp32", sample_every=0), tmp_path / f"run_{seed}", quiet=True)
    return [tmp_path / "run_0", tmp_path / "run_1"]


def judged(runs: list[Path], data: Path, most: int = 1000) -> dict[str, float]:
    judge = Agreement(Agreement.Config(data=data, most=most, device="cpu"))
    return run_judge(judge, runs, quiet=True).figures


def test_a_run_agrees_with_itself(runs: list[Path], image_folder: Callable[..., Path]) -> None:
    found = judged([runs[0], runs[0]], image_folder("photos", 40, (8, 12), seed=3))
    assert found["disagreement"] == 0 and found["count"] == 40
    assert found["agreement"] == (1 if found["strangers"] else 0)


def test_disagreement_is_the_share_of_photographs_that_are_read_otherwise(
        runs: list[Path], image_folder: Callable[..., Path]) -> None:
    from migaki.core.trained import load_system

    photos = image_folder("photos", 40, (8, 12), seed=3)
    image = ImageFolder(photos).read(range(40), ("image",))["image"]
    with torch.no_grad():
        read = [load_system(run).predict({"image": image})["logits"].argmax(1) for run in runs]
    found = judged(runs, photos)
    assert found["disagreement"] == pytest.approx(100 * float((read[0] != read[1]).float().mean()), abs=1e-4)
    assert {"confidence", "information", "density", "nuclear_norm"} <= found.keys()


def test_the_photographs_of_most_disagreement_come_first(runs: list[Path], image_folder: Callable[..., Path],
                                                          tmp_path: Path) -> None:
    photos = image_folder("photos", 20, (8, 12), seed=3)
    judge_into(Agreement(Agreement.Config(data=photos, device="cpu")), runs, tmp_path / "out", quiet=True)
    lines = (tmp_path / "out" / "images.csv").read_text().splitlines()
    values = [float(line.split(",")[1]) for line in lines[1:]]
    assert lines[0] == "file_name,disagreement" and len(values) == 20 and values == sorted(values, reverse=True)


def test_what_cannot_be_compared(runs: list[Path], image_folder: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="at least two runs"):
        judged(runs[:1], image_folder("photos", 8, (8, 12)))
    with pytest.raises(UserError, match="too few"):
        judged(runs, image_folder("few", 3, (8, 12)))
    with pytest.raises(UserError, match="at least 4"):
        judged(runs, image_folder("more", 8, (8, 12)), most=2)
