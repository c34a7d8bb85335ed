"""Boxes: overlap, the maps that a detector learns, and boxes read off such maps.

A box is x y width height in px; the outer corner of the first pixel is (0, 0). A map has one cell for s x s px: cell k
of an axis covers the px from s k to s (k + 1). A keypoint is x y in px as everywhere: the centre of the first pixel is
(0, 0), so half a pixel lies between the two.

The maps are those of Zhou, Wang, Kraehenbuehl, "Objects as Points", 2019, with the Gaussians of Liu et al.,
"Training-Time-Friendly Network for Real-Time Object Detection", AAAI 2020, whose width follows the box and around whose
centre, too, size and offset are learned.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

GEOMETRY = 4
"""Channels of geometry beside the keypoints: x y of the centre, from the middle of the cell, in cells; the logarithms
of width and height in cells."""

_SPREAD = 0.54 / 6  # standard deviation of a Gaussian as a share of the box's side (TTFNet)
_NARROWEST = 0.4  # cells: a Gaussian of less would be learned in its centre alone
_NEAR = 0.1  # cells whose Gaussian is below learn no geometry
_LOG_SIDES = (-4.0, 8.0)  # limits of the logarithm of a side in cells, so that no exponential overflows


class Labelled(NamedTuple):
    """The labelled objects of a batch, filled up to one number of them."""

    boxes: Tensor  # (B, M, 4) px
    classes: Tensor  # (B, M), -1 where there is no object
    crowd: Tensor  # (B, M), 1 for a box round many objects
    keypoints: Tensor  # (B, M, J, 3): x y in px, and a number above 0 where the point is labelled


class ObjectMaps(NamedTuple):
    """What the maps of a batch should be."""

    heat: Tensor  # (B, K, h, w): 1 in the cell of each object's centre, falling off around it
    geometry: Tensor  # (B, 4 + 2 J, h, w): see `GEOMETRY`; then x y of each keypoint from the centre, in box sides
    weight: Tensor  # (B, 1, h, w): how much a cell's centre and size count, 0 far from objects
    keypoint_weight: Tensor  # (B, 2 J, h, w): the same for each keypoint, 0 where it is not labelled
    judged: Tensor  # (B, 1, h, w): 0 inside crowds, whose objects nobody has listed, else 1


class Objects(NamedTuple):
    """Objects read off maps, the surest first."""

    boxes: Tensor  # (B, N, 4) px
    classes: Tensor  # (B, N) int64
    scores: Tensor  # (B, N) 0 to 1
    keypoints: Tensor  # (B, N, J, 2) px


@full_precision
def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union (..., N, M) of boxes (..., N, 4) and (..., M, 4); 0 where both are empty."""
    common = intersections(first, second)
    areas = first[..., 2:].prod(-1)[..., :, None] + second[..., 2:].prod(-1)[..., None, :]
    return common / (areas - common).clamp_min(1e-12)


@full_precision
def intersections(first: Tensor, second: Tensor) -> Tensor:
    """The area (..., N, M) in px that boxes (..., N, 4) and (..., M, 4) have in common."""
    low = torch.maximum(first[..., :, None, :2], second[..., None, :, :2])
    high = torch.minimum((first[..., :2] + first[..., 2:])[..., :, None, :],
                         (second[..., :2] + second[..., 2:])[..., None, :, :])
    return (high - low).clamp_min(0).prod(-1)


@full_precision
def encode(objects: Labelled, num_classes: int, size: tuple[int, int], stride: int) -> ObjectMaps:
    """The maps of `size` (h, w) for the objects of a batch.

    Where objects lie close together, a cell's geometry is that of the object with the highest Gaussian there.
    """
    boxes, classes, crowd, keypoints = objects
    boxes, keypoints = boxes.float(), keypoints.float()
    if not boxes.shape[1]:  # one object that is none: the rest needs no other case
        boxes, keypoints = F.pad(boxes, (0, 0, 0, 1)), F.pad(keypoints, (0, 0, 0, 0, 0, 1))
        classes, crowd = F.pad(classes, (0, 1), value=-1), F.pad(crowd, (0, 1))
    there = (classes >= 0) & (crowd != 1) & (boxes[..., 2:] > 0).all(-1)
    sides = boxes[..., 2:].float().clamp_min(1e-3) / stride  # cells
    centre = (boxes[..., :2] + boxes[..., 2:] / 2).float() / stride
    column, row = (torch.arange(length, device=boxes.device, dtype=torch.float32) for length in reversed(size))
    limit = torch.stack([column[-1], row[-1]])
    cell = torch.minimum(centre.floor().clamp_min(0), limit)  # of the centre
    narrow = (sides * _SPREAD).clamp_min(_NARROWEST)
    across = torch.exp(-0.5 * ((column - cell[..., :1]) / narrow[..., :1]).square())
    down = torch.exp(-0.5 * ((row - cell[..., 1:]) / narrow[..., 1:]).square())
    gaussians = down[..., :, None] * across[..., None, :] * there[..., None, None]  # (B, M, h, w)
    heat = torch.stack([(gaussians * (classes == k)[..., None, None]).amax(1) for k in range(num_classes)], 1)
    highest, owner = gaussians.max(1)  # (B, h, w)
    wanted, labelled = _object_geometry(centre, sides, boxes, keypoints)
    found = _at(wanted, owner)
    found[:, 0] -= column + 0.5
    found[:, 1] -= (row + 0.5)[:, None]
    weight = (highest * (highest > _NEAR))[:, None]
    return ObjectMaps(heat, found, weight, weight * _at(labelled, owner), _outside(boxes, crowd, size, stride))


