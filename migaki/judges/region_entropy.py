"""Image region entropy of words: over how many kinds of regions their pictures spread; low is visual.

Regions are SLIC superpixels, described by the masked mean of a layer and by mean and deviation of their colours, 32
principal axes, a mixture of Gaussians fitted on random pictures. See `metrics.region_entropy` for the measure.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, one_hot

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.core.notices import notice
from migaki.data.feature_store import prepared
from migaki.data.files.member import FilePath
from migaki.data.folder import ImageFolder
from migaki.judges.texture_rows import files_by_label, usual_detail
from migaki.metrics.region_entropy import WordRegions, entropy, learn_word, relative_entropy
from migaki.nets.texture_features import Features, open_features
from migaki.ops.colour import rgb_to_lab
from migaki.ops.fisher import fit_fisher, posteriors
from migaki.ops.slic import superpixels
from migaki.report.tables import harmless

RANDOM = "random pictures"
_LEAST = 10  # pictures of a word


class RegionEntropy(Judge):
    """Entropy in bits of each word's regions over clusters of regions, ranked; the lower, the more visual.

    Beside it what as many random pictures reach, which the mixture was not fitted on.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets, the regions and the mixture."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "network layer pictures clusters share", "run": "seed seeds"}

        words: Path  # pictures of words: a subfolder for each, or a column label
        random: Path  # random pictures, of the same source and resolution if possible
        network: str = "random"  # features: random, gradients, NAME=FILE.safetensors, a run; see docs/textures.md
        layer: str = ""  # layer of 8 or 4 px a step, such as fire5; empty = the last one of at most 8 px a step
        pictures: int = 50  # of each word, drawn by the seed
        random_pictures: int = 500  # that the mixture is fitted on
        regions: int = 5  # superpixels along a side
        clusters: int = 64  # Gaussians
        parts: int = 32  # principal axes of the descriptors
        share: float = 0.5  # of the regions that are taken to show the word
        size: int = 128  # px, sides of the pictures
        quality: int = 80  # of the JPEG that all pictures pass through; 0 = none
        through: int = 0  # px that all pictures are reduced to first; 0 = what nine in ten have
        seed: int = 0  # of the drawn pictures
        seeds: int = 3  # mixtures: their spread stands beside each figure

    config: Config

    def sources(self) -> tuple[Path, ...]:
        """Returns both sets."""
        return (self.config.words, self.config.random)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the ranking; UserError for sets that are too small, and for options that do not fit."""
        config = self.config
        _check(config)
        words, random = _drawn(config)
        features = open_features(config.network)
        every = [path for files in (*words.values(), random) for path in files]
        describe = Describer(features, config, config.through or usual_detail(every, config.size))
        total, done = len(every), 0

        def rows(files: Sequence[FilePath]) -> Tensor:
            nonlocal done
            found = []
            for path in files:
                found.append(describe(path))
                done += 1
                progress(done, total)
            return torch.cat(found)

        fitted_on = rows(random)
        middle, deviation = fitted_on.mean(0), fitted_on.std(0).clamp_min(1e-6)
        scale = describe.balance / deviation
        described = {name: (rows(files) - middle) * scale for name, files in words.items()}
        learned = [_learn((fitted_on - middle) * scale, described, config, config.seed + number)
                   for number in range(config.seeds)]
        return _findings(config, f"{config.network} {describe.layer}", describe.through, words, learned)


class Describer:
    """Describes the regions of pictures: the mean of a layer's map in each, mean and deviation of its colours."""

    def __init__(self, features: Features, config: RegionEntropy.Config, through: int) -> None:
        self.features, self.config, self.through = features, config, through
        fine = [layer for layer in features.layers if layer.stride <= 8]
        names = features.names_of(config.layer or (fine or list(features.layers))[-1].name)
        if len(names) > 1:
            raise UserError(f"--layer {config.layer}: give a single layer")
        (self.layer,) = names
        channels = next(layer.channels for layer in features.layers if layer.name == self.layer)
        # Colours count as much as the layer, whatever its width.
        self.balance = torch.cat([torch.full((channels,), channels**-0.5), torch.full((6,), 6**-0.5)])

    def __call__(self, path: FilePath) -> Tensor:
        """Returns the descriptors (R, C + 6) of a picture's regions."""
        config = self.config
        image = prepared(path, config.size, config.quality, self.through)
        with torch.inference_mode():
            regions = superpixels(image[0], config.regions)
            masks = one_hot(regions, config.regions**2).permute(2, 0, 1).float()  # (R, H, W)
            masks = masks[masks.sum((1, 2)) > 0]
            maps = self.features.maps(image, self.layer)[self.layer][0]
            inside = adaptive_avg_pool2d(masks, (maps.shape[1], maps.shape[2])).flatten(1)
            means = inside @ maps.flatten(1).T / inside.sum(1, keepdim=True)
            lab = rgb_to_lab(image)[0].flatten(1)
            flat = masks.flatten(1) / masks.sum((1, 2))[:, None]
            colour = flat @ lab.T
            spread = (flat @ lab.square().T - colour.square()).clamp_min(0).sqrt()
            return torch.cat([means, colour, spread], 1)


def _check(config: RegionEntropy.Config) -> None:
    for name, least in (("pictures", _LEAST), ("random_pictures", _LEAST), ("regions", 2), ("clusters", 2),
                        ("parts", 1), ("seeds", 1)):
        if getattr(config, name) < least:
            raise UserError(f"--{name.replace('_', '-')} {getattr(config, name)}: at least {least}")
    if not 0 < config.share < 1:
        raise UserError(f"--share {config.share:g}: between 0 and 1")
    if not 32 <= config.size <= 1024 or config.regions > config.size // 4:
        raise UserError(f"--size {config.size}: 32 to 1024 px, and 4 px for each of --regions {config.regions}")


