"""What flows between the parts: batches of tensors, and what a key of a batch means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

Batch = dict[str, torch.Tensor]
"""Named tensors that share their first axis B."""

Scalars = dict[str, torch.Tensor]
"""Detached zero-dimensional tensors to be logged, keyed `"network/term"`."""

Kind = Literal["picture", "plane", "numbers", "points", "boxes", "camera", "directions", "signal"]
"""What a value is, which decides how it is stored and what happens to it when pixels move.

`picture`: (C, H, W) in [0, 1], a file; resampled with the image. `plane`: (H, W) in its own unit, a file; resampled at
the nearest pixel. `points`: x y in px along the last axis (the centre of the first pixel is (0, 0)); moved. `boxes`: x
y width height in px along the last axis (the image's corner is (0, 0)); moved. `camera`: fx fy cx cy in px; scaled and
moved. `directions`: angles or vectors in the camera's frame; they follow a change of size, but not a turned or
mirrored picture. `signal`: a series of numbers, a file. `numbers`: everything else; carried as they are.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One entry of the glossary.

    `shape` leaves out B; a letter is any length. `columns`, where given, are the scalar metadata columns into which a
    vector is spread, in order; without them a vector is one list-valued column of the key's own name.
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
        Key(name="target", shape=("C", "H", "W"), unit="float32 in [0, 1], what a restorer should make of `image`",
            kind="picture"),
        Key(name="noise", shape=("N", "H", "W"), unit="standard normal, drawn from the seed of the row"),
        Key(name="mask", shape=("H", "W"), unit="class index, uint8 or (16 bits) int64; 255 may mean ignore",
            kind="plane"),
        Key(name="depth", shape=("H", "W"), unit="mm, 0 = no reading", kind="plane"),
        Key(name="label", shape=(), unit="int64 class index"),
        Key(name="logits", shape=("K",), unit="scores of the classes before the softmax"),
        Key(name="features", shape=("K",), unit="what an encoder makes of `image`"),
        Key(name="boxes", shape=("M", "4"), unit="px, x y width height", kind="boxes", pad=0),
        Key(name="classes", shape=("M",), unit="int64 class index of each box", pad=-1),
        Key(name="scores", shape=("M",), unit="0 to 1, how sure a model is of each box", pad=-1),
        Key(name="crowd", shape=("M",), unit="0, or 1 for a box round many objects, which is not judged", pad=-1),
        Key(name="object_keypoints", shape=("M", "K", "3"), unit="px, x y; 0 not labelled, 1 hidden, 2 visible",
            kind="points", pad=-1),
        Key(name="labels", shape=("M",), unit="int64 class indices that an image has, in any number", pad=-1),
        Key(name="keypoints", shape=("K", "2"), unit="px, x y", kind="points"),
        Key(name="keypoint_visible", shape=("K",), unit="0 not labelled, 1 hidden, 2 visible"),
    )
}
"""The keys that belong to no method. Methods declare theirs beside the class; `core.glossary` joins all."""
