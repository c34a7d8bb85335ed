"""A machine observer: a small, freshly trained classifier takes the visual Turing test.

It learns real against fake from images of the two folders that are not in the test, and then judges the test's images
one by one like a person. If people guess and the machine does not, the fakes still carry a trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from migaki.core.errors import UserError
from migaki.core.seeds import fold, generator
from migaki.data.folder import ImageFolder
from migaki.web.stimuli import Form, Pixels, StimulusSet, prepare, read_each


@dataclass(frozen=True, kw_only=True, slots=True)
class ObserverConfig:
    """How the observer is trained. The values are our choice: about ten seconds on one processor core."""

    width: int = 16
    """Channels of the first layer; the later ones have twice and four times as many."""
    crop: int = 48
    """px, side of the random crops for training; smaller images are used whole."""
    num_steps: int = 300
    batch: int = 32
    """Images per step, half of them real."""
    learning_rate: float = 2e-3
    """Highest rate of AdamW; it falls to zero along a cosine."""
    min_per_class: int = 20
    """Fewer training images than this would say little about the fakes."""
    max_per_class: int = 1500


class Observer(nn.Module):
    """Four convolutions, an average over the image, one logit (above zero: real). Takes images of any size."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = [channels, width, 2 * width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for index in range(4):
            # The first layer keeps the resolution: what betrays a fake is often one pixel wide.
            layers += [nn.Conv2d(sizes[index], sizes[index + 1], 3, stride=1 if index == 0 else 2, padding=1),
                       nn.GroupNorm(8, sizes[index + 1]), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Shape: (B, C, H, W) in [0, 1] to (B,) logits."""
        features: Tensor = self.features((images - 0.5) / 0.25)
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits[:, 0]


def observe(real: Path, fake: Path, test: StimulusSet, seed: int, config: ObserverConfig | None = None) -> list[bool]:
    """Train an observer on the images outside `test` and return its answer to each test image: real or not.

    Deterministic in (images, seed) on one machine. UserError if too few images are left to train on.
    """
    config = config or ObserverConfig()
    reals, fakes = (_others(path, role, test, seed, config) for path, role in ((real, "real"), (fake, "fake")))
    with _one_thread():
        observer = train(reals, fakes, seed, config)
        with torch.inference_mode():
            return [bool(observer(to_tensor([stimulus.pixels])).item() > 0) for stimulus in test.stimuli]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: sums then have one order on any number of cores, and a net this small is hardly slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(reals: Tensor, fakes: Tensor, seed: int, config: ObserverConfig) -> Observer:
    """Train a classifier of `reals` against `fakes`. Shape: each (N, C, H, W) in [0, 1]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold(seed, 3))
        observer = Observer(reals.shape[1], config.width)
    optimizer = torch.optim.AdamW(observer.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.num_steps)
    half = config.batch // 2
    truth = torch.cat([torch.ones(half), torch.zeros(half)])
    for step in range(config.num_steps):
        draw = generator(seed, 4, step)
        images = torch.cat([_crops(images, half, config.crop, draw) for images in (reals, fakes)])
        loss = functional.binary_cross_entropy_with_logits(observer(images), truth)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return observer


def to_tensor(pixels: Sequence[Pixels]) -> Tensor:
    """Shape: N times (H, W, C) uint8 to (N, C, H, W) in [0, 1]."""
    return torch.stack([torch.from_numpy(one.copy()) for one in pixels]).permute(0, 3, 1, 2).float() / 255


def _others(path: Path, role: str, test: StimulusSet, seed: int, config: ObserverConfig) -> Tensor:
    """Read the images of a folder that are not in the test, in the test's form.

    Images are compared by pixels as well as by name, since a copy under another name is not an unseen image.
    """
    folder = ImageFolder(path, channels=3)
    shown = [stimulus for stimulus in test.stimuli if stimulus.is_real == (role == "real")]
    names, contents = {stimulus.name for stimulus in shown}, {one.pixels.tobytes() for one in test.stimuli}
    order = torch.randperm(len(folder.names), generator=generator(seed, 5)).tolist()
    free = [index for index in order if folder.names[index] not in names][:config.max_per_class]
    kept = [pixels for index in free if (pixels := _read(folder, index, test.form)).tobytes() not in contents]
    if len(kept) < config.min_per_class:
        raise UserError(f"--machine: {path} has {len(kept)} images outside the test and the classifier needs "
                        f"{config.min_per_class} to learn from: give more images or a smaller --per-class")
    return to_tensor(kept)


def _read(folder: ImageFolder, index: int, form: Form) -> Pixels:
    return prepare(read_each(folder, [index])[0], form)


def _crops(images: Tensor, count: int, side: int, draw: torch.Generator) -> Tensor:
    """`count` images drawn at random, cut at one random place, half of the time mirrored."""
    height, width = images.shape[2:]
    new_height, new_width = min(side, height), min(side, width)
    top = int(torch.randint(height - new_height + 1, (), generator=draw))
    left = int(torch.randint(width - new_width + 1, (), generator=draw))
    chosen = torch.randint(len(images), (count,), generator=draw)
    cut = images[chosen, :, top:top + new_height, left:left + new_width]
    mirror = torch.rand(count, 1, 1, 1, generator=draw) < 0.5
    return torch.where(mirror, cut.flip(3), cut)
