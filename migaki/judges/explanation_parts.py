"""The parts of the judge `explanations`: the pictures, their maps by every method, and each of the measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from migaki.changes.explain import class_numbers, fits, patterns_of
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.seeds import fold
from migaki.data.folder import ImageFolder
from migaki.data.sets.mask_classes import mask_names
from migaki.metrics import explanations as figures
from migaki.nets.scorer import Scorer
from migaki.ops.attribution_patterns import Patterns, estimate_patterns
from migaki.ops.explaining import PATTERNED, Settings, explain
from migaki.ops.masks import IGNORE
from migaki.ops.shuffled import shuffled, weighted_layers

MASKED: Final = ("pointing", "energy", "iou")
"""Measures that need masks."""

MEASURES: Final = (*MASKED, "grid", "insertion", "deletion", "sanity")

DRAWN: Final = ("smooth_grad", "random")
"""Methods with chance in them: each seed has its own maps."""

_AT_ONCE = 8
_FIXED = 0.5  # share of a map's maximum: the fixed threshold of the IoU

Values = dict[str, Tensor]
"""Figures by name, each (seeds, pictures)."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The judged pictures: `images` (N, C, H, W), `targets` (N,), `masks` (N, H, W) bool or None, their names."""

    images: Tensor
    targets: Tensor
    masks: Tensor | None
    names: list[str]


def read_pictures(scorer: Scorer, place: Path, size: int, label: str, count: int) -> Pictures:
    """Returns up to `count` pictures, evenly spaced, among those that the classifier reads rightly.

    A picture that is read wrongly gives no true answer to explain. UserError if fewer than four are left.
    """
    channels, height, width = scorer.shape
    folder = ImageFolder(place, size=(height, width) if height else (size, size), channels=channels or None)
    numbers = class_numbers(scorer, folder, label)
    rows = np.linspace(0, len(folder) - 1, min(3 * count, len(folder))).round().astype(int).tolist()
    kept: list[int] = []
    with torch.no_grad(), fits(scorer):
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            batch = folder.read(part, ("image", label))
            truth = torch.tensor([numbers[int(number)] for number in batch[label]])
            right = scorer(batch["image"]).argmax(1) == truth
            kept += [row for row, is_right in zip(part, right.tolist(), strict=True) if is_right]
    if len(kept) < 4:
        raise UserError(f"{show(place)}: {scorer.name} reads {len(kept)} of {len(rows)} pictures rightly, and at least "
                        "4 are needed: give another set, or a better classifier")
    kept = [kept[place] for place in np.linspace(0, len(kept) - 1, min(count, len(kept))).round().astype(int)]
    targets = torch.tensor([numbers[int(number)] for number in folder.labels[label][kept]])
    masks = _masks(folder, kept, targets, scorer) if "mask" in folder.files else None
    return Pictures(folder.read(kept, ("image",))["image"], targets, masks, [folder.names[row] for row in kept])


def _masks(folder: ImageFolder, rows: list[int], targets: Tensor, scorer: Scorer) -> Tensor:
    """The pixels of each picture's class where the masks name it; else all that are neither ground nor ignored."""
    folder.require("mask")
    planes, names = folder.read(rows, ("mask",))["mask"].long(), mask_names(folder)
    found = []
    for plane, target in zip(planes, targets.tolist(), strict=True):
        name = scorer.class_name(target)
        found.append(plane == names.index(name) if name in names else (plane > 0) & (plane != IGNORE))
    return torch.stack(found)


@dataclass
class Explainer:
    """Makes maps of pictures, a few at a time; refuses by a UserError that names the classifier."""

    scorer: Scorer
    settings: Settings
    pattern_pictures: Callable[[], Patterns]
    ignorant: Scorer | None = None  # learned the same pictures with random labels
    _patterns: Patterns | None = field(default=None)

    def maps(self, method: str, images: Tensor, targets: Tensor, seed: int, model: nn.Module | None = None,
             patterns: Patterns | None = None) -> Tensor:
        """The maps (B, H, W) of a method; of `model`, with its patterns, in place of the classifier."""
        if method in PATTERNED and patterns is None:
            self._patterns = self._patterns or self.pattern_pictures()
            patterns = self._patterns
        seeds = torch.tensor([fold(seed, row) for row in range(len(images))])
        parts = [slice(start, start + _AT_ONCE) for start in range(0, len(images), _AT_ONCE)]
        with fits(self.scorer):
            return torch.cat([explain(method, model or self.scorer, images[part], targets[part], seeds[part],
                                      self.settings, patterns) for part in parts])


