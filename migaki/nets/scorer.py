"""A classifier seen as a function from pictures in [0, 1] to scores before the softmax, with names for its classes.

What asks a classifier for its reasons, or attacks it, takes a `Scorer`: a trained run, or a published network with the
head that it was trained with. What normalises the pixels is inside.
"""

from __future__ import annotations

import os
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.system import System
from migaki.core.trained import load_system
from migaki.nets.published import SMALLEST, PublishedNet, is_published, load_backbone

_LISTED = 8  # classes that a message names


class Scorer(nn.Module, ABC):
    """Images (B, C, H, W) in [0, 1] to scores (B, K) before the softmax or the sigmoid, float32.

    `name` is what messages call it. `classes` are the names of the K classes, empty if they have none. `shape` is the
    (C, H, W) of the pictures that it takes; 0 stands for any number, of px at least `smallest`. `several` tells
    whether each class is decided by itself, so that a picture may have several.
    """

    name: str
    classes: tuple[str, ...]
    num_classes: int
    shape: tuple[int, int, int]
    several: bool = False
    smallest: int = 1

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """See the class."""

    def class_name(self, number: int) -> str:
        """Returns the name of a class, or its number as text."""
        return self.classes[number] if 0 <= number < len(self.classes) else str(number)

    def class_number(self, word: str) -> int:
        """Returns the number of a class, given by its name or number; UserError if there is no such class."""
        places = {unicodedata.normalize("NFC", name): place for place, name in enumerate(self.classes)}
        place = places.get(unicodedata.normalize("NFC", word), -1)
        if place < 0 and word.isascii() and word.isdecimal() and len(word) < 10 and int(word) < self.num_classes:
            place = int(word)
        if place < 0:
            more = f" and {len(self.classes) - _LISTED} more" if len(self.classes) > _LISTED else ""
            known = ", ".join(f"'{show(name)}'" for name in self.classes[:_LISTED]) + more
            raise UserError(f"{self.name}: has no class '{show(word)}': it knows "
                            f"{known or f'the numbers from 0 to {self.num_classes - 1}'}")
        return place


class SystemScorer(Scorer):
    """A trained system that gives class scores: the key `logits`, or the scores behind `label_scores`."""

    def __init__(self, system: System, name: str) -> None:
        super().__init__()
        self.system, self.name = system.eval(), name
        config = system.config
        self.num_classes = int(getattr(config, "num_classes", 0))
        if self.num_classes < 1 or system.shape is None or tuple(system.inputs) != ("image",):
            raise UserError(_no_classifier(name, system))
        self.classes, self.shape = tuple(getattr(config, "classes", ())), system.shape
        self.several = bool(getattr(config, "several", False))
        self.eval()
        self._require_scores()

    def forward(self, images: Tensor) -> Tensor:
        """See the class. Scores of systems that give only probabilities are their logits."""
        made = self.system.predict({"image": images})
        if "logits" in made:
            return made["logits"].float()
        return torch.logit(made["label_scores"].float().clamp(1e-6, 1 - 1e-6))

    def _require_scores(self) -> None:
        """UserError for a system that knows classes but scores no whole pictures, as a segmenter or a patch."""
        channels, height, width = self.shape
        with torch.no_grad():
            made = self.system.predict({"image": torch.zeros(1, channels or 3, height or 64, width or 64)})
        scores = made.get("logits", made.get("label_scores"))
        if scores is None or tuple(scores.shape) != (1, self.num_classes):
            raise UserError(_no_classifier(self.name, self.system))


def _no_classifier(name: str, system: System) -> str:
    return (f"{name}: is no classifier of pictures (it is a {type(system).__name__}): give a run of `migaki train "
            "classifier`")


class PublishedScorer(Scorer):
    """A published network with its head."""

    smallest = SMALLEST

    def __init__(self, net: PublishedNet, name: str) -> None:
        super().__init__()
        if not net.num_classes:
            raise UserError(f"{name}: holds the features of {net.kind} and not its last layer: give a file with "
                            "the classifier, or train one with `migaki train classifier --pretrained`")
        self.net, self.name = net.eval(), name
        self.classes, self.num_classes, self.shape = net.classes, net.num_classes, (3, 0, 0)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        scores: Tensor = self.net(images)
        return scores


def open_scorer(what: str | os.PathLike[str]) -> Scorer:
    """Returns the classifier in a folder of a run, or in a file of weights, or of a published network's name.

    Raises UserError for anything else, and for a system that is no classifier.
    """
    text = os.fspath(what)
    path = Path(text)
    if path.is_dir():
        return SystemScorer(load_system(path), show(path))
    if path.is_file() or is_published(text):
        return PublishedScorer(load_backbone(text), show(path))
    raise UserError(f"{show(path)}: neither a run, nor a file of weights, nor the name of a network: give the --out of "
                    "`migaki train classifier`, a .safetensors file, or efficientnet_lite0")


def open_single(what: str | os.PathLike[str]) -> Scorer:
    """Returns the classifier as `open_scorer` does, frozen; UserError for one that gives a picture several classes."""
    scorer = open_scorer(what)
    if scorer.several:
        raise UserError(f"{scorer.name}: decides each class by itself, and one class a picture is needed: give a "
                        "classifier that was trained on a column `label`")
    return scorer.requires_grad_(False)


def fit_pictures(scorer: Scorer, shape: Sequence[int]) -> str:
    """Returns what is wrong with pictures of `shape` (C, H, W) for a classifier, as the end of a sentence about them;
    empty if they fit."""
    wanted = scorer.shape
    if wanted[0] and shape[0] != wanted[0]:
        return (f"has {_channels(shape[0])}, and {scorer.name} takes {_channels(wanted[0])}: convert them with "
                f"`migaki import photos --channels {wanted[0]}`")
    if any(side and side != own for side, own in zip(wanted[1:], shape[1:], strict=True)):
        return (f"is {shape[2]}x{shape[1]} px, and {scorer.name} takes {wanted[2]}x{wanted[1]}: bring the pictures to "
                f"that size with `migaki apply resize --width {wanted[2]} --height {wanted[1]}`")
    if min(shape[1:]) < scorer.smallest:
        least = f"{scorer.smallest}x{scorer.smallest}"
        return (f"is {shape[2]}x{shape[1]} px, and {scorer.name} takes at least {least}: bring the pictures to a "
                "larger size with `migaki apply resize`")
    return ""


def _channels(count: int) -> str:
    return {1: "one channel (grey)", 3: "three channels (colour)"}.get(count, f"{count} channels")
