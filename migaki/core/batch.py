"""The data passed between modules: batches of tensors, and the meaning of each key of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

Batch = dict[str, torch.Tensor]
"""Named tensors that share their first axis B."""

Scalars = dict[str, torch.Tensor]
"""Detached zero-dimensional tensors to be logged, keyed `"network/term"`."""

Kind = Literal["picture", "plane", "vectors", "numbers", "points", "boxes", "camera", "lens", "directions", "signal"]
"""The kind of a value. It decides how the value is stored and what happens to it when pixels move.

`picture`: (C, H, W) in [0, 1], a file; resampled with the image. `plane`: (H, W) in its own unit, a file; resampled at
the nearest pixel. `vectors`: (C, H, W) in their own unit, a file; resampled like planes, and x y in px are turned and
scaled as the pixels are. `points`: x y in px along the last axis (the centre of the first pixel is (0, 0)); moved.
`boxes`: x y width height in px along the last axis (the image's corner is (0, 0)); moved. `camera`: fx fy cx cy in px;
scaled and moved (the centre of the first pixel is (0, 0)). `lens`: the same, but the image's corner is (0, 0).
`directions`: angles or vectors in the camera's frame; they follow a change of size, but not a turned or mirrored
picture. `signal`: a series of numbers, a file. `numbers`: everything else; copied unchanged.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One entry of the glossary.

    `shape` leaves out B; a letter stands for any length. `columns`, if given, are the scalar metadata columns that
    store the elements of a vector, in order. Without them a vector is one list-valued column with the name of the key.
    """

    name: str
    shape: tuple[str, ...]
    unit: str
    columns: tuple[str, ...] = ()
    kind: Kind = "numbers"
    pad: float | None = None


KEYS: dict[str, Key] = {
    key.name: key
    for key in (
        Key(name="image", shape=("C", "H", "W"), unit="float32 in [0, 1]", kind="picture"),
        Key(name="real", shape=("C", "H", "W"), unit="float32 in [0, 1], an unlabelled photograph", kind="picture"),
        Key(name="target", shape=("C", "H", "W"), unit="float32 in [0, 1], the ideal restoration of `image`",
            kind="picture"),
        Key(name="noise", shape=("N", "H", "W"), unit="standard normal, drawn from the seed of the row"),
        Key(name="mask", shape=("H", "W"), unit="class index, uint8 or (16 bits) int64; 255 may mean ignore",
            kind="plane"),
        Key(name="depth", shape=("H", "W"), kind="plane",
            unit="mm, or what `units` in dataset.json says, such as scene units; 0 = no reading"),
        Key(name="camera_to_world", shape=("3", "4"), kind="directions",
            unit="rotation and centre in scene units; the camera's axes are x right, y down, z forward"),
        Key(name="intrinsics", shape=("4",), unit="px, fx fy cx cy from the image's corner", kind="lens"),
        Key(name="normals", shape=("3", "H", "W"), unit="unit vectors in the world, 0 = nothing there",
            kind="vectors"),
        Key(name="flow", shape=("2", "H", "W"), unit="px, x y to where the pixel's surface is in the next frame",
            kind="vectors"),
        Key(name="albedo", shape=("3", "H", "W"), unit="float32 in [0, 1], sRGB, the surface's own colour",
            kind="picture"),
        Key(name="roughness", shape=("H", "W"), unit="0 to 1, alpha of GGX is its square; 0 = nothing there",
            kind="plane"),
        Key(name="label", shape=(), unit="int64 class index"),
        Key(name="logits", shape=("K",), unit="scores of the classes before the softmax"),
        Key(name="features", shape=("K",), unit="the output of an encoder for `image`"),
        Key(name="boxes", shape=("M", "4"), unit="px, x y width height", kind="boxes", pad=0),
        Key(name="classes", shape=("M",), unit="int64 class index of each box", pad=-1),
        Key(name="scores", shape=("M",), unit="0 to 1, a model's confidence in each box", pad=-1),
        Key(name="crowd", shape=("M",), unit="0, or 1 for a box around many objects, which is not evaluated", pad=-1),
        Key(name="object_keypoints", shape=("M", "K", "3"), unit="px, x y; 0 not labelled, 1 hidden, 2 visible",
            kind="points", pad=-1),
        Key(name="labels", shape=("M",), unit="int64 indices of all classes of an image", pad=-1),
        Key(name="keypoints", shape=("K", "2"), unit="px, x y", kind="points"),
        Key(name="keypoint_visible", shape=("K",), unit="0 not labelled, 1 hidden, 2 visible"),
    )
}
"""The keys that belong to no method. Methods declare theirs beside the class; `core.glossary` joins all of them."""
