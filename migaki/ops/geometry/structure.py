"""Structure from motion: the poses of pictures of one scene, one picture after the other.

Schoenberger and Frahm, "Structure-from-motion revisited", CVPR 2016: a good first pair, then the picture that sees
most points, triangulation, bundle adjustment, and no observation that errs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from migaki.ops.geometry import features as shared
from migaki.ops.geometry.bundle import Bundle, adjust
from migaki.ops.geometry.tracks import Tracks, join_tracks
from migaki.ops.geometry.triangulation import angles, triangulate

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class PoseSettings:
    """How poses are found."""

    focal: float = 0.0  # px; 0 = unknown, sought from 1.2 times the longer side
    refine: bool = True  # adjust the focal length and the distortion, too
    pairs: int = 20  # partners of a picture among many
    error: float = 1.5  # px by which a match may miss its epipolar line
    reach: float = 4.0  # px by which a point may miss where it is seen
    angle: float = 1.5  # degrees between two rays to a point, at least
    least: int = 15  # points that a picture must share with the others


@dataclass(slots=True)
class Structure:
    """What was found: poses by number of the picture, points, lens, and why other pictures were left out."""

    poses: dict[int, tuple[Array, Array]] = field(default_factory=dict)  # world to camera: R (3, 3), t (3,)
    points: Array = field(default_factory=lambda: np.zeros((0, 3)))  # (P, 3)
    seen_by: Array = field(default_factory=lambda: np.zeros(0, np.int64))  # (P,) pictures that see the point
    lens: Array = field(default_factory=lambda: np.zeros(2))  # focal length in px, k1
    centre: Array = field(default_factory=lambda: np.zeros(2))  # px
    error: float = 0.0  # px, root mean square of the reprojection
    left_out: dict[int, str] = field(default_factory=dict)


def find_structure(pictures: Sequence[Array], settings: PoseSettings, progress: Progress,
                   intrinsics: Array | None = None) -> Structure:
    """Returns poses and points of pictures (H, W, C) of one size, float32 in [0, 1]; never raises for bad pictures.

    `intrinsics` (N, 4), if known, are fx fy cx cy of each picture in px, without distortion; then no lens is adjusted.
    Without any pose, `left_out` says why for every picture. `progress` is called with (done, total).
    """
    height, width = pictures[0].shape[:2]
    centre = np.array([width / 2, height / 2])
    focal = settings.focal or 1.2 * max(width, height)
    if intrinsics is not None:
        focal, settings = float(np.median(intrinsics[:, 0])), replace(settings, refine=False)
    found = []
    for number, picture in enumerate(pictures):
        one = shared.find_features(picture)
        if intrinsics is not None:  # as a camera of the common focal length would have seen it
            one = one._replace(places=(one.places - intrinsics[number, 2:]) * (focal / intrinsics[number, :2]) + centre)
        found.append(one)
        progress(number + 1, 3 * len(pictures))
    pairs = shared.candidate_pairs(found, settings.pairs)
    joined: dict[tuple[int, int], Array] = {}
    for number, (a, b) in enumerate(pairs):
        both = shared.matches(found[a], found[b])
        kept = both[shared.verified(found[a].places[both[:, 0]], found[b].places[both[:, 1]], settings.error)]
        if len(kept) >= settings.least:
            joined[a, b] = kept
        progress(len(pictures) * (len(pairs) + number + 1) // len(pairs), 3 * len(pictures))
    tracks = join_tracks([len(one.places) for one in found], joined)
    growing = _Growing([one.places for one in found], joined, tracks, focal, centre, settings)
    structure = growing.grow(lambda done: progress(2 * len(pictures) + done, 3 * len(pictures)))
    _explain(structure, found, joined, growing)
    return structure


def _explain(structure: Structure, found: Sequence[shared.Features], joined: dict[tuple[int, int], Array],
             growing: _Growing) -> None:
    """Say of each picture without a pose why it has none."""
    for number, one in enumerate(found):
        if number in structure.poses:
            continue
        best = max((len(kept) for pair, kept in joined.items() if number in pair), default=0)
        if len(one.places) < growing.settings.least:
            reason = f"has {len(one.places)} distinct points: it is flat, dark or blurred"
        elif not best:
            reason = "no other picture shows the same place: take more pictures in between"
        elif not structure.poses:
            reason = f"shares {best} points with another picture, seen from one place: move the camera sideways"
        elif number in growing.refused:
            reason = (f"sees {growing.refused[number][1]} of the points, and only {growing.refused[number][0]} of them "
                      "agree on a pose: take more pictures in between")
        else:
            reason = f"shares points with pictures that have no pose themselves ({best} with the nearest)"
        structure.left_out[number] = reason


class _Growing:
    """A structure that grows by one picture at a time."""

    def __init__(self, places: list[Array], joined: dict[tuple[int, int], Array], tracks: Tracks, focal: float,
                 centre: Array, settings: PoseSettings) -> None:
        self.places, self.joined, self.tracks, self.settings = places, joined, tracks, settings
        self.lens, self.centre = np.array([focal, 0.0]), centre
        self.poses: dict[int, tuple[Array, Array]] = {}
        self.points = np.full((tracks.num_tracks, 3), np.nan)
        self.dropped = np.zeros(len(tracks.views), bool)  # observations that erred
        self.refused: dict[int, tuple[int, int]] = {}
        self.error = 0.0

    def grow(self, progress: Callable[[int], None]) -> Structure:
        """Returns the structure after all pictures that fit."""
        if self._start():
            settled = 2
            while (number := self._next()) is not None:
                if not self._add(number):
                    continue
                self._triangulate()
                if len(self.poses) <= 6 or len(self.poses) >= 1.15 * settled:
                    self._adjust(8)
                    self.refused.clear()
                    settled = len(self.poses)
                progress(len(self.poses))
            for rounds in (20, 30):
                self._triangulate()
                self._adjust(rounds)
        known = np.isfinite(self.points[:, 0])
        seen = np.bincount(self.tracks.tracks[self._used()], minlength=len(self.points))
        return Structure(self.poses, self.points[known], seen[known], self.lens, self.centre, self.error)

    def _flat(self, view: int, features: Array) -> Array:
        """Features of a picture in the plane at distance 1, without distortion."""
        bent = (self.places[view][features] - self.centre) / self.lens[0]
        flat = bent
        for _ in range(8):
            flat = bent / (1 + self.lens[1] * (flat**2).sum(1, keepdims=True))
        return np.asarray(flat)

    def _start(self) -> bool:
        """Pose the first pair: of those with many matches the one with the most by the angle between its rays."""
        best: tuple[float, int, int, Array, Array] | None = None
        for a, b in sorted(self.joined, key=lambda pair: -len(self.joined[pair]))[:40]:
            kept = self.joined[a, b]
            one, other = self._flat(a, kept[:, 0]), self._flat(b, kept[:, 1])
            rotation, shift, inliers = shared.relative_pose(one, other, self.settings.error / self.lens[0])
            if inliers.sum() < self.settings.least:
                continue
            first, second = (np.eye(3), np.zeros(3)), (rotation, shift)
            points = triangulate([first, second], np.stack([one[inliers], other[inliers]]))
            wide = float(np.median(angles(points, np.zeros(3), -rotation.T @ shift)))
            score = float(inliers.sum()) * min(wide, 12.0) ** 2
            if wide >= 2 and (best is None or score > best[0]):
                best = score, a, b, rotation, shift
        if best is None:
            return False
        _, a, b, rotation, shift = best
        self.poses = {a: (np.eye(3), np.zeros(3)), b: (rotation, shift)}
        self._triangulate()
        self._adjust(10)
        return len(self.poses) == 2 and bool(np.isfinite(self.points[:, 0]).sum() >= self.settings.least)

    def _used(self) -> Array:
        """The observations of known points by posed pictures, (M,) bool."""
        posed = np.isin(self.tracks.views, list(self.poses))
        used: Array = posed & ~self.dropped & np.isfinite(self.points[self.tracks.tracks, 0])
        return used

    def _next(self) -> int | None:
        """The picture without a pose that sees most known points; None if none sees enough."""
        known = np.isfinite(self.points[self.tracks.tracks, 0])
        seen = np.bincount(self.tracks.views[known], minlength=len(self.places))
        seen[[*self.poses, *self.refused]] = 0
        for number in np.flatnonzero((seen > 0) & (seen < self.settings.least)):
            self.refused[int(number)] = (0, int(seen[number]))
        most = int(seen.argmax())
        return most if seen[most] >= self.settings.least else None

    def _add(self, number: int) -> bool:
        tracks = self.tracks
        seen = np.flatnonzero((tracks.views == number) & np.isfinite(self.points[tracks.tracks, 0]))
        flat = self._flat(number, tracks.features[seen])
        pose = shared.resection(self.points[tracks.tracks[seen]], flat, 2 * self.settings.reach / self.lens[0])
        agree = 0 if pose is None else int(pose[2].sum())
        if pose is None or agree < self.settings.least or agree < 0.25 * len(seen):
            self.refused[number] = (agree, len(seen))
            return False
        self.poses[number] = (pose[0], pose[1])
        return True

    def _triangulate(self) -> None:
        """Place the points that two posed pictures see at a sufficient angle and whose projections fit."""
        tracks = self.tracks
        posed = np.isin(tracks.views, list(self.poses)) & ~self.dropped & ~np.isfinite(self.points[tracks.tracks, 0])
        flat = np.zeros((len(tracks.views), 2))
        for view in self.poses:
            own = np.flatnonzero(posed & (tracks.views == view))
            flat[own] = self._flat(view, tracks.features[own])
        rotations, shifts = np.zeros((len(self.places), 3, 3)), np.zeros((len(self.places), 3))
        for view, (rotation, shift) in self.poses.items():
            rotations[view], shifts[view] = rotation, shift
        limit = self.settings.reach / self.lens[0]
        self.points = _placed(self.points, tracks, np.flatnonzero(posed), flat, rotations, shifts, limit,
                              self.settings.angle)

    def _adjust(self, rounds: int) -> None:
        """Bundle adjustment; then forget observations that err and points that nothing holds."""
        tracks, used = self.tracks, np.flatnonzero(self._used())
        order = sorted(self.poses)
        view_at = np.full(len(self.places), -1)
        view_at[order] = np.arange(len(order))
        known, track_at = np.unique(tracks.tracks[used], return_inverse=True)
        places = np.concatenate([self.places[view][tracks.features[used[tracks.views[used] == view]]]
                                 for view in order])
        arranged = np.concatenate([np.flatnonzero(tracks.views[used] == view) for view in order])
        bundle = Bundle(np.stack([self.poses[view][0] for view in order]),
                        np.stack([self.poses[view][1] for view in order]), self.points[known], self.lens.copy(),
                        self.centre, view_at[tracks.views[used]][arranged], track_at[arranged], places)
        free = self.settings.refine and len(order) >= 3
        self.error = adjust(bundle, free_lens=(free, free), rounds=rounds)
        self.lens = bundle.lens
        self.poses = {view: (bundle.rotations[k], bundle.shifts[k]) for k, view in enumerate(order)}
        self.points[known] = bundle.points
        away = bundle.errors()
        limit = min(self.settings.reach, max(1.5, 4 * float(np.median(away))))
        self.dropped[used[arranged[away > limit]]] = True
        left = np.bincount(tracks.tracks[self._used()], minlength=len(self.points))
        self.points[left < 2] = np.nan


def _placed(points: Array, tracks: Tracks, chosen: Array, flat: Array, rotations: Array, shifts: Array, limit: float,
            angle: float) -> Array:
    """`points` with those placed whose observations `chosen` agree; see `_Growing._triangulate`."""
    points = points.copy()
    chosen = chosen[np.argsort(tracks.tracks[chosen], kind="stable")]
    number, start, count = np.unique(tracks.tracks[chosen], return_index=True, return_counts=True)
    centres = -np.einsum("nji,nj->ni", rotations, shifts)
    for size in np.unique(count[count >= 2]):
        own = np.flatnonzero(count == size)
        rows = chosen[start[own][:, None] + np.arange(size)]  # (K, size)
        views = tracks.views[rows]
        poses = [(rotations[views[:, k]], shifts[views[:, k]]) for k in range(size)]
        found = triangulate(poses, flat[rows].transpose(1, 0, 2))
        good = np.isfinite(found).all(1)
        widest = np.zeros(len(found))
        for k in range(size):
            local = np.einsum("kij,kj->ki", poses[k][0], found) + poses[k][1]
            seen = local[:, :2] / np.where(np.abs(local[:, 2:]) > 1e-12, local[:, 2:], 1e-12)
            good &= (local[:, 2] > 0) & (np.linalg.norm(seen - flat[rows[:, k]], axis=1) < limit)
            widest = np.maximum(widest, angles(found, centres[views[:, 0]], centres[views[:, k]]))
        good &= widest >= angle
        points[number[own[good]]] = found[good]
    return points
