"""The history of refined images against sec. 2.3 written out over lists in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.core.history import ImageHistory


def tagged(first: int, count: int) -> torch.Tensor:
    """Images (count, 1, 1, 1) that carry their number."""
    return torch.arange(first, first + count, dtype=torch.float32).view(-1, 1, 1, 1)


def numbers(images: torch.Tensor) -> list[int]:
    return [int(v) for v in images.flatten()]


class NaiveHistory:
    """Sec. 2.3: b/2 images of the current refiner, b/2 of the buffer; b/2 random entries are replaced.

    The paper does not say what happens until the buffer is full; ours shows old images as soon as there are b/2.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.buffer = capacity, []

    def mix(self, refined: np.ndarray, places: np.ndarray) -> np.ndarray:
        b = len(refined)
        half = min(b // 2, self.capacity)
        old = [self.buffer[place].copy() for place in places[:half]]
        if len(self.buffer) < self.capacity:
            for image in refined:
                if len(self.buffer) < self.capacity:
                    self.buffer.append(image.copy())
        else:
            for k, place in enumerate(places[:half]):
                self.buffer[place] = refined[k].copy()
        return np.concatenate([refined[: b - half], np.stack(old)]) if len(old) == half else refined


@pytest.mark.parametrize(("capacity", "batch"), [(8, 4), (9, 4), (12, 5), (50, 6), (300, 6), (1, 6)])
def test_against_the_naive_one(capacity: int, batch: int) -> None:
    ours, naive = ImageHistory(capacity, (1, 3, 2)), NaiveHistory(capacity)
    for step in range(40):
        refined = torch.randn(batch, 1, 3, 2)
        torch.manual_seed(step)
        places = torch.randperm(len(naive.buffer)).numpy()
        torch.manual_seed(step)
        found = ours.mix(refined, step)
        np.testing.assert_array_equal(found.numpy(), naive.mix(refined.numpy(), places))
        stored = np.stack(naive.buffer)
        np.testing.assert_array_equal(ours.images[: len(stored)].numpy(), stored)
        assert int(ours.count) == len(stored)


def test_it_fills_and_then_halves() -> None:
    """The failure of most public implementations: an append whose result is thrown away."""
    history = ImageHistory(8, (1, 1, 1))
    assert history.fullness() == 0
    assert numbers(history.mix(tagged(0, 4), 0)) == [0, 1, 2, 3] and history.fullness() == 0.5
    early = numbers(history.mix(tagged(4, 4), 1))  # half of what stood there already
    assert early[:2] == [4, 5] and set(early[2:]) < {0, 1, 2, 3} and len(set(early)) == 4
    assert history.fullness() == 1.0
    assert numbers(history.images) == list(range(8))
    mixed = numbers(history.mix(tagged(100, 4), 2))
    assert mixed[:2] == [100, 101] and all(0 <= number < 8 for number in mixed[2:]) and len(set(mixed)) == 4
    kept = numbers(history.images)
    assert sorted(number for number in kept if number >= 100) == [100, 101] and not set(mixed[2:]) & set(kept)


def test_every_place_is_renewed_in_time_and_age_settles() -> None:
    history = ImageHistory(20, (1, 1, 1))
    torch.manual_seed(0)
    ages = []
    for step in range(400):
        history.mix(tagged(10 * step, 4), step)
        ages.append(float(history.mean_age(step)))
    assert min(numbers(history.images)) > 10 * 250
    assert np.mean(ages[200:]) == pytest.approx(20 / 2, rel=0.3)  # capacity / (b / 2) rounds


def test_it_keeps_copies_without_gradient() -> None:
    history = ImageHistory(2, (1, 1, 1))
    refined = torch.ones(2, 1, 1, 1, requires_grad=True) * 2
    history.mix(refined, 0)
    refined.data.zero_()
    assert numbers(history.images) == [2, 2] and not history.images.requires_grad
    assert not history.mix(refined, 1).requires_grad


def test_odd_ends() -> None:
    assert numbers(ImageHistory(4, (1, 1, 1)).mix(tagged(0, 1), 0)) == [0]  # one image has no half
    small = ImageHistory(1, (1, 1, 1))
    small.mix(tagged(0, 6), 0)
    assert numbers(small.mix(tagged(10, 6), 1)) == [10, 11, 12, 13, 14, 0]  # a buffer smaller than the half
    assert ImageHistory(0, (1, 1, 1)).fullness() == 0


def test_it_is_in_the_state_and_comes_back() -> None:
    history, other = ImageHistory(6, (1, 2, 2)), ImageHistory(6, (1, 2, 2))
    for step in range(5):
        history.mix(torch.randn(4, 1, 2, 2), step)
    other.load_state_dict(history.state_dict())
    torch.manual_seed(1)
    first = history.mix(torch.ones(4, 1, 2, 2), 9)
    torch.manual_seed(1)
    assert torch.equal(other.mix(torch.ones(4, 1, 2, 2), 9), first)
    assert set(history.state_dict()) == {"images", "born", "count"}
