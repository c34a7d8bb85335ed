"""Toys of each kind, as somebody outside the package would write them: one file each, named by MIGAKI_PATH."""

from __future__ import annotations

from pathlib import Path

SYSTEM = '''"""{about}"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from migaki.core.batch import Batch, Key, Scalars
from migaki.core.metric import Baseline, Metric
from migaki.core.source import Source
from migaki.core.system import System, descend
from migaki.data.batches.source import FolderSource
from migaki.data.folder import ImageFolder


class Mean(Metric):
    """Mean absolute error of `level`."""

    keys = ("level",)

    def __init__(self) -> None:
        self.errors, self.truth = [], []

    def update(self, predicted: Batch, batch: Batch) -> None:
        self.truth.append(batch["level"])
        self.errors.append((predicted["level"] - batch["level"]).abs())

    def compute(self) -> dict:
        return {{"error": torch.cat(self.errors).mean().item()}}

    def baseline(self) -> Baseline:
        truth = torch.cat(self.truth)
        return Baseline("always the mean", {{"error": (truth - truth.mean()).abs().mean().item()}})


class {name}(System):
    """{about}"""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Sizes."""

        {fields}
        steps: int = 3
        batch_size: int = 2

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """One set."""

        data: Path

    inputs = {inputs}
    keys = ({keys})

    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.weights = torch.nn.Parameter(torch.zeros(len(self.inputs)))
        self.optimizers = {{"all": torch.optim.SGD(self.parameters(), lr=0.1)}}

    @classmethod
    def open(cls, data, config, seed) -> tuple[object, Source]:
        folder = ImageFolder(data.data, **({{"size": (8, 8), "channels": 1}} if "image" in cls.inputs else {{}}))
        return config, FolderSource(folder, config.batch_size, seed, keys=(*cls.inputs, "level"))

    @classmethod
    def tiny(cls):
        return cls.Config(), {{}}

    def predict(self, batch: Batch) -> Batch:
        means = torch.stack([batch[key].float().flatten(1).mean(1) for key in self.inputs], 1)
        return {{"level": means @ self.weights{picture}}}

    def metric(self) -> Metric:
        return Mean()

    def update(self, batch: Batch, step: int) -> Scalars:
        loss = (self.predict(batch)["level"] - batch["level"]).square().mean()
        descend(loss, self.optimizers["all"])
        return {{"all/loss": loss.detach()}}
'''

_SIZES = "channels: int = 1\n        height: int = 8\n        width: int = 8"
SYSTEMS = {
    "toy_rays": SYSTEM.format(
        about="Reads rays and no picture.", name="ToyRays", fields="rays: int = 4", inputs='("rays",)', picture="",
        keys='Key(name="rays", shape=("4", "6"), unit="origin and direction"),'),
    "toy_four": SYSTEM.format(
        about="Reads four pictures.", name="ToyFour", fields=_SIZES, picture="",
        inputs='("image", "second", "third", "fourth")',
        keys="".join(f'Key(name="{name}", shape=("C", "H", "W"), unit="in [0, 1]", kind="picture"), '
                     for name in ("second", "third", "fourth"))),
    "toy_two": SYSTEM.format(
        about="Reads two pictures, makes one.", name="ToyTwo", fields=_SIZES, inputs='("image", "second")',
        picture=', "refined": (batch["image"] + batch["second"]) / 2',
        keys='Key(name="second", shape=("C", "H", "W"), unit="in [0, 1]", kind="picture"),'),
}

CHANGE = '''"""Turns pictures upside down."""

from dataclasses import dataclass

import torch

from migaki.core.batch import Key
from migaki.core.change import AFFINE, Change


class ToyFlip(Change):
    """Turns pictures upside down, and counts in how many rows it did."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """How."""

        tone: float = 0.0  # added

    keys = (Key(name="echo", shape=("T",), unit="none", kind="signal"),)

    def change(self, batch, seeds):
        image = batch["image"]
        height = image.shape[2]
        matrix = torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, height - 1.0]]).expand(len(image), 2, 3)
        chance = torch.stack([torch.rand((), generator=torch.Generator().manual_seed(int(seed))) for seed in seeds])
        return {"image": (image.flip(2) + self.config.tone).clamp(0, 1), AFFINE: matrix, "chance": chance,
                "echo": image.mean((1, 3))}
'''

JUDGE = '''"""Counts the images of a set."""

from dataclasses import dataclass
from pathlib import Path

from migaki.core.judge import Findings, Judge
from migaki.data.folder import ImageFolder


class ToyCount(Judge):
    """Counts."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What."""

        data: Path

    def judge(self, runs, progress):
        count = len(ImageFolder(self.config.data))
        return Findings(title="Count", record={}, figures={"images": count}, baseline={"images": 0},
                        baseline_name="nothing")
'''

SIMULATOR = '''"""Grey squares."""

from dataclasses import dataclass

import torch

from migaki.core.simulator import Simulator


class ToySquares(Simulator):
    """Grey squares with their level."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Size."""

        side: int = 8

    def __init__(self, config):
        self.config = config

    def render(self, seed, indices):
        level = torch.tensor([((seed + index) % 7) / 7 for index in indices])
        return {"image": level.view(-1, 1, 1, 1).expand(-1, 1, self.config.side, self.config.side).clone(),
                "level": level}
'''

DAMAGE = '''"""Darkens."""

from dataclasses import dataclass

from migaki.core.damage import Damage


class ToyDark(Damage):
    """Halves every value."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Nothing to choose."""

        share: float = 0.5

    def damage_one(self, image, draw):
        return image * self.config.share, {}
'''

IMPORTER = '''"""Text files of numbers as pictures."""

from dataclasses import dataclass

import numpy as np

from migaki.importers.importer import Importer


class ToyText(Importer):
    """One number a file."""

    licence, source = "none", "a test"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Size."""

        side: int = 4

    def find(self, path):
        return sorted(path.glob("*.txt"))

    def load(self, entry):
        value = int(entry.read_text())
        return entry.stem, np.full((1, self.config.side, self.config.side), value, np.uint8), {"value": value}
'''


def write_toys(root: Path) -> Path:
    """A folder for MIGAKI_PATH with a toy of every kind."""
    files = {f"systems/{name}.py": text for name, text in SYSTEMS.items()} | {
        "changes/toy_flip.py": CHANGE, "judges/toy_count.py": JUDGE, "simulate/toy_squares.py": SIMULATOR,
        "simulate/toy_dark.py": DAMAGE, "importers/toy_text.py": IMPORTER}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root
