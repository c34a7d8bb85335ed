"""Measures whether a classifier's explanations point at the object, and whether its score follows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.judges import explanation_parts as parts
from migaki.metrics.explanations import bootstrap
from migaki.nets.scorer import Scorer, open_scorer
from migaki.ops.explaining import FREE, METHODS, Settings
from migaki.ops.overlay import overlay
from migaki.report.sheets import sheet

_SHOWN = 8
_TOLERANCE = 15 / 224  # of the shorter side: the 15 px of the pointing game, at the usual size

NAMES = {
    "pointing": "pointing", "energy": "energy", "iou": "IoU at half", "iou_best": "best IoU", "grid": "grid",
    "insertion": "insertion", "deletion": "deletion", "sanity_last": "sanity, last layer",
    "sanity_half": "sanity, upper half", "sanity": "sanity, all", "sanity_ssim": "sanity, all, SSIM",
    "sanity_labels": "sanity, random labels"}
"""The columns of the table."""

_ABOUT = """\
Only pictures that the classifier reads rightly count, with their true class. Pointing: the highest pixel is on the \
object, or 7 % of the shorter side away. Energy: the share of the map on the object. IoU: the pixels above half of \
the map's maximum against the object; the best threshold is chosen on these masks, so it flatters. Grid: the share \
of the map in the right quarter of a mosaic of four classes; chance is 25 %. Insertion (higher is better) and \
deletion (lower is better): the area below the share of the class as pixels come and go, most important first. \
Sanity (nearer to 0 is better): the rank correlation of the map with that of a network whose weights were shuffled, \
or that learned random labels; a map that stays the same explains the picture, not the network. In brackets: 95 % \
intervals by bootstrap over pictures and seeds."""


