"""What SimCLR reaches in minutes of one GPU with the published network: ResNet-18 for small pictures, bf16.

    python benchmarks/gpu.py pretraining --data CIFAR10          # CIFAR10/train and CIFAR10/test, labelled sets
    python benchmarks/gpu.py pretraining                         # on rendered signs
    python benchmarks/gpu.py pretraining --device cpu --tiny     # the same in small, on noise

A twentieth of the budget measures the speed; then as many updates are planned as fit, so that the learning rate ends
at 0, and the features are judged by a linear probe and by neighbours, beside the same network untrained. The figures
beside are those of solo-learn (commit 9187ea39, ResNet-18, 1,000 epochs of the 50,000 training pictures).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core import hardware
from migaki.data.folder import ImageFolder
from migaki.metrics.logistic_probe import neighbour_accuracy, probe_accuracy
from migaki.nets.encoder import Projector
from migaki.nets.small_resnet import ResidualUnit
from migaki.simulate.signs import SignSimulator
from migaki.systems.simclr import SimCLR

PUBLISHED = {"linear probe, all labels": "90.74 (1,000 epochs of 50,000 pictures)"}
_JUDGED = 0.15  # of the budget, kept for the judgement
_MEASURED = 0.05  # of the budget, that measures the speed


class ResNet18(nn.Module):
    """ResNet-18 (He et al., CVPR 2016) with a first convolution of 3x3 at stride 1 and no pool, for pictures of 32 px.

    Pictures (B, C, H, W) in [0, 1] to features (B, 8 * width), float32; the published width is 64.
    """

    def __init__(self, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
                                   nn.ReLU()]
        before = width
        for factor, stride in ((1, 1), (2, 2), (4, 2), (8, 2)):
            layers += [ResidualUnit(before, factor * width, stride), ResidualUnit(factor * width, factor * width, 1)]
            before = factor * width
        self.layers = nn.Sequential(*layers)
        self.dim = before

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        maps: Tensor = self.layers(images * 2 - 1)
        return maps.float().mean((2, 3))


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures on the device, in two parts."""

    train: Tensor
    labels: Tensor
    test: Tensor
    truth: Tensor


def open_pictures(data: Path | None, device: torch.device, is_tiny: bool) -> Pictures:
    """The sets train/ and test/ of a folder, or rendered signs."""
    if is_tiny and data is None:
        draw = torch.Generator().manual_seed(0)
        parts = [(torch.rand(32, 3, 32, 32, generator=draw), torch.arange(32) % 4) for _ in "12"]
    elif data is None:
        signs = SignSimulator(SignSimulator.Config(size=32))
        made = [signs.render(seed, range(8192)) for seed in (0, 1)]
        parts = [(one["image"], one["label"].long()) for one in made]
    else:
        parts = []
        for name in ("train", "test"):
            folder = ImageFolder(data / name)
            found = folder.read(range(len(folder)), ("image", "label"))
            parts.append((found["image"], found["label"].long()))
    (train, labels), (test, truth) = parts
    last = torch.channels_last
    return Pictures(train.to(device).to(memory_format=last), labels, test.to(device).to(memory_format=last), truth)


def build(pictures: Pictures, steps: int, batch: int, width: int, device: torch.device) -> SimCLR:
    """SimCLR with solo-learn's projector and temperature on a ResNet-18."""
    torch.manual_seed(0)
    _, channels, height, wide = pictures.train.shape
    system = SimCLR(SimCLR.Config(channels=channels, height=height, width=wide, batch_size=batch, steps=steps,
                                  temperature=0.2, features=4))
    encoder = ResNet18(channels, width)
    system.encoder = encoder  # type: ignore[assignment]
    system.projector = Projector(encoder.dim, 32 * width, 256)
    parameters = [*encoder.parameters(), *system.projector.parameters()]
    system.optimizers = {"net": torch.optim.AdamW(parameters, lr=system.config.learning_rate, weight_decay=1e-4)}
    return system.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def train(system: SimCLR, pictures: Pictures, until: float, precision: hardware.Precision) -> int:
    """Update until the planned steps are done or the clock (`time.perf_counter`) says `until`; returns the steps."""
    device, batch = pictures.train.device, system.config.batch_size
    system.train()
    for step in range(system.config.steps):
        if step % 20 == 0:
            synchronise(device)  # else the clock runs ahead of the device
            if step and time.perf_counter() > until:
                return step
        chosen = torch.randperm(len(pictures.train), device=device)[:batch]
        with hardware.autocast(device, precision):
            system.update({"image": pictures.train[chosen]}, step)
    synchronise(device)
    return int(system.config.steps)


