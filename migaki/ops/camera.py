"""Pinhole cameras with a place in the world: rays, projection, views that look at a point, and lens distortion.

One convention holds everywhere. The camera's axes are OpenCV's: x right, y down, z forward. `camera_to_world` (3, 4) is
the rotation, whose columns are these axes in the world, and the camera's centre. `intrinsics` (4,) are fx, fy, cx, cy
in px; the picture's corner is (0, 0), so that the centre of the first pixel is (0.5, 0.5) and an image of W px spans
0 .. W. Depth is z along the optical axis. Lengths are in scene units.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.ops.full_precision import full_precision

_NEWTON_STEPS: Final = 12  # of the inverse of a lens; it converges to float32 in 4 to 6 within any sensible picture
_SMALL: Final = 1e-9


@full_precision
def pixel_rays(intrinsics: Tensor, camera_to_world: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Returns the ray through the centre of each pixel: where it begins, and its direction of length 1.

    A point at z-depth `d` lies at `origin + direction * d / (direction . z)`, z being the third column of the rotation.

    Shape: intrinsics (..., 4), camera_to_world (..., 3, 4); both results (..., height, width, 3)
    """
    across = torch.arange(width, dtype=torch.float32, device=intrinsics.device) + 0.5
    down = torch.arange(height, dtype=torch.float32, device=intrinsics.device) + 0.5
    pixels = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1)
    directions = rotated(_slopes(pixels, intrinsics[..., None, None, :]), camera_to_world[..., None, None, :, :])
    directions = F.normalize(directions, dim=-1)
    return camera_to_world[..., None, None, :, 3].expand_as(directions), directions


