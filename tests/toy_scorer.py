"""A classifier that is right for known reasons: its four classes are the colours of a square on a dark ground."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from migaki.nets.scorer import Scorer

COLOURS = {"blue": (40, 40, 250), "green": (40, 250, 40), "red": (250, 40, 40), "white": (250, 250, 250)}


class ColourScorer(Scorer):
    """conv 1x1 - ReLU - mean - linear, written by hand; takes colour pictures of any size."""

    def __init__(self, shape: tuple[int, int, int] = (3, 0, 0)) -> None:
        super().__init__()
        self.name, self.classes, self.num_classes, self.shape = "toy", tuple(COLOURS), 4, shape
        self.conv, self.relu, self.head = nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Linear(4, 4)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[-1.0, -1, 1], [-1, 1, -1], [1, -1, -1], [1, 1, 1]])[..., None, None])
            assert self.conv.bias is not None
            self.conv.bias.copy_(torch.tensor([-0.2, -0.2, -0.2, -2.0]))
            self.head.weight.copy_(100 * torch.eye(4))
            self.head.bias.zero_()
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 4)."""
        scores: Tensor = self.head(self.relu(self.conv(images)).mean((2, 3)))
        return scores


def write_squares(folder: Path, count: int = 12, size: int = 32, *, masks: bool = True, **more: Any) -> Path:
    """Pictures with a square of 10 px each, their classes and masks; `more` goes into every row."""
    folder.mkdir(parents=True)
    draw, rows = np.random.default_rng(0), []
    for number in range(count):
        name = list(COLOURS)[number % 4]
        left, top = draw.integers(0, size - 10, 2)
        picture, mask = np.full((size, size, 3), 25, np.uint8), np.zeros((size, size), np.uint8)
        picture[top : top + 10, left : left + 10] = COLOURS[name]
        mask[top : top + 10, left : left + 10] = 1
        Image.fromarray(picture).save(folder / f"{number}.png")
        rows.append({"file_name": f"{number}.png", "label": name, **more})
        if masks:
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
            rows[-1]["mask_file_name"] = f"masks/{number}.png"
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