@torch.inference_mode()
def describe(system: SimCLR, images: Tensor, precision: hardware.Precision) -> Tensor:
    """Features (N, D) on the CPU."""
    system.eval()
    found = []
    for part in images.split(512):
        with hardware.autocast(images.device, precision):
            found.append(system.predict({"image": part})["features"].float().cpu())
    return torch.cat(found)


def judge(system: SimCLR, pictures: Pictures, precision: hardware.Precision) -> dict[str, str]:
    """The accuracies of frozen features."""
    known, seen = (describe(system, images, precision) for images in (pictures.train, pictures.test))
    shares = {"linear probe, all labels": probe_accuracy(known, pictures.labels, seen, pictures.truth),
              "20 neighbours, all labels": neighbour_accuracy(known, pictures.labels, seen, pictures.truth)}
    return {name: f"{100 * share:.1f}" for name, share in shares.items()}


def pretraining(device: torch.device, data: Path | None, budget: float, say: Callable[[str], None], *,
                is_tiny: bool = False) -> str:
    """Measure within `budget` seconds; returns a Markdown table, and says it whenever a row is known."""
    start = time.perf_counter()
    batch, width = (8, 4) if is_tiny else (512, 64)
    precision = hardware.choose_precision("bf16" if device.type == "cuda" else "auto", device)
    pictures = open_pictures(data, device, is_tiny)
    rows: dict[str, tuple[str, str]] = {}
    system = build(pictures, 40 if is_tiny else 10**6, batch, width, device)
    for name, value in judge(system, pictures, precision).items():
        rows[f"untrained: {name}"] = (value, "")
    train(replace_steps(system, 4), pictures, start + budget, precision)  # compiles and allocates
    begun = time.perf_counter()
    done = train(replace_steps(system, 10**6), pictures, begun + max(_MEASURED * budget, 0.01), precision)
    rate = done / (time.perf_counter() - begun)
    left = budget * (1 - _JUDGED) - (time.perf_counter() - start)
    steps = 5 if is_tiny else max(5, int(0.97 * rate * left))
    rows["views a second"] = (f"{2 * batch * rate:,.0f}", f"batch {batch}, {precision}, {device.type}")
    say(table(rows))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    system = build(pictures, steps, batch, width, device)
    done = train(system, pictures, start + budget * (1 - _JUDGED / 2), precision)
    epochs = done * batch / len(pictures.train)
    rows["updates, and epochs"] = (f"{done:,}, {epochs:,.1f}", f"{len(pictures.train):,} pictures")
    if device.type == "cuda":
        rows["memory, peak"] = (f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", "")
    pixels = [F.adaptive_avg_pool2d(images, 8).flatten(1).float().cpu() for images in (pictures.train, pictures.test)]
    rows["thumbnails of 8 px: 20 neighbours"] = (
        f"{100 * neighbour_accuracy(pixels[0], pictures.labels, pixels[1], pictures.truth):.1f}", "")
    for name, value in judge(system, pictures, precision).items():
        rows[name] = (value, PUBLISHED.get(name, ""))
    rows["seconds in all"] = (f"{time.perf_counter() - start:.0f}", f"budget {budget:g}")
    return table(rows)


def replace_steps(system: SimCLR, steps: int) -> SimCLR:
    """The same system with another number of planned updates."""
    system.config = replace(system.config, steps=steps)
    return system


def table(rows: dict[str, tuple[str, str]]) -> str:
    """The rows as Markdown."""
    return "\n".join(["| SimCLR, ResNet-18 | here, % where it is an accuracy | beside it |", "|---|---|---|",
                      *(f"| {name} | {value} | {beside} |" for name, (value, beside) in rows.items())])


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()
