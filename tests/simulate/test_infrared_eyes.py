"""Infrared eyes: the pupil lies where its label says and is dark; lids and mirrors are labelled, glasses painted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.data.batches.point_columns import point_key
from migaki.data.folder import ImageFolder
from migaki.simulate.eye_model.glasses import GLASSES, blob, paint_glasses, rim_coverage
from migaki.simulate.eye_model.infrared import light_leds, narrow_lids, open_lids, pupil_is_seen
from migaki.simulate.eye_model.infrared_skin import IRIS_LEVEL, SKIN_LEVEL, infrared_parts
from migaki.simulate.eye_model.jit import image_keys
from migaki.simulate.eye_model.scene import SCENE, Draws
from migaki.simulate.eyes import load_parts
from migaki.simulate.infrared_eyes import InfraredEyes
from migaki.stages.simulate import SimulateJob, simulate

CLEAR = {"glasses_share": 0.0, "narrowed_share": 0.0, "noise": (0.0, 0.0), "blur": (0.0, 0.0), "glint": (0.0, 0.0),
         "veil": (0.0, 0.0), "lash_count": (0.0, 0.0), "gradient": 0.0, "identities": (0, 1), "mask": True}


def eyes(**changes: object) -> InfraredEyes:
    return InfraredEyes(InfraredEyes.Config(**{"identities": (0, 1), **changes}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clear() -> Batch:
    return eyes(**CLEAR, size=96).render(2, range(40))


def test_the_pupil_is_the_darkest_and_lies_where_the_label_says(clear: Batch) -> None:
    checked = 0
    for image, mask, centre in zip(clear["image"][:, 0], clear["mask"], clear["pupil_centre"], strict=True):
        rows, columns = torch.nonzero(mask == 3, as_tuple=True)
        if len(rows) < 20 or (mask == 2).sum() < 2 * len(rows):
            continue
        checked += 1
        pupil, iris, skin = (image[mask == region].median() for region in (3, 2, 0))
        assert pupil < 0.6 * iris < 0.9 * skin
        assert torch.hypot(columns.float() - centre[0], rows.float() - centre[1]).min() < 2.5
    assert checked > 20


def test_a_round_pupil_has_its_centroid_at_the_label() -> None:
    batch = eyes(**{**CLEAR, "upper_lid": (50.0, 0.0), "lower_lid": (-45.0, 0.0), "gaze_yaw": (0.0, 6.0),
                    "gaze_pitch": (0.0, 5.0), "size": 160}).render(4, range(10))
    for mask, centre in zip(batch["mask"], batch["pupil_centre"], strict=True):
        rows, columns = torch.nonzero(mask == 3, as_tuple=True)
        assert len(rows) > 60
        assert torch.hypot(columns.float().mean() - centre[0], rows.float().mean() - centre[1]) < 0.8


def test_visibility_says_whether_the_pupil_shows_at_its_centre() -> None:
    batch = eyes(**{**CLEAR, "narrowed_share": 1.0, "narrowed": (0.8, 1.0), "hidden_share": 1.0}).render(0, range(60))
    places = batch["pupil_centre"].round().long().clamp(0, 63)
    shown = batch["mask"][torch.arange(60), places[:, 1], places[:, 0]] == 3
    assert 0.05 < batch["pupil_visible"].float().mean() < 0.95
    assert (shown == (batch["pupil_visible"] == 1)).float().mean() > 0.8  # a px of the mask is a vote of four
    opened = eyes(**{**CLEAR, "narrowed_share": 1.0, "narrowed": (0.8, 1.0), "hidden_share": 0.0}).render(0, range(60))
    assert opened["pupil_visible"].float().mean() > 0.9
    same = batch["pupil_visible"] == 1
    assert torch.equal(opened["image"][same], batch["image"][same])  # only the others are drawn again


def test_closed_eyes_show_no_pupil_and_the_open_ones_keep_their_bits() -> None:
    """The label says which are closed, and an eye that stays open is the one of a set without closed ones."""
    settings = {**CLEAR, "narrowed_share": 0.5, "narrowed": (0.05, 0.6), "noise": (0.01, 0.02)}
    half = eyes(**settings, closed_share=0.5)
    assert half.names["classes"] == ["closed", "open"] and "classes" not in eyes(**settings).names
    batch, all_open = half.render(3, range(60)), eyes(**settings).render(3, range(60))
    assert "label" not in all_open
    is_open = batch["label"] == 1
    assert 0.3 < is_open.float().mean() < 0.7
    assert torch.equal(batch["image"][is_open], all_open["image"][is_open])
    inside = (batch["mask"] > 0).float().mean((1, 2))
    assert inside[~is_open].max() < 0.01 < inside[is_open].median()
    assert (batch["pupil_visible"][~is_open] == 1).float().mean() < 0.05
    assert eyes(**settings, closed_share=1.0).render(3, range(9))["label"].sum() == 0


def test_the_number_of_threads_changes_no_bit() -> None:
    one, three = (eyes(threads=threads, mask=True).render(5, range(9)) for threads in (1, 3))
    assert all(torch.equal(one[key], three[key]) for key in one)


def test_mirrored_eyes_are_the_same_eyes_turned() -> None:
    one, other = (eyes(mirrored_share=share, mask=True, threads=1).render(1, range(6)) for share in (0.0, 1.0))
    assert torch.equal(one["image"].flip(-1), other["image"]) and torch.equal(one["mask"].flip(-1), other["mask"])
    assert torch.allclose(other["pupil_centre"][:, 0], 63 - one["pupil_centre"][:, 0])
    assert torch.equal(other["pupil_centre"][:, 1], one["pupil_centre"][:, 1])


def test_crops_have_the_scale_and_place_that_are_asked_for() -> None:
    still = {**CLEAR, "head_pitch": (0.0, 0.0), "head_yaw": (0.0, 0.0), "head_roll": (0.0, 0.0), "shape_spread": 0.0,
             "gaze_yaw": (0.0, 0.0), "gaze_pitch": (0.0, 0.0), "mirrored_share": 0.0, "shift_x": (0.0, 0.0),
             "shift_y": (0.1, 0.1), "upper_lid": (40.0, 0.0), "lower_lid": (-40.0, 0.0), "pupil_radius": (2.0, 2.0)}
    near, far = (eyes(**{**still, "across": (mm, mm)}).render(0, range(4)) for mm in (30.0, 60.0))
    areas = [(batch["mask"] >= 2).flatten(1).sum(1).float().mean() for batch in (near, far)]
    assert areas[0] / areas[1] == pytest.approx(4, rel=0.1)
    shifted = {**still, "across": (60.0, 60.0), "shift_y": (0.2, 0.2), "shift_x": (0.05, 0.05)}
    lower = eyes(**shifted).render(0, range(4))
    moved = (lower["pupil_centre"] - far["pupil_centre"]).mean(0) / 64
    assert moved.tolist() == pytest.approx([0.05, 0.1], abs=0.01)


def test_one_to_three_leds_glint_and_no_vector_is_longer_than_one() -> None:
    scenes = np.zeros(200, SCENE)
    light_leds(scenes, Draws(image_keys(0, np.arange(200)), 20), (1, 3), (5.0, 9.0), 0.3)
    lit = (scenes["key_glint"] > 0).astype(int) + (scenes["fill_glint"] > 0) + (scenes["screen"] > 0)
    assert set(lit.tolist()) == {1, 2, 3}
    for lamp in ("key", "fill"):
        length = scenes[f"{lamp}_x"] ** 2 + scenes[f"{lamp}_y"] ** 2 + scenes[f"{lamp}_z"] ** 2
        np.testing.assert_allclose(length, 1, atol=1e-6)
        assert (scenes[f"{lamp}_z"] < -0.8).all()


def test_lids_come_together_at_the_pupil_and_open_again() -> None:
    scenes = np.zeros(50, SCENE)
    scenes["upper_lid"], scenes["lower_lid"], scenes["eye_pitch"] = 0.4, -0.4, 0.1
    narrow_lids(scenes, Draws(image_keys(0, np.arange(50)), 5), 1.0, (0.5, 0.5))
    np.testing.assert_allclose(scenes["upper_lid"] - scenes["lower_lid"], 0.4, atol=1e-6)
    assert ((scenes["upper_lid"] > 0.1) & (scenes["lower_lid"] < 0.1)).mean() > 0.9
    scenes["upper_lid"], scenes["lower_lid"] = 0.0, -0.1
    open_lids(scenes)
    assert (scenes["upper_lid"] > 0.3).all() and (scenes["lower_lid"] < -0.05).all()


def test_glasses_are_painted_as_a_naive_twin_paints_them() -> None:
    glasses = np.zeros(1, GLASSES)
    glasses["worn"], glasses["x"], glasses["y"], glasses["half_width"], glasses["half_height"] = 1, 20, 16, 14, 10
    glasses["rim"], glasses["rim_light"], glasses["lens"], glasses["veil"] = 3.0, 0.1, 0.9, 0.2
    glasses["x_0"], glasses["y_0"], glasses["wide_0"], glasses["high_0"], glasses["light_0"] = 24, 18, 3, 2, 5.0
    for k in (1, 2):
        glasses[f"wide_{k}"] = glasses[f"high_{k}"] = 1.0
    glasses["turn_0"] = 0.5
    light = np.full((32, 40, 1), 0.3, np.float32)
    paint_glasses(light, glasses[0])
    c, s = np.cos(0.5), np.sin(0.5)
    for x, y in ((24, 18), (26, 20), (22, 17), (20, 16), (3, 3), (33, 16), (34, 16), (20, 26)):
        dx, dy = x - 24, y - 18
        shine = 5 * np.exp(-min((((c * dx + s * dy) / 3) ** 2 + ((c * dy - s * dx) / 2) ** 2) ** 2, 60))
        inner = 0.3 * 0.9 + shine * 0.3
        cover = rim_coverage(float(x), float(y), glasses[0])
        assert light[y, x, 0] == pytest.approx(inner + cover * (0.1 * 0.3 - inner) + 0.2 * 0.3, rel=1e-4)
    assert rim_coverage(34.0, 16.0, glasses[0]) == pytest.approx(1)  # on the outline
    assert rim_coverage(20.0, 16.0, glasses[0]) == 0 and rim_coverage(38.0, 16.0, glasses[0]) == 0
    assert blob(24.0, 18.0, 24.0, 18.0, 3.0, 2.0, 0.5) == 1


def test_without_glasses_only_stray_light_and_falloff_change_a_picture() -> None:
    glasses = np.zeros(1, GLASSES)
    light = np.random.default_rng(0).uniform(0, 1, (8, 8, 1)).astype(np.float32)
    again = light.copy()
    paint_glasses(again, glasses[0])
    assert np.array_equal(again, light)
    glasses["veil"], glasses["falloff"] = 0.5, 0.4
    paint_glasses(again, glasses[0])
    x, y = np.meshgrid(2 * np.arange(8) / 8 - 1, 2 * np.arange(8) / 8 - 1.4)
    wanted = light[..., 0] * (1 - 0.4 * np.minimum((x * x + y * y) / 2, 1)) + 0.5 * light.mean()
    np.testing.assert_allclose(again[..., 0], wanted, rtol=1e-5)


def test_skins_and_irises_are_bright_whatever_their_colour() -> None:
    colours = load_parts(None, tuple(range(8)), 128, 3)
    found = infrared_parts(colours).textures
    for skins, spread in ((colours.textures.skin[..., :1], 15), (found.skin, 2.5)):
        levels = np.median(skins.reshape(8, -1), 1)
        assert (levels.std() > spread) == (skins is not found.skin)
    assert np.median(found.skin) == pytest.approx(255 * SKIN_LEVEL, abs=6)
    size = found.iris.shape[1]
    place = (np.arange(size) + 0.5) / size - 0.5
    radius = np.hypot(*np.meshgrid(place, place))
    ring = (radius > 0.08) & (radius < 0.12)
    levels = [np.median(iris[ring]) for iris in found.iris]
    assert np.ptp(levels) < 60 and np.mean(levels) == pytest.approx(255 * IRIS_LEVEL, abs=25)
    assert found.iris[:, radius < 0.06].max() < 10 and found.relief is colours.textures.relief


def test_the_centre_of_the_pupil_may_be_outside() -> None:
    region = np.full((4, 4), 3, np.uint8)
    assert pupil_is_seen(region, 1.4, 2.6) and not pupil_is_seen(region, -0.6, 1.0)
    assert not pupil_is_seen(np.full((4, 4), 2, np.uint8), 1.0, 1.0)


def test_it_is_written_as_a_set_of_pupils(tmp_path: Path) -> None:
    out = simulate("infrared_eyes", eyes(size=32), SimulateJob(out=tmp_path / "ir", count=4), quiet=True)
    folder = ImageFolder(out)
    assert folder.shape == (1, 32, 32) and point_key(folder) == "pupil_centre"
    assert set(folder.labels) == {"pupil_centre", "pupil_visible", "pupil_radius_mm", "glasses", "identity"}
    masked = simulate("infrared_eyes", eyes(size=32, mask=True), SimulateJob(out=tmp_path / "m", count=2), quiet=True)
    assert ImageFolder(masked).made["mask_classes"] == ["skin", "sclera", "iris", "pupil"]


@pytest.mark.parametrize(("changes", "message"), [
    ({"size": 4}, "at least 8 px"), ({"leds": (0, 4)}, "from 0 to 3"), ({"glasses_share": 1.5}, "from 0 to 1"),
    ({"blur": (2.0, 1.0)}, "--blur takes a lower and an upper end"), ({"identities": (99,)}, "within 0 to 19"),
    ({"across": (1.0, 9.0)}, "at least 10 mm"), ({"led_spread": 0.9}, "from 0 to 0.6"),
])
def test_mistakes_are_reported_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        eyes(**changes)
    assert "\n" not in str(caught.value)


def test_every_range_is_checked() -> None:
    pairs = {field.name for field in dataclasses.fields(InfraredEyes.Config) if isinstance(field.default, tuple)
             and len(field.default) == 2 and field.name not in ("leds", "reflections")}
    moments = {"gaze_pitch", "gaze_yaw", "head_pitch", "head_yaw", "head_roll", "upper_lid", "lower_lid"}
    for name in pairs - moments:
        with pytest.raises(UserError):
            eyes(**{name: (1e3, 1e2)})
