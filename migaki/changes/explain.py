"""Why a classifier says what it says of each picture: a map of importance, and the picture painted with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from migaki.core.batch import Batch, Key
from migaki.core.change import Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.files import show
from migaki.data.folder import ImageFolder
from migaki.nets.scorer import Scorer, fit_pictures, open_scorer
from migaki.ops import attribution
from migaki.ops.attribution_patterns import Patterns, estimate_patterns
from migaki.ops.explaining import PATTERNED, Method, Settings, explain
from migaki.ops.overlay import overlay
from migaki.ops.taps import UnfitModel, layer_name

_AT_ONCE = 16  # pictures of which patterns are estimated at a time


class Explain(Change):
    """Asks a classifier for its reasons: which pixels speak for a class, by one of eleven methods.

    Each picture gets a map (`explanation`, float TIFF in the picture's size; above 0 speaks for the class), an overlay,
    and the columns `explained_class` (the model's number), `explained_score` (before the softmax), `explained_share`.
    Pages show the first pictures, and with --units what the units of a layer look for. docs/explain.md has the sources.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The classifier, the method, and the class to explain."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "method target label layers units pages",
            "rest": "samples noise steps patch rivals patterns pattern_count most_units",
        }
        NAMES: ClassVar[dict[str, str]] = {"target": "class"}

        model: str  # a trained run, a file of weights (.safetensors), or efficientnet_lite0
        method: Method = "grad_cam"  # how the classifier is asked
        target: str = "predicted"  # a class by name or number; predicted: the likeliest; label: that of --label
        label: str = "label"  # column of the set with the true classes, by the model's names or numbers
        layers: tuple[str, ...] = ()  # for cam and grad_cam one, for dcsm any; none = the method's usual ones
        units: str = ""  # layer whose units get a page each: what they look for, and for which classes they speak
        most_units: int = 24  # units with a page, those that vary most
        pages: int = 24  # pictures with a page, the first ones; 0 = none
        samples: int = 25  # smooth_grad: noisy copies
        noise: float = 0.15  # smooth_grad: deviation, as a share of the picture's range
        steps: int = 50  # integrated_gradients: points on the way from black
        patch: int = 0  # occlusion: side of the square in px; 0 = a sixth of the shorter side
        rivals: int = 2  # dcsm: likeliest other classes to compare with
        patterns: Path | None = None  # pattern methods: pictures to estimate the patterns from; none = the input
        pattern_count: int = 256  # pattern methods: pictures of these, evenly spaced

        def __post_init__(self) -> None:
            if min(self.samples, self.steps, self.rivals, self.pattern_count, self.most_units) < 1:
                raise UserError("--samples, --steps, --rivals, --pattern-count and --most-units must be at least 1")
            if self.noise < 0 or self.patch < 0 or self.pages < 0:
                raise UserError("--noise, --patch and --pages must be 0 or more")

        def settings(self) -> Settings:
            """The settings of the methods."""
            return Settings(layers=self.layers, samples=self.samples, noise=self.noise, steps=self.steps,
                            patch=self.patch, rivals=self.rivals)

    config: Config
    keys = (
        Key(name="explanation", shape=("H", "W"), unit="above 0 speaks for the class", kind="plane"),
        Key(name="overlay", shape=("3", "H", "W"), unit="the picture, painted with its explanation", kind="picture"),
        Key(name="explained_class", shape=(), unit="int64 class index of the explaining model"),
        Key(name="explained_score", shape=(), unit="score of the class before the softmax"),
        Key(name="explained_share", shape=(), unit="0 to 1, softmax (or sigmoid) of that score"),
        Key(name="completeness_gap", shape=(), unit="sum of the map less the rise of the score above black"),
    )
    page = "migaki.report.explained:write_pages"
    scorer: Scorer

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.target == "label":
            self.inputs = ("image", config.label)
            self.without = ", or explain what the model says of each picture with --target predicted"

    def open(self, folder: Path) -> None:
        """Load the classifier, look up the class, and estimate its patterns if the method needs them."""
        config = self.config
        self.scorer = open_scorer(config.model)
        self.scorer.requires_grad_(False)
        self._class = -1 if config.target in ("predicted", "label") else self.scorer.class_number(config.target)
        self._renumber = None
        if config.target == "label":
            self._renumber = class_numbers(self.scorer, ImageFolder(folder), config.label)
        with fits(self.scorer):
            for name in (*config.layers, *((config.units,) if config.units else ())):
                layer_name(self.scorer, name)
        self._patterns: Patterns | None = None
        if config.method in PATTERNED:
            self._patterns = patterns_of(self.scorer, config.patterns or folder, config.pattern_count)

    def reads(self) -> dict[str, Path]:
        """The classifier, and the pictures of the patterns."""
        path = Path(self.config.model)
        found = {"model": path} if path.exists() else {}
        return found | ({"patterns": self.config.patterns} if self.config.patterns is not None else {})

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """Adds `explanation` (B, H, W), `overlay` (B, 3, H, W) and the columns `explained_...` (B,)."""
        images = batch["image"]
        unfit = fit_pictures(self.scorer, images.shape[1:])
        if unfit:
            raise UnfitPicture(unfit)
        with fits(self.scorer):
            with torch.no_grad():
                scores = attribution.all_scores(self.scorer, images)
            targets = self._targets(batch, scores)
            maps = explain(self.config.method, self.scorer, images, targets, seeds, self.config.settings(),
                           self._patterns)
            shares = torch.sigmoid(scores) if self.scorer.several else torch.softmax(scores, 1)
            made = {"explanation": maps, "overlay": overlay(images, maps), "explained_class": targets,
                    "explained_score": attribution.of_classes(scores, targets),
                    "explained_share": attribution.of_classes(shares, targets)}
            if self.config.method == "integrated_gradients":
                made["completeness_gap"] = attribution.completeness_gap(self.scorer, images, targets, maps[:, None])
        return made

    def _targets(self, batch: Batch, scores: Tensor) -> Tensor:
        """The classes (B,) to explain."""
        if self._class >= 0:
            return torch.full((len(scores),), self._class)
        if self._renumber is None:
            return scores.argmax(1)
        return torch.tensor([self._renumber[int(number)] for number in batch[self.config.label]])


def class_numbers(scorer: Scorer, folder: ImageFolder, column: str) -> dict[int, int]:
    """Returns the classifier's number of each class that the set has in this column, by the set's number.

    Classes are matched by name where the set names them, else by number. UserError for a column without classes, and
    for a class that the classifier does not know.
    """
    folder.require(column)
    values = folder.labels[column]
    if values.ndim != 1 or (values != np.floor(values)).any():
        raise UserError(f"{show(folder.path)}: '{column}' holds other values than classes: name the column of the true "
                        "classes with --label")
    names = folder.class_names(column)
    found = {}
    for number in sorted({int(value) for value in values}):
        try:
            found[number] = scorer.class_number(names[number] if 0 <= number < len(names) else str(number))
        except UserError as error:
            raise UserError(f"{show(folder.path)}: '{column}': {error}: name a column of its classes with "
                            "--label") from error
    return found


@contextmanager
def fits(scorer: Scorer) -> Iterator[None]:
    """Turns what the methods refuse into a UserError that names the classifier."""
    try:
        yield
    except UnfitModel as error:
        raise UserError(f"{scorer.name}: {error}") from error
    except ValueError as error:
        raise UserError(f"{scorer.name}: explain: {error}") from error


def patterns_of(scorer: Scorer, place: Path, count: int, size: int = 224) -> Patterns:
    """Returns the patterns of a classifier from up to `count` pictures of a set, evenly spaced.

    They are brought to the classifier's size; for one that takes any size, to `size` x `size` px.
    """
    channels, height, width = scorer.shape
    folder = ImageFolder(place, size=(height, width) if height else (size, size), channels=channels or None)
    rows = np.linspace(0, len(folder) - 1, min(count, len(folder))).round().astype(int).tolist()
    sizes: Iterator[Tensor] = (folder.read(rows[start : start + _AT_ONCE], ("image",))["image"]
                               for start in range(0, len(rows), _AT_ONCE))
    with fits(scorer):
        return estimate_patterns(scorer, sizes)


