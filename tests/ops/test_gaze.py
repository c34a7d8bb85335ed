"""Angles, vectors, mirror: MPIIGaze's convention."""

from __future__ import annotations

import math

import pytest
import torch

from migaki.ops.gaze import angle_between, mirror, to_angles, to_vector


def angles(count: int = 200) -> torch.Tensor:
    return (torch.rand(count, 2, dtype=torch.float64) * 2 - 1) * torch.tensor([1.5, 3.1])


def test_round_trip() -> None:
    gaze = angles()
    torch.testing.assert_close(to_angles(to_vector(gaze)), gaze)
    torch.testing.assert_close(to_angles(to_vector(gaze) * 7), gaze)
    torch.testing.assert_close(to_vector(gaze).norm(dim=-1), torch.ones(200, dtype=torch.float64))


@pytest.mark.parametrize(("pitch", "yaw", "vector"), [
    (0.0, 0.0, (0, 0, -1)),  # into the camera, which looks along +z
    (math.pi / 2, 0.0, (0, -1, 0)),  # up: y points down
    (0.0, math.pi / 2, (-1, 0, 0)),  # to the image's left
])
def test_the_convention(pitch: float, yaw: float, vector: tuple[int, int, int]) -> None:
    found = to_vector(torch.tensor([pitch, yaw], dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor(vector, dtype=torch.float64), atol=1e-12, rtol=0)


def test_angle_between_is_exact_even_when_small() -> None:
    base = to_vector(torch.zeros(2, dtype=torch.float64))
    for angle in (1e-9, 1e-4, 0.3, 3.0, math.pi):
        other = to_vector(torch.tensor([0.0, angle], dtype=torch.float64))
        assert float(angle_between(base, other)) == pytest.approx(angle, rel=1e-6)
    assert float(angle_between(base, base * 5)) == 0


def test_the_mirror_flips_x() -> None:
    gaze = angles()
    flipped = to_vector(mirror(gaze))
    torch.testing.assert_close(flipped, to_vector(gaze) * torch.tensor([-1.0, 1.0, 1.0]))
    assert torch.equal(mirror(mirror(gaze)), gaze)


def test_a_vector_of_no_length_gives_no_nan() -> None:
    zero = torch.zeros(1, 3, requires_grad=True)
    out = to_angles(zero)
    assert torch.isfinite(out).all()
