"""The parts of the eye model against independent formulas."""

from __future__ import annotations

import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migaki.simulate.eye_model.builtin_shape import build_geometry
from migaki.simulate.eye_model.eyeball import INDEX, refract, trace
from migaki.simulate.eye_model.jit import fill_uniforms, image_keys
from migaki.simulate.eye_model.photograph import blur, equalise
from migaki.simulate.eye_model.renderer import rotation_of
from migaki.simulate.eye_model.scene import SCENE, eye_in_head

angle = st.floats(-1.2, 1.2)


def eye() -> np.void:
    scene = np.zeros(1, SCENE)
    plane = math.sqrt(12.05**2 - 5.75**2)
    for name, value in (("eye_radius", 12.05), ("iris_radius", 5.75), ("cornea_radius", 7.9), ("pupil_radius", 2.0),
                        ("limbus_plane", plane), ("cornea_centre", plane - math.sqrt(7.9**2 - 5.75**2))):
        scene[name] = value
    return scene[0]


@settings(deadline=None)
@given(angle, st.floats(-3, 3))
def test_refraction_obeys_snell(incidence: float, turn: float) -> None:
    normal = np.array([0.0, 0.0, -1.0])
    ray = np.array([math.sin(incidence) * math.cos(turn), math.sin(incidence) * math.sin(turn), math.cos(incidence)])
    bent = np.array(refract(*ray, *normal))
    assert np.linalg.norm(bent) == pytest.approx(1, abs=1e-9)
    assert np.linalg.norm(np.cross(bent, normal)) * INDEX == pytest.approx(abs(math.sin(incidence)), abs=1e-9)
    assert abs(np.dot(np.cross(ray, normal), bent)) < 1e-9  # one plane
    assert np.dot(bent, ray) > 0


def test_a_ray_along_the_axis_goes_straight_to_the_pupil() -> None:
    distance, x, y, z, *_, iris_x, iris_y = trace(0.0, 0.0, -600.0, 0.0, 0.0, 1.0, eye())
    scene = eye()
    apex = scene["cornea_centre"] + scene["cornea_radius"]
    assert (x, y, iris_x, iris_y) == pytest.approx((0, 0, 0, 0), abs=1e-9)
    assert distance == pytest.approx(600 - apex, abs=1e-3) and z == pytest.approx(-apex, abs=1e-3)
    assert apex == pytest.approx(13.0, abs=0.1)  # an adult's eye: 13 mm from its centre to the cornea


def test_the_cornea_magnifies_the_pupil_by_an_eighth() -> None:
    """Gullstrand's eye shows its pupil 1.13 times as large; here the iris lies a little less deep."""
    _, x, _, _, *_, iris_x, _ = trace(1.0, 0.0, -600.0, 0.0, 0.0, 1.0, eye())
    assert x / iris_x == pytest.approx(1.12, abs=0.03)


@settings(deadline=None)
@given(angle, angle)
def test_surface_point_and_normal_agree_with_the_spheres(pitch: float, yaw: float) -> None:
    scene = eye()
    ray = np.array([math.sin(yaw) * 0.02, math.sin(pitch) * 0.02, 1.0])
    ray /= np.linalg.norm(ray)
    distance, x, y, z, nx, ny, nz, iris_x, _ = trace(0.0, 0.0, -600.0, *ray, scene)
    if distance < 0:
        return
    point = np.array([x, y, z])
    assert np.allclose(point, np.array([0, 0, -600.0]) + distance * ray)
    on_cornea = iris_x < 999
    centre = np.array([0, 0, -scene["cornea_centre"] if on_cornea else 0.0])
    radius = scene["cornea_radius"] if on_cornea else scene["eye_radius"]
    assert np.linalg.norm(point - centre) == pytest.approx(float(radius), abs=1e-4)
    assert np.allclose(np.array([nx, ny, nz]), (point - centre) / radius, atol=1e-5)
    beyond = math.hypot(x, y) - scene["iris_radius"]
    assert abs(beyond) < 1e-3 or on_cornea == (beyond < 0)  # where the spheres meet, rounding decides


@settings(deadline=None)
@given(angle, angle, angle, angle, st.floats(-0.3, 0.3))
def test_eye_in_head_undoes_the_head(gp: float, gy: float, hp: float, hy: float, hr: float) -> None:
    head = np.empty((3, 3))
    rotation_of(hp, hy, hr, head)
    assert np.allclose(head @ head.T, np.eye(3), atol=1e-9) and np.linalg.det(head) == pytest.approx(1)
    assert np.allclose(head @ [0, 0, -1], [-math.cos(hp) * math.sin(hy), -math.sin(hp), -math.cos(hp) * math.cos(hy)])
    pitch, yaw = eye_in_head(gp, gy, hp, hy, hr)
    local = np.array([-math.cos(pitch) * math.sin(yaw), -math.sin(pitch), -math.cos(pitch) * math.cos(yaw)])
    gaze = np.array([-math.cos(gp) * math.sin(gy), -math.sin(gp), -math.cos(gp) * math.cos(gy)])
    assert np.allclose(head @ local, gaze, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.3])
def test_blur_is_gaussian(sigma: float) -> None:
    image = np.random.default_rng(0).random((20, 30, 1)).astype(np.float32)
    size = 2 * max(1, math.ceil(2.5 * sigma)) + 1
    expected = cv2.GaussianBlur(image, (size, size), sigma, borderType=cv2.BORDER_REPLICATE)
    blur(image, sigma, np.empty_like(image))
    assert np.allclose(image[..., 0], expected, atol=1e-5)


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(2, 255))
def test_equalisation_equals_opencv(seed: int, top: int) -> None:
    levels = np.random.default_rng(seed).integers(0, top, (12, 17)).astype(np.uint8)
    image = (levels.astype(np.float32) / 255.0)[..., None].copy()
    equalise(image)
    assert np.abs(np.round(image[..., 0] * 255) - cv2.equalizeHist(levels)).max() <= 1


def test_random_streams_are_uniform_and_unlike_each_other() -> None:
    keys = image_keys(5, np.arange(2000))
    assert len(np.unique(keys)) == 2000
    values = np.empty((2000, 64))
    fill_uniforms(keys, values)
    assert values.min() > 0 and values.max() < 1
    assert abs(values.mean() - 0.5) < 0.005 and abs(values.var() - 1 / 12) < 0.002
    correlation = np.corrcoef(values.T) - np.eye(64)
    assert np.abs(correlation).max() < 0.12


def test_builtin_mesh_is_well_formed() -> None:
    geometry = build_geometry()
    points = geometry.mean
    assert np.isfinite(points).all() and np.isfinite(geometry.components).all()
    assert np.allclose(geometry.fine_weight.sum(1), 1)
    edges = np.sort(np.concatenate([geometry.triangles[:, [0, 1]], geometry.triangles[:, [1, 2]],
                                    geometry.triangles[:, [2, 0]]]), axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert uses.max() == 2 and (uses == 1).sum() == 2 * 40  # one hole for the eye, one outer border
    edge = points[geometry.ring == 0]
    assert (np.linalg.norm(edge, axis=1) > 11).all()  # the lids lie on the eyeball, not in it
    assert SimpleNamespace(**geometry._asdict()).upper.sum() * 2 == len(points)
