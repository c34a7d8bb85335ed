"""Captures judged: whether cameras look where they should, and pictures that are blurred or badly exposed.

Everything is said in lines for the user: what is odd, which pictures, what to do. Poses are `camera_to_world` (3, 4) in
the convention of `ops.camera`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from migaki.core.files import show
from migaki.ops.camera import focus
from migaki.ops.camera_poses import AXES, Axes, from_axes
from migaki.ops.sharpness import SMALLEST, edge_rise

Array = npt.NDArray[Any]

_AWAY_DEG = 90.0  # between a camera's axis and what all look at, from which it looks away
_AT_DEG = 45.0  # the same, up to which it looks there
_SPREAD_DEG = 12.0  # mean angle between axes and their mean from which they tell what they look at
_SAME_PLACE = 1e-4  # of the capture's size: closer cameras stand in one place
_SAME_TURN = 1e-4  # difference of rotations (Frobenius norm) up to which they are one
_FAR_AWAY = 8.0  # times the median distance from the middle: such a camera is an outlier
_FOCAL = (0.2, 30.0)  # focal lengths in longer sides of a picture, from a very wide lens to a very long one
_WINDOW = 384  # px, side of the middle of a picture in which sharpness is measured
_SOFT = 0.75  # of the median sharpness of a capture: softer pictures are blurred
_FLAT_TONE = 0.06, 0.94  # mean brightness below and above which a picture is dark or bright
_CLIPPED = 0.35  # share of black or white pixels from which a picture is badly exposed, beyond the capture's median
_MOST_NAMES: Final = 3


@dataclass(frozen=True, slots=True)
class Capture:
    """The cameras of N pictures."""

    names: Sequence[str]
    poses: Array  # (N, 3, 4)
    intrinsics: Array  # (N, 4) px
    sizes: Array  # (N, 2) H, W px


@dataclass(frozen=True, slots=True)
class Remark:
    """What is odd about a capture, or about some of its pictures, and what to do."""

    text: str
    names: tuple[str, ...] = ()

    def line(self) -> str:
        """One line for the user; of many pictures the first three are named."""
        if not self.names:
            return self.text
        shown = ", ".join(show(name) for name in self.names[:_MOST_NAMES])
        more = ", ..." if len(self.names) > _MOST_NAMES else ""
        return f"{len(self.names)} picture{'s are' if len(self.names) > 1 else ' is'} {self.text} ({shown}{more})"


@dataclass(frozen=True, slots=True)
class Look:
    """How sharp and how bright a picture is."""

    name: str
    sharpness: float  # `ops.sharpness.edge_rise`, 0.2 to 1
    mean: float  # of brightness, 0 to 1
    black: float  # share of pixels below 2 of 255
    white: float  # share above 253

    def text(self) -> str:
        """One line, which `read_look` reads."""
        return "\t".join([repr(self.sharpness), repr(self.mean), repr(self.black), repr(self.white), self.name])


def read_look(text: str) -> Look:
    """The inverse of `Look.text`."""
    *numbers, name = text.split("\t", 4)
    return Look(name, *map(float, numbers))


def look_of(name: str, image: Array) -> Look:
    """Returns how a picture (C, H, W) uint8 looks; sharpness is that of its middle."""
    grey = image.mean(0, dtype=np.float32) / 255
    height, width = grey.shape
    top, left = max(0, (height - _WINDOW) // 2), max(0, (width - _WINDOW) // 2)
    middle = np.ascontiguousarray(grey[top : top + _WINDOW, left : left + _WINDOW])
    sharpness = float(edge_rise(torch.from_numpy(middle)[None, None])) if min(height, width) >= SMALLEST else 1.0
    return Look(name, sharpness, float(grey.mean()), float((grey < 2.5 / 255).mean()),
                float((grey > 252.5 / 255).mean()))


def remarks_on_looks(texts: Iterable[str]) -> list[Remark]:
    """Returns what is odd about pictures of one capture (`Look.text` of each), compared with the others."""
    looks = sorted(map(read_look, texts), key=lambda look: look.name)
    if not looks:
        return []
    sharp, black, white = (float(np.median([getattr(look, key) for look in looks]))
                           for key in ("sharpness", "black", "white"))
    soft = [look.name for look in looks if look.sharpness < _SOFT * sharp]
    dark = [look.name for look in looks if look.mean < _FLAT_TONE[0] or look.black > black + _CLIPPED]
    bright = [look.name for look in looks if look.mean > _FLAT_TONE[1] or look.white > white + _CLIPPED]
    found = [Remark("blurred beside the others: leave them out, or take them again", tuple(soft)),
             Remark("nearly black: leave them out, or expose them longer", tuple(dark)),
             Remark("nearly white: leave them out, or expose them more briefly", tuple(bright))]
    return [remark for remark in found if remark.names]


def remarks_on_poses(capture: Capture) -> list[Remark]:
    """Returns what is odd about the cameras of a capture; nothing where all is well."""
    if len(capture.names) == 1:
        return [Remark("has one picture: depth needs at least two, taken from two places")]
    poses = capture.poses
    size = float(np.linalg.norm(np.ptp(poses[:, :, 3], axis=0)))
    reach = max(float(np.abs(poses[:, :, 3]).max()), 1e-9)
    found = _remarks_on_lenses(capture)
    wrong = convention(poses)
    if wrong:
        return [*found, Remark(wrong)]
    if size < _SAME_PLACE * reach:
        return [*found, Remark("all cameras stand in one place: pictures that are only turned hold no depth: move the "
                               "camera")]
    twins = _twins(capture, size)
    if twins:
        found.append(Remark("taken with the very pose of another picture: a pose is wrong, or the pictures are copies: "
                            "leave them out", tuple(twins)))
    middle = np.median(poses[:, :, 3], axis=0)
    away = np.linalg.norm(poses[:, :, 3] - middle, axis=1)
    limit = _FAR_AWAY * max(float(np.median(away)), 1e-12)
    strays = [capture.names[k] for k in np.flatnonzero(away > limit).tolist()]
    if strays:
        found.append(Remark("far from all other cameras, as poses are that were estimated wrongly: leave them out",
                            tuple(strays)))
    angles = aim_angles(poses)
    if angles is not None and np.median(angles) < _AT_DEG:
        lost = [capture.names[k] for k in np.flatnonzero(angles > _AWAY_DEG).tolist()]
        if lost:
            found.append(Remark("looking away from what the others look at: check their poses, or leave them out",
                                tuple(lost)))
    return found


def aim_angles(poses: Array) -> Array | None:
    """Returns the angle (N,) in degrees between each optical axis and what all cameras look at (`ops.camera.focus`).

    None where the axes are so parallel that they do not tell what that is.
    """
    axes = np.asarray(poses, np.float64)[:, :, 2]
    mean = axes.mean(0)
    spread = np.degrees(np.arccos(np.clip(axes @ mean / max(float(np.linalg.norm(mean)), 1e-12), -1, 1))).mean()
    if len(poses) < 3 or spread < _SPREAD_DEG:
        return None
    aim = focus(torch.from_numpy(np.asarray(poses, np.float32))).double().numpy() - poses[:, :, 3]
    length = np.linalg.norm(aim, axis=1).clip(1e-12)
    angles: Array = np.degrees(np.arccos(np.clip((aim * axes).sum(1) / length, -1, 1)))
    return angles


def convention(poses: Array) -> str:
    """Names the wrong convention of a capture whose cameras do not look at anything together; empty if they do.

    Poses alone tell this for cameras round an object, whose axes meet before them. In a wrong convention they meet
    behind them, or nowhere, and in the right one before them again.
    """
    angles = aim_angles(poses)
    if angles is None or np.median(angles) <= _AWAY_DEG:
        return _inverted(poses) if angles is None or np.median(angles) > _AT_DEG else ""
    if inverted := _inverted(poses):
        return inverted
    best: tuple[float, Axes] = (-1.0, "opengl")
    for axes in AXES:
        if axes == "opencv":
            continue
        turned = from_axes(poses, axes)
        seen = aim_angles(turned)
        if seen is None or np.median(seen) > _AT_DEG:
            continue
        upright = float(np.linalg.norm(turned[:, :, 1].mean(0)))  # pictures of one capture agree on what is down
        if upright > best[0] + 0.1:
            best = upright, axes  # type: ignore[assignment]
    if best[0] < 0:
        return ""
    swap = "flip axes y and z" if best[1] == "opengl" else "swap axes x and y and flip z"
    return (f"the cameras look away from each other's subject: {swap} with --axes of `migaki import transforms`; if "
            "they look out from inside, as in a room, all is well")


def _inverted(poses: Array) -> str:
    """What to say of poses that look like world-to-camera: their inverses surround something, they do not."""
    turned = np.asarray(poses, np.float64)[:, :, :3].transpose(0, 2, 1)
    centres = -(turned @ np.asarray(poses, np.float64)[:, :, 3:])[:, :, 0]
    spread, other = (float(np.linalg.norm(one - one.mean(0), axis=1).mean()) for one in (poses[:, :, 3], centres))
    inverse = np.concatenate([turned, centres[:, :, None]], 2)
    for axes in AXES:
        seen = aim_angles(from_axes(inverse, axes))
        if seen is not None and np.median(seen) < _AT_DEG and spread < 0.35 * other:
            return ("the cameras stand in one place and look everywhere, while the inverses of their poses surround "
                    "something: the file holds world-to-camera matrices: invert them")
    return ""


def _remarks_on_lenses(capture: Capture) -> list[Remark]:
    heights, widths = capture.sizes[:, 0], capture.sizes[:, 1]
    focal, centre = capture.intrinsics[:, :2], capture.intrinsics[:, 2:]
    found = list[Remark]()
    outside = ((centre < 0) | (centre > np.stack([widths, heights], 1))).any(1)
    share = focal.max(1) / np.maximum(heights, widths)
    odd = [capture.names[k] for k in np.flatnonzero(outside | (share < _FOCAL[0]) | (share > _FOCAL[1])).tolist()]
    if odd:
        found.append(Remark("of another resolution than their focal lengths or centres: scale these with the pictures",
                            tuple(odd)))
    if len(sizes := sorted({(int(width), int(height)) for height, width in capture.sizes})) > 1:
        found.append(Remark(f"pictures are of {len(sizes)} sizes, such as {sizes[0][0]} x {sizes[0][1]} and "
                            f"{sizes[-1][0]} x {sizes[-1][1]} px: bring them to one with `migaki apply resize`"))
    return found


def _twins(capture: Capture, size: float) -> list[str]:
    """The names of pictures whose pose equals that of an earlier picture."""
    found, kept = [], list[int]()
    for k, one in enumerate(capture.poses):
        same = [other for other in kept if np.linalg.norm(one[:, 3] - capture.poses[other][:, 3]) < _SAME_PLACE * size
                and np.linalg.norm(one[:, :3] - capture.poses[other][:, :3]) < _SAME_TURN]
        if same:
            found.append(capture.names[k])
        else:
            kept.append(k)
    return found


def guess_scene(capture: Capture) -> dict[str, Any]:
    """Returns `bounds` ((2, 3) as lists), `near` and `far` of what cameras see, where nobody has said it.

    Cameras that look at one thing: a cube round it, of the size that the narrowest picture holds. Others: a cube round
    the centres that reaches as far as these are apart.
    """
    poses = np.asarray(capture.poses, np.float64)
    centres, angles = poses[:, :, 3], aim_angles(poses)
    middle = focus(torch.from_numpy(poses.astype(np.float32))).double().numpy()
    if angles is not None and np.median(angles) < _AT_DEG:
        away = np.linalg.norm(centres - middle, axis=1)
        half = (capture.sizes[:, ::-1] / 2 / capture.intrinsics[:, :2]).max(1)
        radius = float(np.median(away * half))
        near = max(0.05 * float(away.min()), float(away.min()) - math.sqrt(3) * radius)
        far = float(away.max()) + math.sqrt(3) * radius
    else:
        spread = float(np.linalg.norm(np.ptp(centres, axis=0)))
        radius = 2 * spread if spread > 0 else 1.0
        middle = centres.mean(0) + radius / 2 * poses[:, :, 2].mean(0)
        near, far = radius / 100, 3 * radius
    return {"bounds": [[round(float(value), 6) for value in middle + side * radius] for side in (-1, 1)],
            "near": round(near, 6), "far": round(far, 6)}