def _object_geometry(centre: Tensor, sides: Tensor, boxes: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """Each object's geometry (B, M, 4 + 2 J), its centre counted from the picture's corner; which numbers of its
    keypoints are labelled (B, M, 2 J)."""
    middle = (boxes[..., :2] + boxes[..., 2:] / 2).float()
    apart = (keypoints[..., :2].float() + 0.5 - middle[..., None, :]) / boxes[..., None, 2:].float().clamp_min(1e-3)
    labelled = (keypoints[..., 2:] > 0).expand_as(apart).float()
    wanted = torch.cat([centre, sides.clamp_min(1e-3).log(), (apart * labelled).flatten(2)], 2)
    return wanted, labelled.flatten(2)


def _at(values: Tensor, owner: Tensor) -> Tensor:
    """Values (B, M, C) of the objects that own cells (B, h, w), as maps (B, C, h, w)."""
    index = owner.flatten(1)[..., None].expand(-1, -1, values.shape[2])
    return values.gather(1, index).transpose(1, 2).unflatten(2, owner.shape[1:])


def _outside(boxes: Tensor, crowd: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """1 in cells (B, 1, h, w) whose middle lies in no crowd, else 0."""
    column, row = ((torch.arange(length, device=boxes.device) + 0.5) * stride for length in reversed(size))
    low, high = boxes[..., :2, None], (boxes[..., :2] + boxes[..., 2:])[..., None]
    wide = (column >= low[..., 0, :]) & (column < high[..., 0, :])
    tall = (row >= low[..., 1, :]) & (row < high[..., 1, :])
    inside = tall[..., :, None] & wide[..., None, :] & (crowd == 1)[..., None, None]
    return (~inside.any(1, keepdim=True)).float()


@full_precision
def decode(heat: Tensor, geometry: Tensor, stride: int, most: int, least: float = 0.0) -> Objects:
    """The `most` objects of each picture: cells whose heat (B, K, h, w), 0 to 1, is highest among their 3 x 3.

    `geometry` is (B, 4 + 2 J, h, w). What is no such peak, or not above `least`, has score -1.
    """
    batch, classes, height, width = heat.shape
    peak = torch.where(heat == F.max_pool2d(heat, 3, 1, 1), heat, heat.new_zeros(()))
    scores, place = peak.flatten(1).topk(min(most, classes * height * width), 1)
    cell = place % (height * width)
    found = geometry.flatten(2).gather(2, cell[:, None].expand(-1, geometry.shape[1], -1)).transpose(1, 2)
    corner = torch.stack([cell % width, cell // width], 2).float() + 0.5
    middle = (corner + found[..., :2]) * stride
    sides = found[..., 2:4].clamp(*_LOG_SIDES).exp() * stride
    apart = found[..., 4:].unflatten(2, (-1, 2)) if found.shape[2] > GEOMETRY else found.new_zeros(
        batch, found.shape[1], 0, 2)
    points = middle[:, :, None] + apart * sides[:, :, None] - 0.5
    is_one = (scores > least) & (scores > 0)
    return Objects(torch.cat([middle - sides / 2, sides], 2), place // (height * width),
                   torch.where(is_one, scores, -torch.ones_like(scores)), points)


@full_precision
def to_object_maps(heat_logits: Tensor, geometry: Tensor) -> Tensor:
    """What a detector says of pictures as one smooth map (B, K + 4 + 2 J, h, w).

    The probability that an object of each class has its centre in a cell; then the geometry, times the highest of
    these probabilities: it counts where there is an object.
    """
    heat = heat_logits.sigmoid()
    return torch.cat([heat, geometry * heat.amax(1, keepdim=True)], 1)


@full_precision
def from_object_maps(maps: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """The inverse: heat (B, K, h, w) in 0 to 1, and the geometry."""
    heat = maps[:, :num_classes]
    return heat, maps[:, num_classes:] / heat.amax(1, keepdim=True).clamp_min(1e-12)
