"""Adversarial patch: one picture that makes a classifier say a chosen class wherever it is put into a photograph."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core import processes
from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.seeds import fold
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.core.view_ranges import Views
from migaki.data.batches.source import FolderSource, MixedSource
from migaki.data.files import framing
from migaki.data.folder import ImageFolder
from migaki.nets.scorer import Scorer, fit_pictures, open_single
from migaki.ops.patches import (
    NUMBERS,
    covered,
    paste,
    place_matrices,
    side_of,
    total_variation,
    uniform_of,
)
from migaki.ops.views import draw_views, photographed

_SHOWN = 12
_LARGEST = 1024  # px, side of the patch itself: an A4 sheet shows no more, and each step warps all of it


class Patch(System):
    """A patch that is trained against a frozen classifier, in photographs without labels.

    Each step puts it into a batch of photographs at drawn places, sizes, turns and slants, takes a picture of that
    (light, blur, noise) and raises the probability of the target (Brown et al. 2017). `migaki evaluate patches RUN`
    judges it on other photographs and writes a sheet to print; `migaki apply RUN` puts it into a set.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The patch and how it is trained."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "target share outline steps batch_size smooth",
            "network": "channels height width num_classes size",
        }

        target: str = ""  # the class that the classifier shall say, by name or number
        share: float = 0.1  # of the picture's area that the patch covers, with a size factor of 1
        outline: Literal["circle", "square"] = "circle"  # its shape
        size: int = 0  # px, side of the patch itself; 0 = twice its side in the picture
        channels: int = 0  # 0 = as the classifier
        height: int = 0  # px, of the pictures; 0 = as the classifier, or as the data
        width: int = 0  # px; 0 = as the classifier, or as the data
        num_classes: int = 0  # 0 = as the classifier
        steps: int = 500  # updates
        batch_size: int = 16  # photographs
        learning_rate: float = 0.1  # of Adam, on the logits of the colours
        smooth: float = 0.05  # weight of the total variation: fine grain does not survive print and camera
        max_norm: float = 0.0  # gradient clipping; 0 = off
        printed: tuple[float, float] = (0.04, 0.96)  # darkest and brightest value that a printer can give
        views: Views = field(default_factory=lambda: Views(
            scale=(0.9, 1.1), turn=22.5, shift=0.0, perspective=0.1, light=0.05, noise=0.05, blur=0.004))

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """The classifier, and the photographs into which the patch is put."""

        model: Path  # the folder of a trained classifier, a file of weights, or the name of a published network
        data: tuple[Path, ...]  # photographs; no label is read

    config: Config
    keys = (
        Key(name="patched", shape=("C", "H", "W"), unit="float32 in [0, 1], `image` with the patch in it",
            kind="picture"),
        Key(name="patch_place", shape=("N",), unit="standard normal, drawn from the seed of the row"),
    )
    training_only = ("victim.",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.channels not in (1, 3) or min(config.height, config.width, config.num_classes) < 1:
            raise UserError("patch: channels must be 1 or 3, height, width and num_classes positive")
        low, high = config.printed
        if not 0 <= low < high <= 1:
            raise UserError(f"--printed {low:g} {high:g}: give two ascending values from 0 to 1")
        if config.size and not 4 <= config.size <= _LARGEST:
            raise UserError(f"--size {config.size}: the patch itself has 4 to {_LARGEST} px; 0 = twice its side in the "
                            "picture")
        if config.smooth < 0:
            raise UserError(f"--smooth {config.smooth:g}: must not be negative")
        self.config = config
        try:
            self.side = side_of(config.share, config.outline, config.height, config.width)
        except ValueError as error:
            raise UserError(str(error)) from error
        size = config.size or max(4, round(2 * self.side))
        draw = torch.Generator().manual_seed(0)
        self.colours = nn.Parameter(0.1 * torch.randn(1, config.channels, size, size, generator=draw))
        self.victim: Scorer | None = None
        self.target = int(config.target) if config.target.isdecimal() else 0
        # What is attacked until `prepare` has loaded a classifier: scores that are linear in the colours.
        self.register_buffer("stand_in", torch.randn(config.num_classes, config.channels * 16, generator=draw),
                             persistent=False)
        self.register_buffer("shown", covered(config.outline, size), persistent=False)  # (1, 1, S, S)
        self.optimizers = {"patch": torch.optim.Adam([self.colours], lr=config.learning_rate)}

    stand_in: Tensor
    shown: Tensor

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the photographs in the size that the classifier takes, and number the target among its classes."""
        if not config.target:
            raise UserError("--target: name the class that the classifier shall say")
        scorer = open_single(data.model)
        channels, height, width = scorer.shape
        wanted = framing.asked_size(config.height, config.width)
        size = (height, width) if height else wanted
        folders = [ImageFolder(data.data[0], size=size, channels=channels)]
        _, height, width = folders[0].shape
        folders += [ImageFolder(path, size=(height, width), channels=channels) for path in data.data[1:]]
        if problem := fit_pictures(scorer, (channels, height, width)):
            raise UserError(f"{data.data[0]}: a picture {problem}")
        found = {"channels": channels, "height": height, "width": width, "num_classes": scorer.num_classes}
        for name, value in found.items():
            if getattr(config, name) not in (0, value):
                raise UserError(f"--{name.replace('_', '-')} {getattr(config, name)}: the classifier and the data say "
                                f"{value}: leave it out")
        config = replace(config, channels=channels, height=height, width=width, num_classes=scorer.num_classes,
                         target=str(scorer.class_number(config.target)))
        share = max(1, config.batch_size // len(folders))
        shard = (processes.rank(), processes.world())
        return config, MixedSource(*(FolderSource(folder, share, fold(seed, number), keys=("image",), shard=shard)
                                     for number, folder in enumerate(folders)))

    def prepare(self, data: Data) -> None:
        """Load the classifier that is attacked."""
        self.attack(open_single(data.model))

    def attack(self, victim: Scorer) -> None:
        """Set the classifier that is attacked; it stays frozen."""
        self.victim = victim.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Patch:
        """Set the mode; the classifier always stays in evaluation mode, because it is not trained."""
        super().train(mode)
        if self.victim is not None:
            self.victim.eval()
        return self

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A patch of 8 px for pictures of 16x20 px."""
        config = cls.Config(target="2", share=0.15, channels=3, height=16, width=20, num_classes=3, size=8, steps=6,
                            batch_size=4)
        draw = torch.Generator().manual_seed(0)
        return config, {"image": torch.rand(4, 3, 16, 20, generator=draw)}

    @property
    def patch(self) -> Tensor:
        """The patch (1, C, S, S), within the values that can be printed."""
        low, high = self.config.printed
        return low + (high - low) * torch.sigmoid(self.colours.float())

    def put(self, images: Tensor, numbers: Tensor, patch: Tensor | None = None) -> Tensor:
        """Returns pictures (B, C, H, W) with the patch (or another of its size) where `numbers` (B, 6) say."""
        config = self.config
        own = self.patch if patch is None else patch
        matrices = place_matrices(numbers, config.views, self.side, own.shape[-1], config.height, config.width)
        return paste(images, own, self.shown, matrices).clamp(0, 1)

    def update(self, batch: Batch, step: int) -> Scalars:
        """One step up the log probability of the target, with the patch's total variation held small."""
        images, config = batch["image"].float(), self.config
        numbers = 2 * torch.rand(len(images), NUMBERS, device=images.device) - 1
        seen = draw_views(config.views, len(images), (config.height, config.width), device=images.device)
        pictures = photographed(self.put(images, numbers), seen)
        scores = self._scores(pictures)
        wanted = torch.full((len(images),), self.target, device=images.device)
        miss = F.cross_entropy(scores.float(), wanted)
        grain = total_variation(self.patch)
        skipped = descend(miss + config.smooth * grain, self.optimizers["patch"], config.max_norm)
        hit = (scores.detach().argmax(1) == wanted).float().mean()
        return {"patch/loss": miss.detach(), "patch/grain": grain.detach(), "patch/success": hit,
                "patch/skipped": skipped}

    def _scores(self, images: Tensor) -> Tensor:
        if self.victim is not None:
            out: Tensor = self.victim(images)
            return out
        return F.adaptive_avg_pool2d(images, 4).flatten(1) @ self.stand_in.T

    def drawn(self) -> dict[str, tuple[int, ...]]:
        """The place, size, turn and slant of the patch."""
        return {"patch_place": (NUMBERS,)}

    def predict(self, batch: Batch) -> Batch:
        """Return `patched` (B, C, H, W): `image` with the patch where `patch_place` says, in the middle without it."""
        images = batch["image"].float()
        numbers = batch.get("patch_place")
        numbers = images.new_zeros(images.shape[0], NUMBERS) if numbers is None else uniform_of(numbers)
        return {"patched": self.put(images, numbers)}

    def sheet(self, batch: Batch) -> Sheet:
        """Return the photographs with the patch, and the patch alone."""
        images = batch["image"][:_SHOWN].float()
        draw = torch.Generator().manual_seed(0)
        numbers = (2 * torch.rand(len(images), NUMBERS, generator=draw) - 1).to(images.device)
        alone = self.patch * self.shown + (1 - self.shown)
        return [("patched", self.put(images, numbers)), ("the patch", alone)]

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn of a patch that does not succeed in its own training."""
        said = super().watch(scalars, step)
        if step > self.config.steps // 2 and scalars["patch/success"] < 0.1:
            said.append("the classifier says the target for fewer than 10 % of the pictures in training: raise --share "
                        "or --steps, or lower --smooth")
        return said
