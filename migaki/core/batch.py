"""What flows between the parts: batches of tensors, and the glossary of their keys."""

from __future__ import annotations

from dataclasses import dataclass

import torch

Batch = dict[str, torch.Tensor]
"""Named tensors that share their first axis B."""

Scalars = dict[str, torch.Tensor]
"""Detached zero-dimensional tensors to be logged, keyed `"network/term"`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One entry of the glossary.

    `shape` leaves out B. `columns`, where given, are the scalar metadata columns into which a vector is spread,
    in order; without them a vector is one list-valued column of the key's own name.
    """

    name: str
    shape: tuple[str, ...]
    unit: str
    columns: tuple[str, ...] = ()


KEYS: dict[str, Key] = {
    key.name: key
    for key in (
        Key(name="image", shape=("C", "H", "W"), unit="float32 in [0, 1]"),
        Key(name="real", shape=("C", "H", "W"), unit="float32 in [0, 1], an unlabelled photograph"),
        Key(name="refined", shape=("C", "H", "W"), unit="float32 in [0, 1], what a refiner made of `image`"),
        Key(name="target", shape=("C", "H", "W"), unit="float32 in [0, 1], what a restorer should make of `image`"),
        Key(name="mask", shape=("H", "W"), unit="class index, uint8 or (16 bits) int64; 255 may mean ignore"),
        Key(name="depth", shape=("H", "W"), unit="mm, 0 = no reading"),
        Key(name="label", shape=(), unit="int64 class index"),
        # Normalised camera frame: x right, y down, z away; g = (-cos p sin y, -sin p, -cos p cos y).
        Key(name="gaze", shape=("2",), unit="rad, pitch and yaw of the line of sight",
            columns=("gaze_pitch", "gaze_yaw")),
        Key(name="predicted_gaze", shape=("2",), unit="rad, pitch and yaw as a model has read them (`migaki apply`)",
            columns=("predicted_gaze_pitch", "predicted_gaze_yaw")),
        Key(name="optical_gaze", shape=("2",), unit="rad, pitch and yaw of the eyeball's optical axis",
            columns=("optical_pitch", "optical_yaw")),
        Key(name="gaze_vector", shape=("3",), unit="unit vector"),
        Key(name="head_pose", shape=("3",), unit="rad, pitch, yaw, roll",
            columns=("head_pitch", "head_yaw", "head_roll")),
        Key(name="side", shape=(), unit="0 left, 1 right eye"),
        Key(name="pupil_centre", shape=("2",), unit="px, x y", columns=("pupil_x", "pupil_y")),
        Key(name="iris_outline", shape=("16", "2"), unit="px, x y"),
        Key(name="iris_visible", shape=("16",), unit="0 or 1"),
        Key(name="eyelid_outline", shape=("16", "2"), unit="px, x y"),
        Key(name="eyelid_visible", shape=("16",), unit="0 or 1"),
        Key(name="eye_corners", shape=("2", "2"), unit="px, x y; inner, outer"),
        Key(name="pupil_radius_mm", shape=(), unit="mm"),
        Key(name="kappa", shape=("2",), unit="rad, visual against optical axis, pitch and yaw"),
        Key(name="identity", shape=(), unit="index of the skin"),
        Key(name="lighting", shape=("K",), unit="see the simulator"),
        Key(name="joints", shape=("J", "3"), unit="px, px, mm: u v depth"),
        Key(name="joint_visible", shape=("J",), unit="0 or 1"),
    )
}
"""The glossary: every key that more than one part of migaki uses."""