def _drawn(config: RegionEntropy.Config) -> tuple[dict[str, list[FilePath]], list[FilePath]]:
    """The pictures of each word, with the control, and the random ones of the mixture."""
    draw, found = np.random.default_rng(config.seed), {}
    for name, files in files_by_label(ImageFolder(config.words)).items():
        if len(files) < _LEAST:
            notice(f"{show(config.words)}: '{show(name)}' has {len(files)} pictures, and {_LEAST} are needed: it is "
                   "left out")
            continue
        found[name] = [files[place] for place in draw.permutation(len(files))[: config.pictures].tolist()]
    if not found:
        raise UserError(f"{show(config.words)}: no word has {_LEAST} pictures: collect more")
    random = ImageFolder(config.random)
    if len(random) < config.pictures + 2 * _LEAST:
        raise UserError(f"{show(config.random)}: holds {len(random)} pictures, and {config.pictures} for the control "
                        f"and {2 * _LEAST} for the mixture are needed: give more random pictures")
    drawn = min(len(random) - config.pictures, config.random_pictures) * config.regions**2
    if drawn < 2 * config.clusters:
        raise UserError(f"--clusters {config.clusters}: {drawn} regions of random pictures are too few: give more "
                        "random pictures, or fewer clusters")
    order = [random.file(place) for place in draw.permutation(len(random)).tolist()]
    found[RANDOM] = order[: config.pictures]
    return found, order[config.pictures :][: config.random_pictures]


def _learn(random: Tensor, words: dict[str, Tensor], config: RegionEntropy.Config, seed: int) -> dict[str, WordRegions]:
    """What is learned of each word with the mixture of a seed."""
    try:
        mixture = fit_fisher(random, parts=config.parts, gaussians=config.clusters, seed=seed)
    except ValueError as error:
        raise UserError(f"--clusters {config.clusters}: {error}") from error

    def kinds(rows: Tensor) -> Tensor:
        return posteriors((mixture.axes @ (rows - mixture.middle).T)[None], mixture)[0].T

    weights = kinds(random).mean(0)
    return {name: learn_word(kinds(rows), weights, config.share) for name, rows in words.items()}


def _findings(config: RegionEntropy.Config, named: str, through: int, words: dict[str, list[FilePath]],
              learned: Sequence[dict[str, WordRegions]]) -> Findings:
    own = [name for name in words if name != RANDOM]
    mean = [torch.stack([one[name].clusters for name in own]).mean(0) for one in learned]
    most = math.log2(config.clusters)

    def over(measure: Callable[[WordRegions, Tensor], float], name: str) -> list[float]:
        return [measure(one[name], middle) for one, middle in zip(learned, mean, strict=True)]

    rows = []
    for name in words:
        bits = over(lambda word, _: word.corrected, name)
        rows.append((name, float(np.mean(bits)), float(np.std(bits, ddof=1)) if len(bits) > 1 else None,
                     float(np.mean(over(lambda word, _: word.entropy, name))),
                     float(np.mean(over(lambda word, middle: relative_entropy(word.clusters, middle), name))),
                     len(words[name])))
    ranking = sorted((row for row in rows if row[0] != RANDOM), key=lambda row: row[1])
    control = next(row for row in rows if row[0] == RANDOM)
    information = [float(np.mean([relative_entropy(one[name].clusters, middle) for name in own]))
                   for one, middle in zip(learned, mean, strict=True)]
    spreads = [row[2] for row in ranking if row[2] is not None]
    figures: dict[str, Any] = {
        "words": len(own), "mean_entropy": float(np.mean([row[1] for row in ranking])), "lowest": ranking[0][1],
        "highest": ranking[-1][1], "control": control[1], "most_possible": most,
        "spread_of_seeds": float(np.mean(spreads)) if spreads else None,
        "mutual_information": float(np.mean(information)), "ranking": {row[0]: row[1] for row in ranking}}
    record = {"words": str(config.words), "random": str(config.random), "features": named, "through": through,
              "options": {name: getattr(config, name) for name in (
                  "pictures", "random_pictures", "regions", "clusters", "parts", "share", "size", "quality", "seed",
                  "seeds")}, "version": __version__}
    table = [[number, show(name), f"{bits:.3f}", "" if spread is None else f"{spread:.3f}", f"{bits / most:.3f}",
              f"{plain:.3f}", f"{others:.3f}", count]
             for number, (name, bits, spread, plain, others, count) in enumerate([*ranking, control], 1)]
    return Findings(
        title="Image region entropy", record=record, figures=figures, baseline={"mean_entropy": control[1]},
        baseline_name=RANDOM, files={"entropies.csv": _csv([*ranking, control])},
        notes=[f"Entropy in bits over {config.clusters} clusters of regions of random pictures ({named}), corrected "
               f"after Miller and Madow; {entropy(torch.full((config.clusters,), 1 / config.clusters)):.2f} bits is "
               "the most there can be. Low is visual. The deviation is over mixtures of different seeds: a smaller "
               "difference of two words says nothing."],
        sections=[Section(heading="The ranking", columns=_COLUMNS, rows=table)])


_COLUMNS = ["rank", "word", "entropy, bits", "deviation over seeds", "of the most possible", "without correction",
            "bits that tell it from the other words", "pictures"]


def _csv(rows: Sequence[tuple[Any, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["word", "entropy", "deviation", "uncorrected", "relative", "pictures"])
    for name, *numbers, count in rows:
        writer.writerow([harmless(name), *("" if value is None else f"{value:.6f}" for value in numbers), count])
    return text.getvalue().encode("utf-8", "backslashreplace")
