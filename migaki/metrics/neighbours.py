"""Nearest neighbours: a baseline without training that is hard to beat."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from migaki.core.errors import UserError
from migaki.ops.gaze import to_angles, to_vector

Features = npt.NDArray[np.float32]
"""One row an image: (B, D)."""

Distances = npt.NDArray[np.float64]

EYE_SIZE = (18, 30)
"""Height and width to which an eye patch of 36 x 60 is reduced before its pixels are compared."""


def pixel_features(images: torch.Tensor, size: tuple[int, int] = EYE_SIZE) -> Features:
    """Images as small standardised vectors, in which Euclidean distance ignores brightness and contrast.

    Shape: images (B, C, H, W) in any range; size (height, width) px -> (B, C * height * width), each row of
    mean 0 and variance 1 (a uniform image becomes zeros). Reduction is by area, so that no pixel is skipped.
    """
    small = interpolate(images.detach().float().cpu(), size=size, mode="area").flatten(1)
    small = small - small.mean(dim=1, keepdim=True)
    spread = small.std(dim=1, keepdim=True, correction=0)
    # Rounding gives a uniform image a tiny spread, which must not be amplified to noise of variance one.
    standard = torch.where(spread > 1e-6, small / spread.clamp_min(1e-6), torch.zeros_like(small))
    rows: Features = standard.numpy()
    return rows


def nearest(real: Features | torch.Tensor, images: Features | torch.Tensor,
            num: int = 1) -> npt.NDArray[np.int64]:
    """Indices into `real` of the rows closest to each of `images`, nearest first (Euclidean).

    Shape: real (R, ...), images (B, ...) with equal trailing axes, which are flattened -> (B, num).
    Raises UserError where the sizes differ or `real` has fewer than `num` rows.
    """
    from sklearn.neighbors import NearestNeighbors  # half a second, which most commands never need

    known, asked = _rows(real), _rows(images)
    if known.shape[1] != asked.shape[1]:
        raise UserError(f"nearest neighbours: {asked.shape[1]} values an image against {known.shape[1]}: "
                        "bring both sets to one size")
    if not 1 <= num <= len(known):
        raise UserError(f"nearest neighbours: {num} asked for, but there are only {len(known)} images")
    search = NearestNeighbors(n_neighbors=num, algorithm="brute").fit(known)
    found: npt.NDArray[np.int64] = search.kneighbors(asked, return_distance=False)
    return found


def nearest_in_parts(parts: Iterable[Features], images: Features) -> tuple[npt.NDArray[np.int64], Distances]:
    """Return the index and distance of the row closest to each of `images`, in a set that is given in parts.

    Only one part needs to be in memory. The distance is the root mean square of the differences. Between rows of
    `pixel_features` it is 0 for a copy and 1.41 for uncorrelated images.

    Shape: parts (R, D) each, images (B, D) -> (B,) indices into the concatenated parts, (B,) distances.
    Raises UserError as `nearest` does, and if there are no parts.
    """
    places, distances = np.full(len(images), -1, np.int64), np.full(len(images), np.inf)
    start = 0
    for part in parts:
        found = nearest(part, images)[:, 0]
        # Computed from the rows themselves: the search's own distances round to more than 0 for equal rows.
        away = np.sqrt(np.square(part[found].astype(np.float64) - images).mean(axis=1))
        closer = away < distances
        places[closer], distances[closer] = found[closer] + start, away[closer]
        start += len(part)
    if not start:
        raise UserError("nearest neighbours: there are no images to search among")
    return places, distances


def knn_gaze_from_features(train: Features | torch.Tensor, train_gaze: torch.Tensor,
                           features: Features | torch.Tensor, k: int) -> torch.Tensor:
    """Gaze as the mean direction of the k training rows closest in feature space.

    Directions are averaged as unit vectors, since means of angles are wrong far from the axis.

    Shape: train (N, D), train_gaze (N, 2) radians, features (B, D) -> (B, 2) radians, pitch and yaw.
    Raises UserError as `nearest` does.
    """
    neighbours = torch.from_numpy(nearest(train, features, k))
    vectors = to_vector(train_gaze.detach().cpu().double())[neighbours]  # (B, k, 3)
    return to_angles(vectors.mean(dim=1)).float()


def knn_gaze(train_images: torch.Tensor, train_gaze: torch.Tensor, images: torch.Tensor, k: int,
             size: tuple[int, int] = EYE_SIZE) -> torch.Tensor:
    """Gaze of images by their k nearest training images in standardised pixels.

    Shape: train_images (N, C, H, W), train_gaze (N, 2) radians, images (B, C, H', W'), size (height, width)
    px -> (B, 2) radians, pitch and yaw.
    Source: the k-NN baseline of Zhang et al., CVPR 2015, and of Shrivastava et al., CVPR 2017, section 3.1.
    """
    train, asked = pixel_features(train_images, size), pixel_features(images, size)
    return knn_gaze_from_features(train, train_gaze, asked, k)


def _rows(values: Features | torch.Tensor) -> Features:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    return np.ascontiguousarray(array.reshape(len(array), -1), dtype=np.float32)