class Explanations(Judge):
    """Compares methods of explanation on one classifier, beside a random and a centre map, which ask no classifier.

    A set with masks serves all measures; one without them the grid, insertion, deletion and the sanity check.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The classifier, the pictures, and what is measured."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "methods measures label count seeds size",
            "rest": "random_labels mosaics sanity_count curve_steps layers samples noise steps patch rivals",
        }

        model: str  # a trained run, a file of weights (.safetensors), or efficientnet_lite0
        data: Path  # pictures with classes, and masks of the objects for pointing, energy and IoU
        methods: tuple[str, ...] = ()  # those of `apply explain`; none = all that apply to the classifier
        measures: tuple[str, ...] = ()  # pointing energy iou grid insertion deletion sanity; none = all the set allows
        label: str = "label"  # column with the true classes, by the classifier's names or numbers
        count: int = 60  # pictures, evenly spaced among those read rightly
        seeds: int = 3  # draws of mosaics, of shuffled networks, and of methods with chance in them
        size: int = 160  # px, for a classifier that takes any size
        mosaics: int = 24  # a seed
        sanity_count: int = 12  # pictures of the sanity check
        random_labels: str = ""  # a run of the same classes and pictures whose labels were random: sanity asks it too
        curve_steps: int = 16  # of insertion and deletion
        layers: tuple[str, ...] = ()  # for cam and grad_cam one, for dcsm any; none = the method's usual ones
        samples: int = 15  # smooth_grad: noisy copies
        noise: float = 0.15  # smooth_grad: deviation, as a share of the picture's range
        steps: int = 20  # integrated_gradients: points on the way from black
        patch: int = 0  # occlusion: side of the square in px; 0 = a sixth of the shorter side
        rivals: int = 2  # dcsm: likeliest other classes to compare with

        def __post_init__(self) -> None:
            for name, known in (("methods", METHODS), ("measures", parts.MEASURES)):
                for word in getattr(self, name):
                    if word not in known:
                        raise UserError(f"--{name} {show(word)}: give some of {', '.join(known)}")
            if min(self.count, self.mosaics, self.sanity_count) < 4 or min(self.seeds, self.curve_steps, self.samples,
                                                                           self.steps, self.rivals) < 1:
                raise UserError("--count, --mosaics and --sanity-count must be at least 4, --seeds, --curve-steps, "
                                "--samples, --steps and --rivals at least 1")
            if not 32 <= self.size <= 1024 or self.noise < 0 or self.patch < 0:
                raise UserError("--size must be 32 to 1024 px, --noise and --patch 0 or more")

    config: Config
    file_name = "explanations"

    def sources(self) -> tuple[Path, ...]:
        """The pictures."""
        return (self.config.data,)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns every measure of every method, with intervals."""
        config = self.config
        scorer = open_scorer(config.model)
        scorer.requires_grad_(False)
        pictures = parts.read_pictures(scorer, config.data, config.size, config.label, config.count)
        measures = self._measures(pictures)
        settings = Settings(layers=config.layers, samples=config.samples, noise=config.noise, steps=config.steps,
                            patch=config.patch, rivals=config.rivals)
        explainer = parts.explainer_of(scorer, settings, config.data, config.size)
        explainer.ignorant = self._ignorant(scorer)
        methods = [*FREE, *(config.methods or METHODS)]
        values: dict[str, parts.Values] = {}
        shown: list[tuple[str, Tensor]] = [("picture", pictures.images[:_SHOWN])]
        notes = [_ABOUT]
        for number, method in enumerate(methods):
            try:
                maps = torch.stack(list(self._maps(explainer, method, pictures)))
            except UserError as error:
                if method in config.methods:
                    raise
                notes.append(f"Left out: {method.replace('_', ' ')}: {error}")
                continue
            values[method] = self._values(explainer, method, pictures, maps, measures)
            shown.append((method.replace("_", " "), overlay(pictures.images[:_SHOWN], maps[0, :_SHOWN])))
            progress(number + 1, len(methods))
        if pictures.masks is None and not config.measures:
            notes.append("The set has no masks: pointing, energy and IoU were not measured.")
        if not config.measures and "grid" not in measures:
            notes.append("Fewer than four classes were read rightly: the grid was not measured.")
        return self._findings(scorer, pictures, values, shown, notes)

    def _measures(self, pictures: parts.Pictures) -> tuple[str, ...]:
        """What is measured. UserError for measures that need masks where there are none."""
        has_grid = len(set(pictures.targets.tolist())) >= 4
        wanted = self.config.measures or tuple(name for name in parts.MEASURES if name != "grid" or has_grid)
        if pictures.masks is not None:
            return wanted
        lost = [name for name in self.config.measures if name in parts.MASKED]
        if lost:
            raise UserError(f"{show(self.config.data)}: has no masks, which {', '.join(lost)} needs: give a set with "
                            "mask_file_name, or leave these out of --measures")
        return tuple(name for name in wanted if name not in parts.MASKED)

    def _ignorant(self, scorer: Scorer) -> Scorer | None:
        """The classifier that learned random labels. UserError for one of other pictures or classes."""
        name = self.config.random_labels
        if not name:
            return None
        other = open_scorer(name)
        if other.shape != scorer.shape or list(other.classes) != list(scorer.classes):
            raise UserError(f"--random-labels {show(name)}: has other pictures or classes than {scorer.name}: train it "
                            "on the same set with its labels permuted")
        other.requires_grad_(False)
        return other

    def _maps(self, explainer: parts.Explainer, method: str, pictures: parts.Pictures) -> Iterator[Tensor]:
        for seed in range(self.config.seeds if method in parts.DRAWN else 1):
            yield explainer.maps(method, pictures.images, pictures.targets, seed)

    def _values(self, explainer: parts.Explainer, method: str, pictures: parts.Pictures, maps: Tensor,
                measures: Sequence[str]) -> parts.Values:
        config = self.config
        found: parts.Values = {}
        if pictures.masks is not None and set(measures) & set(parts.MASKED):
            tolerance = round(_TOLERANCE * min(pictures.images.shape[2:]))
            placed = parts.place_values(maps, pictures.masks, tolerance)
            found |= {name: value for name, value in placed.items() if name.split("_")[0] in measures}
        if "grid" in measures:
            found |= parts.grid_values(explainer, method, pictures, config.mosaics, config.seeds)
        if {"insertion", "deletion"} & set(measures):
            curves = parts.curve_values(explainer.scorer, pictures, maps, config.curve_steps)
            found |= {name: value for name, value in curves.items() if name in measures}
        if "sanity" in measures:
            found |= parts.sanity_values(explainer, method, pictures, maps, config.sanity_count, config.seeds)
        return found

    def _findings(self, scorer: Scorer, pictures: parts.Pictures, values: dict[str, parts.Values],
                  shown: list[tuple[str, Tensor]], notes: list[str]) -> Findings:
        config = self.config
        spans = {method: {name: bootstrap(table) for name, table in found.items()} for method, found in values.items()}
        columns = [name for name in NAMES if any(name in found for found in values.values())]
        main = columns[0]
        best = max((spans[free][main][0] for free in FREE), key=_worth(main))
        base = {f"{method}/{main}": best for method in spans if method not in FREE}
        # The first measure of each method stands among the figures of the page; the table below it holds all.
        figures: dict[str, Any] = {"count": len(pictures.images)} | {
            f"{method}/{main}": found[main][0] for method, found in spans.items()} | {"methods": {
                method: {name: {"mean": mean, "interval": [low, high]} for name, (mean, low, high) in found.items()}
                for method, found in spans.items()}}
        rows = [[method.replace("_", " "), *(_cell(found.get(name)) for name in columns)]
                for method, found in spans.items()]
        record = {"model": scorer.name, "data": str(config.data), "seeds": config.seeds, "version": __version__,
                  "methods": list(values)}
        pictures_sheet = sheet(shown, min_side=96)
        return Findings(
            title="Explanations", record=record, figures=figures, baseline=base, notes=notes,
            files={"pictures.png": pictures_sheet},
            baseline_name="the better of a random and a centre map",
            sections=[Section(heading="Methods", columns=["method", *(NAMES[name] for name in columns)], rows=rows),
                      Section(heading="Pictures", picture=pictures_sheet,
                              caption="The first pictures: red speaks for the true class, blue against it.")])


def _worth(name: str) -> Any:
    """How the figures of a measure are ordered, the better ones higher."""
    if name == "deletion":
        return lambda value: -value
    return (lambda value: -abs(value)) if name.startswith("sanity") else (lambda value: value)


def _cell(span: tuple[float, float, float] | None) -> str:
    return "-" if span is None else f"{span[0]:.3f} [{span[1]:.3f}, {span[2]:.3f}]"
