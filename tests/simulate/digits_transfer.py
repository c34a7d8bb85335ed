"""What a classifier trained on simulated digits alone makes of real ones. Run: python tests/simulate/digits_transfer.py

Trains a small network on 20,000 rendered digits and tests it on scikit-learn's 1,797 (8x8) or on the 10,000 of
MNIST's test set (28x28). The labels of real digits are read for the final count alone.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from migaki.core.seeds import generator
from migaki.metrics.classification import Accuracy
from migaki.simulate.digits import DigitSimulator

DATA = Path(os.environ.get("MIGAKI_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


def real_digits(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 1, size, size) in [0, 1] and labels: scikit-learn's for size 8, MNIST's test set for 28."""
    if size == 8:
        bunch = load_digits()
        return torch.from_numpy(bunch.images / 16).float()[:, None], torch.from_numpy(bunch.target)
    with np.load(DATA / "digits" / "mnist.npz") as file:
        return torch.from_numpy(file["x_test"] / 255).float()[:, None], torch.from_numpy(file["y_test"]).long()


def classifier(size: int) -> nn.Module:
    """Two convolutions and two dense layers."""
    shrink = 2 if size >= 16 else 1  # the first convolution steps over every other pixel of large images
    width = 64 * (-(-size // shrink) // 2) ** 2
    return nn.Sequential(nn.Conv2d(1, 32, 3, stride=shrink, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1),
                         nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(width, 128), nn.ReLU(),
                         nn.Linear(128, 10))


def train(size: int, num_images: int, num_epochs: int, seed: int) -> nn.Module:
    """A classifier that has seen simulated digits only; Adam, batches of 128, the rate falling to zero."""
    digits = DigitSimulator(DigitSimulator.Config(size=size)).render(seed, range(num_images))
    torch.manual_seed(seed)
    net, order, steps = classifier(size), generator(seed, 1), num_epochs * (num_images // 128)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(num_epochs):
        for rows in torch.randperm(num_images, generator=order).split(128)[: num_images // 128]:
            optimizer.zero_grad()
            cross_entropy(net(digits["image"][rows]), digits["label"][rows]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def transfer(size: int, num_images: int = 20_000, num_epochs: int = 4, seed: int = 0) -> dict[str, Any]:
    """Figures of `Accuracy` on real digits."""
    net, metric = train(size, num_images, num_epochs, seed), Accuracy(10)
    with torch.no_grad():
        for images, labels in zip(*(part.split(500) for part in real_digits(size)), strict=True):
            metric.update({"logits": net(images)}, {"label": labels})
    return metric.compute()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 28])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # such small networks are faster so
    for size in arguments.sizes:
        for seed in arguments.seeds:
            start = time.perf_counter()
            figures = transfer(size, seed=seed)
            print(json.dumps({"size": size, "seed": seed, "seconds": round(time.perf_counter() - start),
                              "accuracy": figures["accuracy"],
                              "recall": [round(value, 3) for value in figures["recall"]]}))


if __name__ == "__main__":
    main()
