"""Measures whether two folders of images look alike, by distances on features, and how far refining moved labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from migaki import __version__
from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.files import make_folder, read_json, write_json
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.judges.observers import (
    ObserverConfig,
    binomial_error,
    photographs_told_apart,
    told_apart,
    verdicts,
)
from migaki.metrics.distances import Rows, kid, two_sample_test
from migaki.metrics.gaze import angular_error_deg
from migaki.metrics.neighbours import Features, nearest_in_parts, pixel_features
from migaki.metrics.spectrum import spectrum_features

FEATURES = {"pixels": "pixels, brightness and contrast taken out", "spectrum": "spectrum: coarse against fine"}
"""The features and their descriptions. None comes from a network that was trained on other pictures."""

OBSERVERS = FEATURES | {"cnn": "small CNN on held-out halves"}
"""All observers and their descriptions."""

ABOUT_CNN = (
    "The CNN learns from one half of both sets and judges the other half, then the other way round; its schedule is "
    "fixed, and nothing is mirrored. What pictures show counts as well as how they look: sets of other classes are "
    "told apart by their classes.")

ABOUT_DISTANCES = (
    "Distinguished: the accuracy of a logistic classifier, 50 % is chance (Lopez-Paz and Oquab 2017). "
    "Kernel distance: unbiased MMD² with the cubic kernel of KID (Binkowski et al. 2018) on these features, not "
    "on Inception's; 0 means no difference.")

_FEW = 8  # pictures of a set: below, the CNN has nothing to learn from
_AT_MOST = 1000  # images of each set: enough for the second decimal, and quick
_EXAMINED = 5000  # images compared with all photographs; takes about 20 s for 50,000 photographs
_PART = 2**23  # picture values read at a time: 32 MB


class Looks(Judge):
    """Observers that tell photographs from a synthetic set, before and after refining, and kernel distances.

    Linear classifiers on pixels and on the spectrum, and a small CNN that is judged on pictures it has not seen.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets to compare."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "refined observer_steps observers seed"}

        synthetic: Path  # the rendered images
        photos: Path  # photographs, preferably unseen by the refiner
        refined: Path | None = None  # the same images refined
        observer_steps: int = 300  # updates of the CNN that tells pictures from photographs; 0 = no CNN
        observers: int = 1  # CNNs of other seeds, each trained on both halves in turn
        seed: int = 0  # of the first CNN

    config: Config
    file_name = "looks"

    def sources(self) -> tuple[Path, ...]:
        """Returns all the sets."""
        config = self.config
        return (config.synthetic, config.photos, *((config.refined,) if config.refined else ()))

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns what each observer finds, and for comparison the same between two halves of the photographs."""
        config = self.config
        if config.observer_steps < 0 or config.observers < 1:
            raise UserError("--observer-steps must be at least 0, --observers at least 1")
        like = ImageFolder(config.synthetic)
        real = read_images(config.photos, like=like)
        sets = {"synthetic": config.synthetic} | ({"refined": config.refined} if config.refined else {})
        found: dict[str, dict[str, dict[str, float]]] = {}
        for number, (name, folder) in enumerate(sets.items()):
            found[name] = self._observed(read_images(folder, like=like), real)
            progress(number + 1, len(sets) + 1)
        halves = self._observed(real[::2], real[1::2], real) if len(real) >= 4 else {}
        progress(len(sets) + 1, len(sets) + 1)
        figures = {f"{name}/{feature}_{key}": value for name, one in found.items() for feature in one
                   for key, value in _shown(one[feature]).items()}
        base = {f"{name}/{feature}_{key}": value for name in found for feature in halves
                for key, value in _shown(halves[feature]).items()}
        shown = {**found, **({"photographs halved": halves} if halves else {})}
        rows = [[OBSERVERS[feature], *(one[feature].get(key) if feature in one else None for one in shown.values()
                                       for key in ("told_apart", "kid"))] for feature in found["synthetic"]]
        columns = ["features", *(f"{name}: {what}" for name in shown for what in ("distinguished", "kernel distance"))]
        record = {"synthetic": str(config.synthetic), "refined": str(config.refined or ""),
                  "photos": str(config.photos), "observer_steps": config.observer_steps,
                  "observers": config.observers, "seed": config.seed, "version": __version__}
        said = verdicts(found["synthetic"], found["refined"], {name: OBSERVERS[name] for name in found["refined"]}
                        ) if "refined" in found else []
        return Findings(title="Looks", record=record | {"verdicts": said}, figures=figures, baseline=base,
                        baseline_name="photographs against photographs", notes=[*said, ABOUT_DISTANCES, ABOUT_CNN],
                        sections=[Section(columns=columns, rows=rows)])

    def _observed(self, images: torch.Tensor, photos: torch.Tensor,
                  halved: torch.Tensor | None = None) -> dict[str, dict[str, float]]:
        """Returns what each observer finds between images and photographs; `halved` are photographs that the CNN is to
        halve by itself, by blocks of neighbours."""
        config = self.config
        found: dict[str, dict[str, float]] = dict(distance(images, photos))
        for one in found.values():
            one["error"] = binomial_error(one["told_apart"], 2 * min(len(images), len(photos)))
        if not config.observer_steps or min(len(images), len(photos)) < _FEW:
            return found
        cnn = ObserverConfig(num_steps=config.observer_steps)
        if halved is None:
            return found | {"cnn": told_apart(images, photos, config.seed, cnn, config.observers)}
        if len(halved) < 4 * _FEW:
            return found  # too few for quarters
        return found | {"cnn": photographs_told_apart(halved, config.seed, cnn, config.observers)}


def _shown(one: Mapping[str, float]) -> dict[str, float]:
    return {key: one[key] for key in ("told_apart", "kid", "spread") if key in one}


def read_images(folder: Path, count: int = _AT_MOST, like: ImageFolder | None = None) -> torch.Tensor:
    """Read up to `count` images (N, C, H, W) of a folder, evenly spaced, in its own size or that of `like`."""
    size, channels = (None, None) if like is None else (like.shape[1:], like.shape[0])
    images = ImageFolder(folder, size=size, channels=channels)
    return images.read(_spaced(len(images), count), ("image",))["image"]


def _spaced(total: int, count: int) -> list[int]:
    """Returns up to `count` evenly spaced indices below `total`."""
    places: list[int] = np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()
    return places


class Closest(NamedTuple):
    """Images and their nearest photographs, as indices in their folders; the closest pair comes first."""

    images: list[int]
    photos: list[int]
    distances: list[float]  # root mean square of standardised pixels: 0 is a copy, 1.41 has nothing in common
    examined: int  # number of images whose nearest photograph was searched for


def closest(images: ImageFolder, photos: ImageFolder, count: int = 10) -> Closest:
    """Find the `count` images that come closest to a photograph, to show whether any is a copy.

    Up to `_EXAMINED` images, evenly spaced, are compared with every photograph by `pixel_features`. Both folders must
    deliver the same shape. Memory use does not grow with the number of photographs.
    """
    chosen = np.linspace(0, len(images) - 1, min(_EXAMINED, len(images))).round().astype(int)
    rows = np.concatenate(list(_feature_parts(images, chosen.tolist())))
    places, distances = nearest_in_parts(_feature_parts(photos, range(len(photos))), rows)
    order = distances.argsort(kind="stable")[:count]
    return Closest(chosen[order].tolist(), places[order].tolist(), distances[order].tolist(), len(chosen))


def _feature_parts(folder: ImageFolder, indices: Sequence[int]) -> Iterator[Features]:
    """Yield the `pixel_features` of these images, a part at a time."""
    size = max(1, _PART // math.prod(folder.shape))
    for start in range(0, len(indices), size):
        yield pixel_features(folder.read(indices[start : start + size], ("image",))["image"])


def distance(images: torch.Tensor, photos: torch.Tensor) -> dict[str, dict[str, float]]:
    """Returns how far images (N, C, H, W) are from photographs (M, C, H, W) of the same size.

    The result has one entry per feature (`FEATURES`): `told_apart`, the accuracy of the two-sample test, and the
    figures of `kid`.
    """
    half = (max(8, images.shape[-2] // 2), max(8, images.shape[-1] // 2))
    return {
        "pixels": _compare(*_standardised(pixel_features(photos, half), pixel_features(images, half))),
        "spectrum": _compare(*_standardised(spectrum_features(photos), spectrum_features(images))),
    }


def distances(synthetic: Path, refined: Path, photos: Path, out: Path) -> dict[str, Any]:
    """Returns how far the synthetic and the refined images are from the photographs; computed once, kept in `out`.

    The keys are the features `pixels` and `spectrum`. Each holds `synthetic` and `refined`, and each of these holds
    the figures of `kid` and, as `told_apart`, of the two-sample test.
    """
    like = ImageFolder(synthetic)
    prints = [ImageFolder(folder).fingerprint for folder in (synthetic, refined, photos)]
    if out.exists():
        known = read_json(out)
        if isinstance(known, dict) and known.get("fingerprints") == prints and known.keys() >= FEATURES.keys():
            return known
    real = read_images(photos, like=like)
    found = {"synthetic": distance(read_images(synthetic), real), "refined": distance(read_images(refined), real)}
    figures: dict[str, Any] = {"fingerprints": prints}
    figures |= {name: {key: found[key][name] for key in found} for name in FEATURES}
    write_json(out, figures)
    return figures


def measure_looks(before: Path, after: Path | None, photos: Path, judge: Path, out: Path) -> None:
    """Measure the distances of the images in `after` (None: in `before`) to the photographs, and the drift of gaze.

    Drift is the angle between the predictions of the gaze model in the folder `judge` for an image of `before` and
    for the same image in `after`. The file `out` gets the keys of `distance` and `judge_error_deg`, the model's mean
    error on `before`. With `after` it also gets `drift` with `mean_deg`, `median_deg`, `p95_deg` and `common_deg`
    (the length of the mean move of pitch and yaw over all images), and `change`, the mean absolute change of a pixel.
    """
    folder = ImageFolder(before)
    images = read_images(before)
    shown = images if after is None else read_images(after, like=folder)
    figures: dict[str, Any] = dict(distance(shown, read_images(photos, like=folder)))
    chosen = _spaced(len(folder), len(images))
    truth = folder.read(chosen, ("gaze",))["gaze"]
    first = read_gaze(judge, folder, chosen)
    figures["judge_error_deg"] = float(angular_error_deg(first, truth).mean())
    if after is not None:
        others = ImageFolder(after, size=folder.shape[1:], channels=folder.shape[0])
        last = read_gaze(judge, others, _spaced(len(others), len(shown)))
        moved = angular_error_deg(first, last).numpy()
        moved[(first == last).all(1).numpy()] = 0.0  # exactly zero, without rounding errors
        common = torch.rad2deg((last - first).double().mean(0).norm())
        figures["drift"] = {"mean_deg": float(moved.mean()), "median_deg": float(np.median(moved)),
                            "p95_deg": float(np.quantile(moved, 0.95)), "common_deg": float(common)}
        figures["change"] = float((shown - images).abs().mean())
    make_folder(out.parent)
    write_json(out, figures)


def read_gaze(run: Path, folder: ImageFolder, indices: Sequence[int]) -> torch.Tensor:
    """Returns the gaze (N, 2) rad that the trained model in the folder `run` predicts for these images."""
    system = load_system(run)
    device = hardware.choose_device("auto")
    precision = hardware.choose_precision("auto", device)
    system.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    keys = (*system.inputs, *(key for key in system.hints if key in folder.labels))
    read = []
    for start in range(0, len(indices), 256):
        batch = folder.read(indices[start : start + 256], keys)
        with torch.inference_mode(), hardware.autocast(device, precision):
            made = system.predict({key: value.to(device) for key, value in batch.items()})
        read.append(made["gaze"].float().cpu())
    return torch.cat(read)


def _standardised(photos: Rows, images: Rows) -> tuple[Rows, Rows]:
    """Divide both by the photographs' standard deviation, so that no single feature dominates the kernel."""
    mean, spread = photos.mean(0), np.maximum(photos.std(0), 1e-6)
    return (photos - mean) / spread, (images - mean) / spread


def _compare(photos: Rows, images: Rows) -> dict[str, float]:
    size = min(500, len(photos), len(images))
    found = two_sample_test(photos, images, folds=min(5, len(photos), len(images)))
    return {"told_apart": found["accuracy"], **kid(photos, images, num_subsets=10, subset_size=size)}
