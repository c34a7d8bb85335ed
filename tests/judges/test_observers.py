"""Observers of photographs: what they see, what they must not see, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from migaki.core.errors import UserError
from migaki.judges.looks import Looks
from migaki.judges.observers import ObserverConfig, first_half, photographs_told_apart, told_apart, train, verdicts
from migaki.stages.evaluate import run_judge

QUICK = ObserverConfig(width=8, crop=16, num_steps=40, batch=16, learning_rate=6e-3)


def blobs(count: int, seed: int, grain: float = 0.0) -> Tensor:
    """Smooth pictures (count, 1, 16, 16), with grain if asked for."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 4, 4, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")
    return (smooth + grain * torch.randn(smooth.shape, generator=draw)).clamp(0, 1)


def test_grain_is_seen_and_nothing_is_not() -> None:
    photos = blobs(60, 0)
    seen = told_apart(blobs(50, 1, grain=0.25), photos, config=QUICK)
    same = told_apart(blobs(50, 2), photos, config=QUICK)
    assert seen["told_apart"] > 0.8 and 0.3 < same["told_apart"] < 0.7
    assert seen["told_apart"] == pytest.approx((seen["accuracy_photos"] + seen["accuracy_images"]) / 2)
    assert 0.3 < photographs_told_apart(photos, config=QUICK)["told_apart"] < 0.7


def test_one_seed_gives_one_result_on_any_number_of_threads() -> None:
    images, photos = blobs(24, 1, grain=0.03), blobs(24, 0)
    first = told_apart(images, photos, 5, QUICK)
    torch.set_num_threads(2)
    assert told_apart(images, photos, 5, QUICK) == first and torch.get_num_threads() == 2
    twice = told_apart(images, photos, 5, QUICK, repeats=2)
    assert twice["spread"] >= 0 and twice != first


def test_a_copy_on_the_other_side_does_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """What judges a half has learned from the other half alone."""
    seen: list[tuple[int, int]] = []

    def noted(reals: Tensor, fakes: Tensor, seed: int, config: ObserverConfig) -> torch.nn.Module:
        seen.append((len(reals), len(fakes)))
        known = {one.numpy().tobytes() for one in (*reals, *fakes)}

        class Knows(torch.nn.Module):
            def forward(self, images: Tensor) -> Tensor:
                return torch.tensor([1.0 if one.numpy().tobytes() in known else -1.0 for one in images])

        return Knows()

    monkeypatch.setattr("migaki.judges.observers.train", noted)
    found = told_apart(blobs(40, 1), blobs(60, 0), config=QUICK)
    assert found["accuracy_photos"] == 0.0 and found["accuracy_images"] == 1.0  # none was known
    assert seen == [(30, 20), (30, 20)]


def test_halves_are_blocks_by_turns() -> None:
    half = first_half(200)
    assert half.sum() == 100 and half[:10].all() and not half[10:20].any()
    assert first_half(8).tolist() == [True, False] * 4 and first_half(0).size == 0


def test_nothing_is_mirrored_unless_asked_for() -> None:
    """Two sets that differ in nothing but their side: only an observer that mirrors cannot tell them apart."""
    left = torch.zeros(40, 1, 8, 8)
    left[..., :3] = 0.9
    left = (left + 0.05 * torch.rand(left.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    sides = (left, left.flip(3))
    config = replace(QUICK, crop=8, num_steps=80)
    plain = told_apart(sides[0], sides[1], config=config)
    mirrored = told_apart(sides[0], sides[1], config=replace(config, mirror=True))
    assert mirrored["told_apart"] < 0.7 and plain["told_apart"] > mirrored["told_apart"]


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(UserError, match="at least 8 pictures of each set, got 4 and 60"):
        told_apart(blobs(4, 0), blobs(60, 1), config=QUICK)


def test_easier_is_said_beyond_two_standard_errors_alone() -> None:
    def found(share: float) -> dict[str, dict[str, float]]:
        return {"cnn": {"told_apart": share, "error": 0.01}}

    names = {"cnn": "a small CNN"}
    assert verdicts(found(0.80), found(0.84), names) == [
        "Easier to tell apart than before refining, by a small CNN: 84.0 % right, before 80.0 %. The refiner leaves "
        "traces that photographs do not have."]
    for after in (0.82, 0.70):
        assert verdicts(found(0.80), found(after), names)[0].startswith("By no observer")


def write(folder: Path, images: Tensor) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray((image[0].numpy() * 255).round().astype(np.uint8)).save(folder / f"{number:03d}.png")
    return folder


def test_looks_sets_three_observers_beside_photographs_and_the_unrefined(tmp_path: Path) -> None:
    photos, drawn = write(tmp_path / "photos", blobs(48, 0)), write(tmp_path / "drawn", blobs(40, 1))
    grainy = write(tmp_path / "grainy", blobs(40, 1, grain=0.25))
    config = Looks.Config(synthetic=drawn, photos=photos, refined=grainy, observer_steps=40)
    found = run_judge(Looks(config), quiet=True)
    for observer in ("pixels", "spectrum", "cnn"):
        assert 0 <= found.figures[f"synthetic/{observer}_told_apart"] <= 1
        assert 0 <= found.baseline[f"refined/{observer}_told_apart"] <= 0.75
    assert found.figures["refined/cnn_told_apart"] > 0.75 > found.figures["synthetic/cnn_told_apart"]
    assert any(note.startswith("Easier to tell apart") and "small CNN" in note for note in found.notes)
    assert run_judge(Looks(config), quiet=True).figures == found.figures
    none = run_judge(Looks(replace(config, observer_steps=0)), quiet=True)
    assert not any("cnn" in name for name in none.figures)
    with pytest.raises(UserError, match="--observers"):
        run_judge(Looks(replace(config, observers=0)), quiet=True)


def test_training_begins_anew_with_each_seed() -> None:
    one, other = (train(blobs(16, 0), blobs(16, 1, grain=0.25), seed, QUICK).head.weight for seed in (0, 1))
    assert not torch.equal(one, other)