def place_values(maps: Tensor, masks: Tensor, tolerance: int) -> Values:
    """Pointing, energy and IoU of maps (seeds, N, H, W)."""
    each = [(figures.pointing(one, masks, tolerance), figures.energy(one, masks), figures.overlaps(one, masks))
            for one in maps]
    overlap = torch.stack([values for _, _, values in each])  # (seeds, N, thresholds)
    best = int(overlap.mean((0, 1)).argmax())
    return {"pointing": torch.stack([values for values, _, _ in each]),
            "energy": torch.stack([values for _, values, _ in each]),
            "iou": overlap[..., figures.THRESHOLDS.index(_FIXED)], "iou_best": overlap[..., best],
            "iou_best_threshold": torch.full(overlap.shape[:2], figures.THRESHOLDS[best])}


def curve_values(scorer: Scorer, pictures: Pictures, maps: Tensor, steps: int) -> Values:
    """Insertion and deletion of maps (seeds, N, H, W)."""
    found: dict[str, list[Tensor]] = {"insertion": [], "deletion": []}
    for one in maps:
        rows = [slice(start, start + _AT_ONCE) for start in range(0, len(one), _AT_ONCE)]
        pairs = [figures.score_curves(scorer, pictures.images[part], pictures.targets[part], one[part], steps)
                 for part in rows]
        for number, name in enumerate(found):
            found[name].append(torch.cat([figures.area(pair[number]) for pair in pairs]))
    return {name: torch.stack(values) for name, values in found.items()}


def mosaics(scorer: Scorer, pictures: Pictures, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns `count` mosaics of four pictures of four classes, the class to explain in each, and its quadrant.

    A classifier of one size gets mosaics of that size: their tiles are half as large.
    """
    random = np.random.default_rng([seed, 4])
    classes = sorted(set(pictures.targets.tolist()))
    if len(classes) < 4:
        raise UserError(f"{scorer.name}: the grid needs pictures of four classes, and {len(classes)} were read "
                        "rightly: leave `grid` out of --measures")
    images, targets, places = [], [], []
    for _ in range(count):
        four = [int(random.choice(np.flatnonzero(pictures.targets.numpy() == one)))
                for one in random.permutation(classes)[:4]]
        whole = figures.mosaic(pictures.images[four])
        if scorer.shape[1]:
            whole = nn.functional.interpolate(whole[None], scorer.shape[1:], mode="bilinear", antialias=True)[0]
        place = int(random.integers(4))
        images.append(whole)
        targets.append(pictures.targets[four[place]])
        places.append(place)
    return torch.stack(images), torch.stack(targets), torch.tensor(places)


def grid_values(explainer: Explainer, method: str, pictures: Pictures, count: int, seeds: int) -> Values:
    """The share of each map that is in the quadrant of its class."""
    found = []
    for seed in range(seeds):
        images, targets, places = mosaics(explainer.scorer, pictures, count, seed)
        masks = figures.quadrant_masks(images.shape[2], images.shape[3])[places]
        found.append(figures.energy(explainer.maps(method, images, targets, seed), masks))
    return {"grid": torch.stack(found)}


def sanity_values(explainer: Explainer, method: str, pictures: Pictures, maps: Tensor, count: int,
                  seeds: int) -> Values:
    """How alike the maps of the first `count` pictures are when the last layer, half of the layers and all have
    forgotten: the rank correlation, and for all of them SSIM; and those of a network that learned random labels."""
    images, targets, scorer = pictures.images[:count], pictures.targets[:count], explainer.scorer
    layers = weighted_layers(scorer, images[:1])
    cascade = {"sanity_last": layers[-1:], "sanity_half": layers[len(layers) // 2 :], "sanity": layers}
    found: dict[str, list[Tensor]] = {name: [] for name in (*cascade, "sanity_ssim")}
    for seed in range(seeds):
        before = maps[min(seed, len(maps) - 1), :count]
        for name, chosen in cascade.items():
            after = _maps_of(explainer, shuffled(scorer, chosen, seed), method, images, targets, seed, pictures.images)
            found[name].append(figures.rank_correlation(before, after))
            if name == "sanity":
                found["sanity_ssim"].append(figures.similarity(before, after))
        if explainer.ignorant is not None:
            after = _maps_of(explainer, explainer.ignorant, method, images, targets, seed, pictures.images)
            found.setdefault("sanity_labels", []).append(figures.rank_correlation(before, after))
    return {name: torch.stack(values) for name, values in found.items()}


def _maps_of(explainer: Explainer, model: nn.Module, method: str, images: Tensor, targets: Tensor, seed: int,
             seen: Tensor) -> Tensor:
    """The maps of another network than the explainer's own, whose patterns are estimated from the pictures `seen`."""
    patterns = estimate_patterns(model, torch.split(seen, _AT_ONCE)) if method in PATTERNED else None
    drawn = seed + (1000 if method == "random" else 0)  # a random map knows no network: another draw
    return explainer.maps(method, images, targets, drawn, model, patterns)


def explainer_of(scorer: Scorer, settings: Settings, place: Path, size: int, count: int = 256) -> Explainer:
    """Returns what makes maps; the patterns are estimated from the judged set when they are first needed."""
    return Explainer(scorer, settings, lambda: patterns_of(scorer, place, count, size))
