"""Do two folders of images look alike? Distances on stated features, before and after refining."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from migaki.core.files import read_json, write_json
from migaki.data.folder import ImageFolder
from migaki.metrics.distances import Rows, kid, two_sample_test
from migaki.metrics.neighbours import pixel_features
from migaki.metrics.spectrum import spectrum_features
from migaki.report.tables import Table

_AT_MOST = 1000  # images of each set: enough for the second decimal, and quick


def read_images(folder: Path, count: int = _AT_MOST, like: ImageFolder | None = None) -> torch.Tensor:
    """Up to `count` images (N, C, H, W) of a folder, evenly spaced, in its own size or that of `like`."""
    size, channels = (None, None) if like is None else (like.shape[1:], like.shape[0])
    images = ImageFolder(folder, size=size, channels=channels)
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
    return images.read(chosen.tolist(), ("image",))["image"]


def distances(synthetic: Path, refined: Path, photos: Path, out: Path) -> dict[str, Any]:
    """How far the synthetic and the refined images are from the photographs; kept in `out`, computed once.

    Keys: `pixels` and `spectrum` (the features), in each `synthetic` and `refined`, in each the figures of `kid` and
    of the two-sample test as `told_apart`.
    """
    like = ImageFolder(synthetic)
    prints = [ImageFolder(folder).fingerprint for folder in (synthetic, refined, photos)]
    if out.exists():
        known: dict[str, Any] = read_json(out)
        if known.get("fingerprints") == prints:
            return known
    sets = {"synthetic": read_images(synthetic), "refined": read_images(refined),
            "photos": read_images(photos, like=like)}
    half = tuple(max(8, side // 2) for side in like.shape[1:])
    figures: dict[str, Any] = {"fingerprints": prints}
    for name, features in (("pixels", lambda images: pixel_features(images, (half[0], half[1]))),
                           ("spectrum", spectrum_features)):
        rows = {key: features(images) for key, images in sets.items()}
        figures[name] = {key: _compare(*_standardised(rows["photos"], rows[key])) for key in ("synthetic", "refined")}
    write_json(out, figures)
    return figures


def distances_table(figures: dict[str, Any], photos: str) -> Table:
    """Both distances of both sets as a table; `photos` is what the real images are called."""
    names = {"pixels": "pixels, brightness and contrast taken out", "spectrum": "spectrum: coarse against fine"}
    rows = [[names[name], *(figures[name][key][figure] for figure in ("told_apart", "kid")
                            for key in ("synthetic", "refined"))] for name in names]
    return Table(["features", "told apart: synthetic", "refined", "kernel distance: synthetic", "refined "], rows,
                 f"Against {photos}. Told apart: the share that a logistic classifier judges rightly, 0.5 is chance "
                 "(Lopez-Paz and Oquab 2017). Kernel distance: unbiased MMD² with the cubic kernel of KID "
                 "(Binkowski et al. 2018) on these features, not on Inception's; 0 is alike.")


def _standardised(photos: Rows, images: Rows) -> tuple[Rows, Rows]:
    """Both in units of the photographs' spread, so that no single feature rules the kernel."""
    mean, spread = photos.mean(0), np.maximum(photos.std(0), 1e-6)
    return (photos - mean) / spread, (images - mean) / spread


def _compare(photos: Rows, images: Rows) -> dict[str, float]:
    size = min(500, len(photos), len(images))
    told = two_sample_test(photos, images, folds=min(5, len(photos), len(images)))
    return {"told_apart": told["accuracy"], **kid(photos, images, num_subsets=10, subset_size=size)}
