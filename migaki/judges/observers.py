"""Observers that say whether a picture is a photograph: a small CNN judged on pictures that it has not seen.

A linear classifier on pixels or on the spectrum sees what all pictures of a set share; a CNN also sees local texture,
wherever it is. Each figure stands beside the one for photographs against photographs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from migaki.core.errors import UserError
from migaki.core.seeds import fold, generator
from migaki.nets.observer import Observer

_BLOCKS = 20  # parts of a set that are dealt to its halves by turns: neighbours may show one thing
_JUDGED = 128  # images judged at once
_FEWEST = 8  # images of a set


@dataclass(frozen=True, kw_only=True, slots=True)
class ObserverConfig:
    """How the CNN is trained. The values are our choice: about ten seconds on one processor core."""

    width: int = 16
    """Channels of the first layer; the later ones have twice and four times as many."""
    crop: int = 48
    """px, side of the random crops for training; smaller images are used whole."""
    num_steps: int = 300
    batch: int = 32
    """Images per step, half of them real."""
    learning_rate: float = 2e-3
    """Highest rate of AdamW; it falls to zero along a cosine."""
    mirror: bool = False
    """Mirror half of the training images: only where mirrored pictures can be, so neither for signs nor for eyes."""
    min_per_class: int = 20
    """Fewer training images than this would say little about the fakes."""
    max_per_class: int = 1500


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread: sums then have one order on any number of cores, and a net this small is hardly slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(reals: Tensor, fakes: Tensor, seed: int, config: ObserverConfig) -> Observer:
    """Train a classifier of `reals` against `fakes`, equally many in each step. Shape: each (N, C, H, W) in [0, 1]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold(seed, 3))
        observer = Observer(reals.shape[1], config.width)
    optimizer = torch.optim.AdamW(observer.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.num_steps)
    half = config.batch // 2
    truth = torch.cat([torch.ones(half), torch.zeros(half)])
    for step in range(config.num_steps):
        draw = generator(seed, 4, step)
        images = torch.cat([_crops(images, half, config, draw) for images in (reals, fakes)])
        loss = functional.binary_cross_entropy_with_logits(observer(images), truth)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return observer


def _crops(images: Tensor, count: int, config: ObserverConfig, draw: torch.Generator) -> Tensor:
    """`count` images drawn at random, cut at one random place, and half of the time mirrored if asked for."""
    height, width = images.shape[2:]
    new_height, new_width = min(config.crop, height), min(config.crop, width)
    top = int(torch.randint(height - new_height + 1, (), generator=draw))
    left = int(torch.randint(width - new_width + 1, (), generator=draw))
    chosen = torch.randint(len(images), (count,), generator=draw)
    cut = images[chosen, :, top:top + new_height, left:left + new_width]
    if not config.mirror:
        return cut
    mirror = torch.rand(count, 1, 1, 1, generator=draw) < 0.5
    return torch.where(mirror, cut.flip(3), cut)


# ------------------------------------------------------------------------------------------------ held-out halves


def first_half(count: int) -> npt.NDArray[np.bool_]:
    """Returns which of `count` images in their order belong to the first half.

    Blocks of neighbours go to the halves by turns: neighbours in a folder often show one thing, and must not stand on
    both sides; but the whole first half may be of other classes than the second.
    """
    blocks = min(_BLOCKS, count)
    halves: npt.NDArray[np.bool_] = (np.arange(count) * blocks // max(count, 1)) % 2 == 0
    return halves


def told_apart(images: Tensor, photos: Tensor, seed: int = 0, config: ObserverConfig | None = None,
               repeats: int = 1) -> dict[str, float]:
    """Returns how well a fresh CNN tells images from photographs that it has not seen; 0.5 is chance.

    It learns from one half of both sets and judges the other half, then the other way round; so every picture is judged
    once, by each of `repeats` trainings with seeds of their own.

    Shape: images (N, C, H, W), photos (M, C, H, W) in [0, 1], N and M at least 8.
    Returns `told_apart`, the mean of `accuracy_images` and `accuracy_photos`; `error`, the standard error that follows
    from the number of judged pictures; `spread`, the standard deviation over the repeats. UserError for too few.
    """
    if min(len(images), len(photos)) < _FEWEST:
        raise UserError(f"the CNN observer needs at least {_FEWEST} pictures of each set, got {len(images)} and "
                        f"{len(photos)}: give more, or leave it out with --observer-steps 0")
    config = config or ObserverConfig()
    shares = []
    with one_thread():
        for number in range(repeats):
            right = [torch.zeros(len(photos)), torch.zeros(len(images))]
            for way in (True, False):
                chosen = [torch.from_numpy(first_half(len(one)) == way) for one in (photos, images)]
                observer = train(photos[chosen[0]], images[chosen[1]], fold(seed, number, int(way)), config)
                for found, one, part, is_real in zip(right, (photos, images), chosen, (True, False), strict=True):
                    found[~part] = (_logits(observer, one[~part]) > 0).eq(is_real).float()
            shares.append([float(found.mean()) for found in right])
    real, fake = np.mean(shares, axis=0).tolist()
    error = math.sqrt(real * (1 - real) / len(photos) + fake * (1 - fake) / len(images)) / 2
    return {"told_apart": (real + fake) / 2, "accuracy_photos": real, "accuracy_images": fake, "error": error,
            "spread": float(np.mean(shares, axis=1).std())}


def photographs_told_apart(photos: Tensor, seed: int = 0, config: ObserverConfig | None = None,
                           repeats: int = 1) -> dict[str, float]:
    """Do the same with two halves of the photographs: what the observer finds where there is nothing to find."""
    part = torch.from_numpy(first_half(len(photos)))
    return told_apart(photos[~part], photos[part], seed, config, repeats)


@torch.inference_mode()
def _logits(observer: Observer, images: Tensor) -> Tensor:
    return torch.cat([observer(part) for part in torch.split(images, _JUDGED)])


def verdicts(before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]],
             names: Mapping[str, str]) -> list[str]:
    """Returns a sentence for each observer of `names` that tells pictures apart more easily after refining than before.

    `before` and `after` hold `told_apart` and `error` by observer. Beyond two standard errors counts; one sentence says
    so if none does.
    """
    found = []
    for name, about in names.items():
        one, other = before[name], after[name]
        if other["told_apart"] - one["told_apart"] > 2 * math.hypot(one["error"], other["error"]):
            found.append(f"Easier to tell apart than before refining, by {about}: {100 * other['told_apart']:.1f} % "
                         f"right, before {100 * one['told_apart']:.1f} %. The refiner leaves traces that photographs "
                         "do not have.")
    return found or ["By no observer are the refined pictures easier to tell from photographs than before refining."]


def binomial_error(accuracy: float, count: float) -> float:
    """Returns the standard error of a share of `count` decisions."""
    return math.sqrt(max(accuracy * (1 - accuracy), 0.0) / max(count, 1.0))


def evenly(total: int, count: int) -> list[int]:
    """Returns up to `count` evenly spaced numbers below `total`."""
    found: list[int] = np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()
    return found
