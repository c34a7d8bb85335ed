"""The moving average: its warm-up, its buffers, and where SimGAN's begins."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from migaki.core.moving_average import MovingAverage
from migaki.systems.simgan import SimGAN


def naive(values: list[float], decay: float) -> float:
    mean = 123.0
    for n, value in enumerate(values):
        d = min(decay, (1 + n) / (10 + n))
        mean = d * mean + (1 - d) * value
    return mean


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_against_the_sum_written_out(decay: float) -> None:
    current = nn.Linear(1, 1, bias=False)
    average = MovingAverage.start(current)
    assert not average.weight.requires_grad
    nn.init.constant_(average.weight, 123.0)
    values = [0.3, -2.0, 5.0, 1.0, 1.5, 0.7, 9.0, -1.0, 0.0, 4.0, 2.0, 3.0]
    for n, value in enumerate(values):
        nn.init.constant_(current.weight, value)
        MovingAverage(decay=decay).follow(average, current, n)
    assert float(average.weight.detach()) == pytest.approx(naive(values, decay), rel=1e-5)
    assert current.weight.tolist() == [[3.0]]


def test_the_first_weights_are_soon_forgotten() -> None:
    current = nn.Linear(1, 1, bias=False)
    average = MovingAverage.start(current)
    nn.init.constant_(average.weight, 0.0)
    nn.init.constant_(current.weight, 1.0)
    for n in range(30):
        MovingAverage(decay=0.995).follow(average, current, n)
    assert float(average.weight.detach()) > 0.99  # without a warm-up: 0.14


def test_before_it_begins_it_is_the_network() -> None:
    current = nn.BatchNorm2d(2)
    average = MovingAverage.start(current)
    nn.init.constant_(current.weight, 7.0)
    MovingAverage(decay=0.9).follow(average, current, -1)
    assert torch.equal(average.weight, current.weight)


@pytest.mark.parametrize("with_buffers", [True, False])
def test_statistics_are_averaged_where_asked_for_and_counters_copied(with_buffers: bool) -> None:
    current = nn.BatchNorm2d(2)
    average = MovingAverage.start(current)
    assert current.running_mean is not None and current.num_batches_tracked is not None
    current.running_mean.fill_(10.0)
    current.num_batches_tracked.fill_(5)
    MovingAverage(decay=0.5, with_buffers=with_buffers).follow(average, current, 8)  # d = 0.5
    assert average.running_mean is not None and average.num_batches_tracked is not None
    assert average.running_mean.tolist() == ([5.0, 5.0] if with_buffers else [0.0, 0.0])
    assert int(average.num_batches_tracked) == (5 if with_buffers else 0)


def test_simgans_begins_where_the_two_play() -> None:
    """Through both pre-trainings it is the refiner; then it averages with a warm-up of its own, round by round."""
    config, batch = SimGAN.tiny()
    config = replace(config, steps=20, refiner_pretraining=2, discriminator_pretraining=2, num_refiner_steps=2,
                     learning_rate=0.01, ema=0.9)
    torch.manual_seed(0)
    system = SimGAN(config).train()
    whole = batch | {"image": batch["image"].repeat(2, 1, 1, 1)[:12]}
    for step in range(4):
        system.update(whole, step)
        assert all(map(torch.equal, system.average.parameters(), system.refiner.parameters()))
    mean = next(system.average.parameters()).detach().clone()
    followed: list[torch.Tensor] = []
    kept = system._refiner_step

    def noted(*args: object, **kwargs: object) -> object:
        scalars = kept(*args, **kwargs)  # type: ignore[arg-type]
        followed.append(next(system.refiner.parameters()).detach().clone())
        return scalars

    system._refiner_step = noted  # type: ignore[method-assign,assignment]
    for step in range(4, 8):
        system.update(whole, step)
    assert len(followed) == 8
    for n, weights in enumerate(followed):
        d = min(0.9, (1 + n) / (10 + n))
        mean = d * mean + (1 - d) * weights
    torch.testing.assert_close(next(system.average.parameters()).detach(), mean)
