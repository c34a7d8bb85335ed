"""The eye simulator as its users see it: keys, ranges, determinism, the meaning of the labels."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.glossary import glossary
from migaki.simulate.eye_model.scene import LIGHTING
from migaki.simulate.eyes import EyeSimulator

DATA = Path(os.environ.get("MIGAKI_DATA", Path(__file__).parents[3] / "shared" / "data"))
ASSETS = DATA / "unityeyes" / "Assets"
SOURCES = [
    pytest.param(None, id="built-in"),
    pytest.param(ASSETS, id="assets", marks=pytest.mark.skipif(
        not ASSETS.is_dir(), reason=f"no UnityEyes assets at {ASSETS}; set MIGAKI_DATA")),
]
QUIET = {"noise_range": (0.0, 0.0), "blur_range": (0.0, 0.0)}
STILL = {"scale_normal": (1.0, 0.0), "shift_x_normal": (0.0, 0.0), "shift_y_normal": (0.0, 0.0),
         "head_pitch": (0.0, 0.0), "head_yaw": (0.0, 0.0), "head_roll": (0.0, 0.0), "half_closed_share": 0.0,
         "kappa_yaw_normal": (0.0, 0.0), "kappa_pitch_normal": (0.0, 0.0), "shape_spread": 0.0}


def simulator(**changes: object) -> EyeSimulator:
    changes.setdefault("identities", (0, 1))
    return EyeSimulator(EyeSimulator.Config(**changes))


def same(one: Batch, other: Batch) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module", params=SOURCES)
def batch(request: pytest.FixtureRequest) -> Batch:
    return simulator(assets=request.param).render(3, range(64))


def test_keys_shapes_and_types(batch: Batch) -> None:
    shapes = {"image": (1, 36, 60), "mask": (36, 60), "gaze": (2,), "optical_gaze": (2,), "gaze_vector": (3,),
              "head_pose": (3,), "pupil_centre": (2,), "iris_outline": (16, 2), "iris_visible": (16,),
              "eyelid_outline": (16, 2), "eyelid_visible": (16,), "eye_corners": (2, 2), "pupil_radius_mm": (),
              "kappa": (2,), "identity": (), "lighting": (len(LIGHTING),)}
    assert {key: tuple(value.shape[1:]) for key, value in batch.items()} == shapes
    assert set(shapes) <= set(glossary())
    types = {"mask": torch.uint8, "iris_visible": torch.uint8, "eyelid_visible": torch.uint8, "identity": torch.int64}
    for key, value in batch.items():
        assert value.dtype == types.get(key, torch.float32), key
        assert len(value) == 64 and torch.isfinite(value.float()).all(), key


def test_values_lie_in_their_ranges(batch: Batch) -> None:
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    assert batch["image"].flatten(1).std(1).min() > 0.02  # a picture, not a plain
    assert set(batch["mask"].unique().tolist()) <= {0, 1, 2, 3}
    assert set(batch["iris_visible"].unique().tolist()) <= {0, 1}
    assert set(batch["identity"].tolist()) == {0, 1}
    assert batch["pupil_radius_mm"].min() >= 1.2 and batch["pupil_radius_mm"].max() <= 2.8
    assert torch.allclose(batch["gaze_vector"].norm(dim=1), torch.ones(64), atol=1e-5)


def test_gaze_vector_follows_the_convention_of_mpiigaze(batch: Batch) -> None:
    pitch, yaw = batch["gaze"].T
    expected = torch.stack([-pitch.cos() * yaw.sin(), -pitch.sin(), -pitch.cos() * yaw.cos()], 1)
    assert torch.allclose(batch["gaze_vector"], expected, atol=1e-5)


def test_line_of_sight_lies_kappa_beside_the_optical_axis(batch: Batch) -> None:
    def vector(angles: torch.Tensor) -> torch.Tensor:
        pitch, yaw = angles.double().T
        return torch.stack([-pitch.cos() * yaw.sin(), -pitch.sin(), -pitch.cos() * yaw.cos()], 1)

    between = torch.acos((vector(batch["gaze"]) * vector(batch["optical_gaze"])).sum(1).clamp(-1, 1))
    assert torch.allclose(between, batch["kappa"].double().norm(dim=1), rtol=0.2)
    nasal = vector(batch["gaze"])[:, 0] < vector(batch["optical_gaze"])[:, 0]  # the nose is on the left
    assert nasal[batch["kappa"][:, 1] > 0.01].float().mean() > 0.95


@pytest.mark.parametrize("assets", SOURCES)
def test_same_bits_for_every_batch_and_thread_count(assets: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simulator(assets=assets, threads=1).render(7, range(10))
    assert same(whole, simulator(assets=assets, threads=3).render(7, range(10)))
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    again = simulator(assets=assets)
    order = [9, 2, 5]
    assert same({key: value[order] for key, value in whole.items()}, again.render(7, order))
    for i in range(3):
        assert same({key: value[i : i + 1] for key, value in whole.items()}, again.render(7, [i]))


def test_another_seed_or_index_is_another_image() -> None:
    eyes = simulator()
    one, other = eyes.render(0, range(8))["image"], eyes.render(1, range(8))["image"]
    assert (one != other).flatten(1).any(1).all()
    assert (one[:4] != one[4:]).flatten(1).any(1).all()
    assert len(torch.unique(eyes.render(0, range(64))["gaze"], dim=0)) == 64


def test_global_random_state_is_neither_read_nor_moved() -> None:
    eyes = simulator()
    np.random.seed(1)
    before, first = np.random.get_state()[1].copy(), eyes.render(0, range(4))
    assert (np.random.get_state()[1] == before).all()
    np.random.seed(2)
    assert same(first, eyes.render(0, range(4)))


@pytest.mark.parametrize("assets", SOURCES)
def test_pupil_centre_is_the_centroid_of_the_rendered_pupil(assets: Path | None) -> None:
    eyes = simulator(assets=assets, width=180, height=108, upper_lid_normal=(50.0, 0.0), lower_lid_normal=(-45.0, 0.0),
                     upper_lid_follow_normal=(0.5, 0.0), gaze_prior="uniform", gaze_pitch=(-8.0, 8.0),
                     gaze_yaw=(-15.0, 15.0), shape_spread=0.0, half_closed_share=0.0)
    batch = eyes.render(5, range(12))
    for mask, centre in zip(batch["mask"], batch["pupil_centre"], strict=True):
        rows, columns = torch.nonzero(mask == 3, as_tuple=True)
        centroid = torch.stack([columns.float().mean(), rows.float().mean()])
        assert len(rows) > 100
        assert (centroid - centre).norm() < 0.6  # px at 180 px wide: 0.2 px at 60


@pytest.mark.parametrize("assets", SOURCES)
def test_iris_outline_bounds_the_rendered_iris(assets: Path | None) -> None:
    batch = simulator(assets=assets, width=180, height=108).render(6, range(24))
    rows, columns = torch.meshgrid(torch.arange(108), torch.arange(180), indexing="ij")
    checked = 0
    for i in range(24):
        outline, mask = batch["iris_outline"][i], batch["mask"][i]
        middle = outline.mean(0)
        for point, visible in zip(outline, batch["iris_visible"][i], strict=True):
            inside = (middle + 0.9 * (point - middle)).round().long()
            outside = (middle + 1.1 * (point - middle)).round().long()
            if not visible or not (0 <= outside[0] < 180 and 0 <= outside[1] < 108):
                continue
            checked += 1
            assert mask[inside[1], inside[0]] != 1
            assert mask[outside[1], outside[0]] in (0, 1)
        hidden = mask[rows, columns] >= 2
        reach = (outline - middle).norm(dim=1).max() + 1
        assert ((columns[hidden] - middle[0]) ** 2 + (rows[hidden] - middle[1]) ** 2 <= reach**2).all()
    assert checked > 100


@pytest.mark.parametrize("assets", SOURCES)
def test_eyelid_outline_encloses_the_rendered_eyeball(assets: Path | None) -> None:
    batch = simulator(assets=assets, width=180, height=108, half_closed_share=0.0).render(8, range(16))
    for i in range(16):
        outline, mask = batch["eyelid_outline"][i].numpy(), batch["mask"][i].numpy()
        columns = np.arange(math.ceil(outline[1, 0]) + 2, math.floor(outline[6, 0]) - 2)
        columns = columns[(columns >= 0) & (columns < 180)]
        upper = np.interp(columns, outline[:8, 0], outline[:8, 1])
        lower = np.interp(columns, outline[:7:-1, 0], outline[:7:-1, 1])
        seen = mask[:, columns] > 0
        wrong = 0
        for k, (top, bottom) in enumerate(zip(upper, lower, strict=True)):
            rows = np.flatnonzero(seen[:, k])
            wrong += len(rows) > 0 and (rows[0] < top - 4 or rows[-1] > bottom + 4)
        assert wrong <= 0.1 * len(columns)


@pytest.mark.parametrize("assets", SOURCES)
def test_looking_right_moves_the_pupil_right_and_looking_up_moves_it_up(assets: Path | None) -> None:
    def pupil(pitch: float, yaw: float) -> torch.Tensor:
        eyes = simulator(assets=assets, gaze_prior="uniform", gaze_pitch=(pitch, pitch), gaze_yaw=(yaw, yaw), **STILL)
        return eyes.render(0, [0])["pupil_centre"][0]

    centre, right, up = pupil(0, 0), pupil(0, -12), pupil(10, 0)
    per_mm, arm = 1.6, 10.9  # px; mm from the eyeball's centre to the pupil as the cornea shows it
    assert right[0] - centre[0] == pytest.approx(per_mm * arm * math.sin(math.radians(12)), abs=0.4)
    assert centre[1] - up[1] == pytest.approx(per_mm * arm * math.sin(math.radians(10)), abs=0.4)
    assert abs(right[1] - centre[1]) < 0.3 and abs(up[0] - centre[0]) < 0.3


def test_lids_follow_the_gaze() -> None:
    def upper_edge(pitch: float) -> float:
        eyes = simulator(gaze_prior="uniform", gaze_pitch=(pitch, pitch), gaze_yaw=(0.0, 0.0), **STILL)
        return float(eyes.render(0, [0])["eyelid_outline"][0, 4, 1])

    heights = [upper_edge(pitch) for pitch in (10.0, 0.0, -10.0, -20.0)]
    assert heights == sorted(heights) and heights[-1] - heights[0] > 3


def test_head_pose_turns_the_face_but_keeps_the_gaze() -> None:
    still = {**STILL, "gaze_prior": "uniform", "gaze_pitch": (0.0, 0.0), "gaze_yaw": (0.0, 0.0)}
    turned = simulator(**{**still, "head_yaw": (-15.0, 0.0), "head_roll": (5.0, 0.0)}).render(0, [0])
    straight = simulator(**still).render(0, [0])
    assert torch.allclose(turned["gaze"], straight["gaze"], atol=1e-4)
    assert torch.allclose(turned["head_pose"], torch.deg2rad(torch.tensor([[0.0, -15.0, 5.0]])), atol=1e-5)
    inner, outer = turned["eye_corners"][0]
    tilt = (outer - inner)[1] - (straight["eye_corners"][0, 1] - straight["eye_corners"][0, 0])[1]
    assert tilt > 2  # clockwise roll lowers the outer corner, on the right
    assert torch.allclose(turned["eye_corners"].mean(1), torch.tensor([[30.0, 18.0]]), atol=0.5)


def test_priors_have_the_moments_that_they_promise() -> None:
    laptop = simulator(width=8, height=8, supersample=1).render(0, range(1500))["gaze"]
    assert torch.allclose(laptop.mean(0), torch.tensor([-0.153, 0.001]), atol=0.012)
    assert torch.allclose(laptop.std(0), torch.tensor([0.091, 0.152]), atol=0.012)
    wide = simulator(width=8, height=8, supersample=1, gaze_prior="wide").render(0, range(1500))["gaze"]
    assert wide[:, 1].std() > 0.25 and wide.abs().max() < math.radians(31)


def test_a_table_gives_gaze_and_head(tmp_path: Path) -> None:
    table = np.array([[-0.1, 0.05, 0.02, -0.1], [-0.2, -0.05, 0.1, 0.1]])
    np.savetxt(tmp_path / "gaze.csv", table, delimiter=",")
    batch = simulator(gaze_prior="table", gaze_table=tmp_path / "gaze.csv").render(0, range(16))
    rows = torch.cat([batch["gaze"], batch["head_pose"][:, :2]], 1)
    for row in rows:
        assert (row - torch.tensor(table, dtype=torch.float32)).abs().max(1).values.min() < 1e-4
    assert len(torch.unique(batch["gaze"].round(decimals=3), dim=0)) == 2


def test_equalised_images_use_all_levels_evenly() -> None:
    image = simulator(equalise=True).render(0, range(4))["image"]
    counts = torch.histc(image, 10, 0, 1)
    assert counts.max() < 1.5 * counts.mean() and counts.min() > 0.5 * counts.mean()


def test_masks_may_be_left_out() -> None:
    whole = simulator().render(3, range(4))
    assert same(simulator(mask=False).render(3, range(4)), {key: whole[key] for key in whole if key != "mask"})


def test_chosen_identities_only() -> None:
    assert set(simulator(identities=(4, 2)).render(0, range(32))["identity"].tolist()) == {2, 4}


@pytest.mark.parametrize("assets", SOURCES)
def test_colour_of_another_size(assets: Path | None) -> None:
    batch = simulator(assets=assets, width=96, height=64, channels=3, supersample=1).render(0, range(4))
    assert batch["image"].shape == (4, 3, 64, 96) and batch["mask"].shape == (4, 64, 96)
    assert (batch["image"][:, 0] != batch["image"][:, 2]).any()


@pytest.mark.parametrize(("changes", "says"), [
    ({"assets": Path("nowhere")}, "nowhere"),
    ({"identities": (99,)}, "0..19"),
    ({"width": 1}, "width"),
    ({"gaze_prior": "table"}, "gaze_table"),
])
def test_mistakes_are_reported_in_one_line(changes: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        simulator(**changes).render(0, [0])
    assert "\n" not in str(caught.value)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    width=st.integers(8, 80), height=st.integers(8, 60), supersample=st.integers(1, 3),
    channels=st.sampled_from([1, 3]),
    scale=st.floats(0.5, 2.0), lid=st.floats(-40, 60), equalise=st.booleans(), seed=st.integers(0, 2**63),
    head=st.floats(-40, 40),
)
def test_any_reasonable_configuration_renders(
    width: int, height: int, supersample: int, channels: int, scale: float, lid: float, equalise: bool, seed: int,
    head: float,
) -> None:
    eyes = simulator(width=width, height=height, supersample=supersample, channels=channels, scale_normal=(scale, 0.0),
                     upper_lid_normal=(lid, 5.0), equalise=equalise, head_yaw=(head, 1.0), identities=(0,))
    batch = eyes.render(seed, [0, 2**40])
    assert batch["image"].shape == (2, channels, height, width)
    assert all(torch.isfinite(value.float()).all() for value in batch.values())
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