@full_precision
def project(points: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> tuple[Tensor, Tensor]:
    """Returns where points of the world appear, in px, and their depth; points behind the camera have depth <= 0.

    Shape: points (..., N, 3), intrinsics (..., 4), camera_to_world (..., 3, 4); uv (..., N, 2), depth (..., N)
    """
    relative = points - camera_to_world[..., None, :, 3]
    # Sums of products and no matrix product: TF32 would move points by half a pixel.
    local = (relative[..., :, None] * camera_to_world[..., None, :, :3]).sum(-2)
    depth = local[..., 2]
    safe = torch.where(depth.abs() < _SMALL, torch.full_like(depth, _SMALL), depth)
    slopes = local[..., :2] / safe[..., None]
    return slopes * intrinsics[..., None, :2] + intrinsics[..., None, 2:], depth


@full_precision
def unproject(uv: Tensor, depth: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> Tensor:
    """The inverse of `project`: the points of the world at these pixels and depths.

    Shape: uv (..., N, 2), depth (..., N), intrinsics (..., 4), camera_to_world (..., 3, 4); result (..., N, 3)
    """
    slopes = _slopes(uv, intrinsics[..., None, :])
    return rotated(slopes * depth[..., None], camera_to_world[..., None, :, :]) + camera_to_world[..., None, :, 3]


@full_precision
def rotated(vectors: Tensor, camera_to_world: Tensor) -> Tensor:
    """Turn vectors (..., 3) of the camera's axes into the world's axes, with camera_to_world (..., 3, 3 or 4)."""
    return (camera_to_world[..., :3] * vectors[..., None, :]).sum(-1)


def _slopes(uv: Tensor, intrinsics: Tensor) -> Tensor:
    """Returns (x / z, y / z, 1) of px (..., 2) with intrinsics (..., 4) that broadcast."""
    slopes = (uv - intrinsics[..., 2:]) / intrinsics[..., :2]
    return torch.cat([slopes, torch.ones_like(slopes[..., :1])], -1)


@full_precision
def resized(intrinsics: Tensor, scale: float | tuple[float, float]) -> Tensor:
    """Returns the intrinsics (..., 4) of a picture whose width and height were multiplied by `scale` (across, down)."""
    across, down = scale if isinstance(scale, tuple) else (scale, scale)
    return intrinsics * intrinsics.new_tensor([across, down, across, down])


@full_precision
def cropped(intrinsics: Tensor, left: float, top: float) -> Tensor:
    """Returns the intrinsics (..., 4) of a picture that lost `left` columns and `top` rows (gained, if negative)."""
    return intrinsics - intrinsics.new_tensor([0.0, 0.0, left, top])


@full_precision
def world_to_camera(camera_to_world: Tensor) -> Tensor:
    """Returns the inverse (..., 3, 4) of poses, as COLMAP and OpenCV write them."""
    turned = camera_to_world[..., :3].transpose(-1, -2)
    shift = -(turned * camera_to_world[..., None, :, 3]).sum(-1, keepdim=True)
    return torch.cat([turned, shift], -1)


def look_at(centre: Tensor, target: Tensor, up: Tensor | tuple[float, float, float] = (0.0, 0.0, 1.0)) -> Tensor:
    """Returns the pose (..., 3, 4) of cameras at `centre` that look at `target`, with `up` upwards in the picture.

    Where the view is along `up`, the direction upwards in the picture is chosen among the axes. A camera in its target
    looks along -`up`.

    Shape: centre and target (..., 3), up (3,) or (..., 3)
    """
    shape = (centre - target).shape
    centre, target = centre.double().expand(shape), target.double().expand(shape)
    upwards = torch.as_tensor(up, dtype=torch.float64, device=centre.device).expand_as(centre)
    forward = target - centre
    is_inside = forward.norm(dim=-1, keepdim=True) < _SMALL
    forward = F.normalize(torch.where(is_inside, -upwards, forward), dim=-1)
    least = F.one_hot(forward.abs().argmin(-1), 3).double()
    is_along = torch.linalg.cross(forward, upwards).norm(dim=-1, keepdim=True) < 1e-6
    right = F.normalize(torch.linalg.cross(forward, torch.where(is_along, least, upwards)), dim=-1)
    down = torch.linalg.cross(forward, right)
    return torch.stack([right, down, forward, centre], -1).float()


def ring(count: int, radius: float, elevation_deg: float, target: Tensor | tuple[float, float, float] = (0.0, 0.0, 0.0),
         *, up: Tensor | tuple[float, float, float] = (0.0, 0.0, 1.0), start_deg: float = 0.0,
         turn_deg: float = 360.0) -> Tensor:
    """Returns `count` poses (count, 3, 4) on a circle round `target` at distance `radius`, all looking at it.

    The cameras stand `elevation_deg` above the target's level. A whole turn ends one step before it began.
    """
    aim = torch.as_tensor(target, dtype=torch.float64)
    axis = F.normalize(torch.as_tensor(up, dtype=torch.float64), dim=0)
    first = F.normalize(torch.linalg.cross(axis, F.one_hot(axis.abs().argmin(), 3).double()), dim=0)
    second = torch.linalg.cross(axis, first)
    is_whole = abs(abs(turn_deg) - 360.0) < 1e-6
    steps = torch.arange(count, dtype=torch.float64) / max(1, count if is_whole else count - 1)
    angle = torch.deg2rad(start_deg + turn_deg * steps)[:, None]
    level, height = (radius * function(math.radians(elevation_deg)) for function in (math.cos, math.sin))
    centres = aim + level * (torch.cos(angle) * first + torch.sin(angle) * second) + height * axis
    return look_at(centres, aim, axis)


def focus(camera_to_world: Tensor) -> Tensor:
    """Returns the point (3,) that is nearest to the optical axes of cameras (N, 3, 4): what a capture looks at.

    Cameras that all look the same way have no such point: theirs is the mean of their centres.
    """
    poses = camera_to_world.double()
    axes, centres = poses[:, :, 2], poses[:, :, 3]
    across = torch.eye(3, dtype=torch.float64, device=poses.device) - axes[:, :, None] * axes[:, None, :]
    system = across.sum(0)
    if torch.linalg.eigvalsh(system)[0] < 1e-6 * len(poses):
        return centres.mean(0).float()
    found: Tensor = torch.linalg.solve(system, (across @ centres[:, :, None]).sum(0))[:, 0].float()
    return found


class Tour(NamedTuple):
    """The circle on which cameras stand round what they look at."""

    target: Tensor  # (3,) float64
    up: Tensor  # (3,) float64, of length 1
    distance: float  # scene units, the cameras' mean
    elevation_deg: float  # above the target's level, the cameras' mean
    start_deg: float  # of the first camera, as `ring` counts

    def pose(self, turn_deg: float, elevation_deg: float, distance: float) -> Tensor:
        """Returns a camera (3, 4) that looks at the target."""
        return ring(1, distance, elevation_deg, self.target, up=self.up, start_deg=turn_deg)[0]


@full_precision
def tour_of(camera_to_world: Tensor) -> Tour:
    """Returns the circle of cameras (N, 3, 4). Upwards is the mean of what is upwards in their pictures."""
    poses = camera_to_world.double()
    target = focus(camera_to_world).double()
    up = F.normalize(-poses[:, :, 1].mean(0), dim=0)
    offset = poses[:, :, 3] - target
    distance = offset.norm(dim=-1).clamp_min(_SMALL)
    elevation = torch.rad2deg(torch.asin((offset @ up / distance).clamp(-1, 1))).mean()
    around = ring(1, 1.0, 0.0, up=up)[0, :, 3].double()  # where the angle is 0
    start = torch.rad2deg(torch.atan2(offset[0] @ torch.linalg.cross(up, around), offset[0] @ around))
    return Tour(target, up, float(distance.mean()), float(elevation), float(start))


def orbit(camera_to_world: Tensor, count: int, *, turn_deg: float = 360.0) -> Tensor:
    """Returns a path (count, 3, 4) round what the cameras (N, 3, 4) look at, at their mean distance and elevation.

    The path begins beside the first camera.
    """
    tour = tour_of(camera_to_world)
    return ring(count, tour.distance, tour.elevation_deg, tour.target, up=tour.up, start_deg=tour.start_deg,
                turn_deg=turn_deg)


@full_precision
def distort(slopes: Tensor, coefficients: Tensor) -> Tensor:
    """Apply OpenCV's lens model to (x / z, y / z): radial k1, k2 and tangential p1, p2.

    Shape: slopes (..., 2), coefficients (4,) in the order k1 k2 p1 p2; result as slopes
    """
    k1, k2, p1, p2 = coefficients.unbind(-1)
    x, y = slopes[..., 0], slopes[..., 1]
    square = x * x + y * y
    radial = 1 + square * (k1 + square * k2)
    return torch.stack([x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x),
                        y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y], -1)


@full_precision
def undistort(slopes: Tensor, coefficients: Tensor) -> Tensor:
    """The inverse of `distort`, by Newton's method; far outside the lens' field, where it has none, an estimate."""
    k1, k2, p1, p2 = coefficients.unbind(-1)
    found = slopes.clone()
    for _ in range(_NEWTON_STEPS):
        x, y = found[..., 0], found[..., 1]
        square = x * x + y * y
        radial, slope = 1 + square * (k1 + square * k2), 2 * k1 + 4 * k2 * square
        xx = radial + x * x * slope + 2 * p1 * y + 6 * p2 * x
        yy = radial + y * y * slope + 6 * p1 * y + 2 * p2 * x
        xy = x * y * slope + 2 * p1 * x + 2 * p2 * y
        wrong = distort(found, coefficients) - slopes
        # A Jacobian that vanishes (the lens folds over) would throw the point away: its determinant is bounded.
        area = (xx * yy - xy * xy).clamp_min(0.1)
        step = torch.stack([yy * wrong[..., 0] - xy * wrong[..., 1], xx * wrong[..., 1] - xy * wrong[..., 0]], -1)
        found = found - step / area[..., None]
    return found


@full_precision
def undistort_image(image: Tensor, intrinsics: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Resample pictures as a lens without distortion and with the same intrinsics would have taken them (bicubic).

    Returns the pictures and where they hold what the lens saw; elsewhere pixels of the border are repeated.

    Shape: image (B, C, H, W) in [0, 1], intrinsics (4,), coefficients (4,); result as image, and (H, W) bool
    """
    height, width = image.shape[-2:]
    across = torch.arange(width, dtype=torch.float32, device=image.device) + 0.5
    down = torch.arange(height, dtype=torch.float32, device=image.device) + 0.5
    pixels = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1)
    slopes = (pixels - intrinsics[2:]) / intrinsics[:2]
    source = distort(slopes, coefficients) * intrinsics[:2] + intrinsics[2:]
    grid = 2 * source / source.new_tensor([width, height]) - 1
    found = F.grid_sample(image, grid.expand(len(image), -1, -1, -1), mode="bicubic", padding_mode="border",
                          align_corners=False)
    return found.clamp(0, 1), (grid.abs() <= 1).all(-1)
