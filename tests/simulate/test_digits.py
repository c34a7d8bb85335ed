"""Digits: the same bits however they are asked for, the looks that they claim, and every hand drawn."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from migaki.core.config import from_dict, to_dict
from migaki.core.errors import UserError
from migaki.simulate.digit_pen import MAX_TRACE, SAMPLES, trace_stroke
from migaki.simulate.digit_strokes import HANDS, skeletons
from migaki.simulate.digits import DigitSimulator

Config = DigitSimulator.Config


@pytest.mark.parametrize("size", [8, 13, 28, 65])
def test_shapes_ranges_and_types(size: int) -> None:
    batch = DigitSimulator(Config(size=size)).render(0, range(20))
    assert batch["image"].shape == (20, 1, size, size) and batch["image"].dtype == torch.float32
    assert batch["label"].shape == (20,) and batch["label"].dtype == torch.int64
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    assert (batch["image"].amax(dim=(1, 2, 3)) > 0.5).all(), "an image is nearly black"


@pytest.mark.parametrize("size", [8, 28])
def test_image_i_is_the_same_bits_in_any_batch(size: int) -> None:
    simulator = DigitSimulator(Config(size=size))
    whole = simulator.render(7, range(60))
    order = np.random.default_rng(0).permutation(60).tolist()
    for rows in (order[:1], order[1:8], order[8:]):
        part = DigitSimulator(Config(size=size)).render(7, rows)
        assert torch.equal(part["image"], whole["image"][rows]) and torch.equal(part["label"], whole["label"][rows])


@pytest.mark.long  # every simulator: tests/core/test_simulator_contract.py
def test_another_process_draws_the_same_bits() -> None:
    program = ("from migaki.simulate.digits import DigitSimulator as D; import hashlib;"
               "print(hashlib.sha256(D().render(3, [5, 2**40])['image'].numpy().tobytes()).hexdigest())")
    there = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
    here = DigitSimulator().render(3, [2**40, 5])["image"].flip(0).contiguous().numpy().tobytes()
    assert there == hashlib.sha256(here).hexdigest()


def test_seeds_and_indices_differ() -> None:
    simulator = DigitSimulator()
    a, b = simulator.render(0, range(50))["image"], simulator.render(1, range(50))["image"]
    assert len(torch.unique(torch.cat([a, b]).flatten(1), dim=0)) == 100


def test_no_index_gives_an_empty_batch() -> None:
    batch = DigitSimulator().render(0, [])
    assert batch["image"].shape == (0, 1, 28, 28) and batch["label"].shape == (0,)


def test_classes_are_equally_frequent() -> None:
    counts = DigitSimulator(Config(size=8)).render(0, range(4000))["label"].bincount(minlength=10)
    assert ((counts - 400).abs() < 95).all()  # five standard deviations


def test_small_digits_are_counts_of_sixteenths_that_fill_the_height() -> None:
    images = DigitSimulator(Config(size=8)).render(0, range(500))["image"]
    assert torch.equal((images * 16).round() / 16, images)
    real = torch.from_numpy(load_digits().images / 16)
    assert images.mean().item() == pytest.approx(real.mean().item(), abs=0.05)
    assert (images == 0).float().mean().item() == pytest.approx((real == 0).float().mean().item(), abs=0.08)
    assert (images[:, 0].amax(2) > 0).float().mean() > 0.95  # ink in every row


def test_large_digits_are_centred_by_mass_with_a_margin() -> None:
    config = Config(noise=(0, 0), shift=(0, 0))
    images = DigitSimulator(config).render(0, range(200))["image"][:, 0]
    place = torch.arange(28) + 0.5
    centre = torch.stack([(images.sum(axis) * place).sum(1) / images.sum((1, 2)) for axis in (1, 2)])
    assert (centre - 14).abs().mean() < 0.4
    border = torch.cat([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], dim=1)
    assert border.mean() < 0.002 and images.mean() > 0.08


def test_unlabelled_real_digits_are_near_simulated_ones() -> None:
    """Nearest simulated neighbours name most real digits rightly: no network, so that the test is quick."""
    digits = DigitSimulator(Config(size=8)).render(0, range(6000))
    real, labels = load_digits(return_X_y=True)
    search = KNeighborsClassifier(5).fit(digits["image"].flatten(1).numpy(), digits["label"].numpy())
    assert (search.predict(real / 16) == labels).mean() > 0.8


def test_the_parsed_skeletons_are_the_written_ones() -> None:
    flat = skeletons()
    assert len(flat.digit) == 11 and flat.digit[-1] == len(flat.chance) == sum(map(len, HANDS.values()))
    assert flat.stroke[-1] == len(flat.points) and flat.hand[-1] == len(flat.stroke) - 1
    assert (np.diff(flat.stroke) >= 2).all(), "a stroke needs two points"
    assert all(flat.chance[end - 1] == pytest.approx(1) for end in flat.digit[1:])
    longest = max(sum(SAMPLES * len(text.split()) for text in strokes) for hands in HANDS.values()
                  for _, strokes in hands)
    assert longest <= MAX_TRACE


def test_a_curve_meets_its_points_and_keeps_its_corners() -> None:
    x, y, trace = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 0.0]), np.zeros((MAX_TRACE, 4))
    for corner in (0, 1):
        num = trace_stroke(x, y, np.array([0, corner, 0], dtype=np.uint8), trace, 0)
        assert num == 2 * SAMPLES + 1 and trace[:num, 3].tolist() == [1] + [0] * (2 * SAMPLES)
        np.testing.assert_allclose(trace[[0, SAMPLES, 2 * SAMPLES], :2], np.stack([x, y], 1), atol=1e-12)
        straight = np.abs(trace[:SAMPLES, 0] - trace[:SAMPLES, 1]).max() < 1e-12
        assert straight == bool(corner)


def test_config_round_trips_and_refuses_nonsense() -> None:
    config = Config(size=8, pen=(0.1, 0.2))
    assert from_dict(Config, to_dict(config)) == config
    with pytest.raises(UserError, match="size"):
        Config(size=4)
    with pytest.raises(UserError, match="lower and an upper"):
        Config(pen=(0.3, 0.1))
