"""The landmark estimator finds places that it can be checked against, in px of the image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from disc_places import write_places

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.stages.evaluate import EvaluateJob, evaluate
from migaki.stages.train import train
from migaki.systems.landmarks import LandmarkSystem

RUN = Run(device="cpu", precision="fp32", log_every=20, sample_every=30)
CONFIG = LandmarkSystem.Config(landmarks=("pupil_centre", "iris_outline"), steps=60, batch_size=32, features=8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and discs that it has not seen."""
    root = tmp_path_factory.mktemp("landmarks")
    seen = write_places(root / "seen", 96)
    train(LandmarkSystem, LandmarkSystem.Data(data=(seen,)), CONFIG, RUN, root / "run", quiet=True)
    return root / "run", write_places(root / "new", 40, seed=1)


def test_it_finds_the_places_of_discs_it_has_not_seen(trained: tuple[Path, Path]) -> None:
    run, new = trained
    figures = evaluate(run, EvaluateJob(data=new, device="cpu", precision="fp32"), quiet=True)
    places = torch.from_numpy(ImageFolder(new).labels["pupil_centre"])
    guess = (places - places.mean(0)).square().sum(1).sqrt().mean().item() * 55 / 40  # of one who knows the mean only
    assert guess > 4 and figures["pupil_centre_mean_px"] < 0.5 * guess
    assert figures["width_px"] == 55 and figures["count"] == 40
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["num_points"] == [1, 4] and (run / "samples" / "000060.png").exists()


def test_it_follows_what_it_sees(trained: tuple[Path, Path]) -> None:
    """A picture two pixels to the right has its places two pixels to the right."""
    system = load_system(trained[0])
    image = ImageFolder(trained[1]).read(range(40), ("image",))["image"]
    with torch.inference_mode():
        here, there = system.predict({"image": image}), system.predict({"image": image.roll(2, 3)})
    assert here["pupil_centre"].shape == (40, 2) and here["iris_outline"].shape == (40, 4, 2)
    for key in here:
        moved = (there[key] - here[key]).reshape(-1, 2).mean(0)
        assert moved[0].item() == pytest.approx(2.0, abs=0.8) and abs(moved[1].item()) < 0.6


def test_places_are_not_rounded_in_bf16(trained: tuple[Path, Path]) -> None:
    system = load_system(trained[0])
    image = ImageFolder(trained[1]).read(range(40), ("image",))["image"]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = system.predict({"image": image})["iris_outline"]
    assert found.dtype == torch.float32 and (found.bfloat16().float() != found).float().mean() > 0.8


@pytest.mark.parametrize(("changes", "complaint"), [
    ({"landmarks": ("nose",)}, "no label 'nose'"), ({"landmarks": ("label",)}, "holds no positions"),
    ({"landmarks": ()}, "must name one label"), ({"landmarks": ("pupil_centre",) * 2}, "different ones"),
    ({"num_points": (1, 7)}, "were expected"),
])
def test_labels_that_are_no_places(changes: dict[str, Any], complaint: str, trained: tuple[Path, Path],
                                   tmp_path: Path) -> None:
    config = replace(CONFIG, steps=1, **changes)
    with pytest.raises(UserError, match=complaint) as caught:
        train(LandmarkSystem, LandmarkSystem.Data(data=(trained[1],)), config, RUN, tmp_path / "run", quiet=True)
    assert "\n" not in str(caught.value)
