"""The field from raws: its loss, its exposures, compiled steps against torch's, a dark ball learned and judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dark_ball import ball_light, write_dark_ball

from migaki.changes.develop import Develop
from migaki.changes.refocus import Refocus
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.fit import Run, fit
from migaki.core.trained import load_system
from migaki.data.batches.raw_pixels import RawPixels, shutters_of
from migaki.data.files.image_file import read_image
from migaki.data.folder import ImageFolder
from migaki.judges.raw_views import RawViews
from migaki.ops.raw_light import developed, white_of
from migaki.simulate.sensor import Sensor
from migaki.stages.apply import apply, apply_change
from migaki.stages.apply_job import ApplyJob
from migaki.stages.evaluate import run_judge
from migaki.systems.raw_field import RawField

SMALL: dict[str, Any] = {"sides": (10, 18), "begins": (0.4,), "rows": 7000, "steps": 120, "batch_size": 400,
                         "degree": 0, "alpha": 0.01,  "carvings": 1, "shown": 2}


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dark_ball(tmp_path_factory.mktemp("dark"), electrons=400.0, exposure=-2.0, shutters=(0.5, 0.125))


@pytest.fixture(scope="module")
def trained(shot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, out = RawField.Data(data=shot), tmp_path_factory.mktemp("run") / "run"
    config, source = RawField.open(data, RawField.Config(**SMALL), 0)
    system = RawField(config)
    system.prepare(data)
    fit(system, source, Run(seed=0, device="cpu", precision="fp32", sample_every=0), out, quiet=True)
    return out


def shaken(engine: str, **changes: Any) -> RawField:
    config = replace(RawField.tiny()[0], clear=0.2, smooth_density=0.01, smooth_colour=0.02, faint=1e-3, engine=engine,
                     **changes)
    system, draw = RawField(config), torch.Generator().manual_seed(1)
    with torch.no_grad():
        system.field.grid.table.normal_(generator=draw)
        system.offsets.normal_(0, 0.3, generator=draw)
    return system


@pytest.mark.parametrize("changes", [{}, {"activation": "linear", "degree": 2}])
def test_a_compiled_step_is_that_of_torch(changes: dict[str, Any]) -> None:
    batch = RawField.tiny()[1]
    one, other = shaken("compiled", **changes), shaken("torch", **changes)
    for step in range(3):
        for system in (one, other):
            torch.manual_seed(step)
            system.update(batch, step)
        torch.testing.assert_close(one.field.grid.table, other.field.grid.table, atol=5e-5, rtol=1e-3)
        torch.testing.assert_close(one.offsets, other.offsets, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(one.backdrop, other.backdrop, atol=1e-5, rtol=1e-4)
    for name, value in one.predict(batch).items():
        torch.testing.assert_close(value, other.predict(batch)[name], atol=1e-3, rtol=1e-3)


def loss_of(light: torch.Tensor, batch: dict[str, torch.Tensor]) -> tuple[float, torch.Tensor]:
    """The first term at light (N, 3), and its gradient."""
    system = RawField(replace(RawField.tiny()[0], floor=0.01))
    light = light.requires_grad_()
    raw = system._losses(light, torch.zeros(len(light)), batch)["raw"]
    gradient, = torch.autograd.grad(raw, light)
    return float(raw.detach()), gradient


def test_the_divisor_of_the_loss_has_no_gradient_and_other_colours_do_not_count() -> None:
    """RawNeRF, equation 4: the gradient is that of log(y + floor)'s error to first order, 2 (y - x) / (y + floor)^2."""
    batch = {"ray_exposure": torch.tensor([0, 1]), "ray_seen": torch.eye(3)[[0, 2]],
             "ray_colour": torch.tensor([[0.3, 0.0, 0.0], [0.0, 0.0, 0.02]])}
    value, gradient = loss_of(torch.tensor([[0.2, 0.9, 0.7], [0.4, 0.5, 0.6]]), batch)
    y, x, scale = torch.tensor([0.2, 0.6 / 4]), torch.tensor([0.3, 0.02]), torch.tensor([1.0, 1 / 4])
    assert value == pytest.approx(float((((y - x) / (y + 0.01)) ** 2).mean()))
    wanted = (y - x) / (y + 0.01) ** 2 * scale  # 2 (y - x) / ... / 2 rays
    torch.testing.assert_close(gradient[[0, 1], [0, 2]], wanted)
    gradient[[0, 1], [0, 2]] = 0
    assert not gradient.any()


def test_light_above_white_is_cut_off_as_a_sensor_does() -> None:
    batch = {"ray_exposure": torch.tensor([0, 1]), "ray_seen": torch.eye(3)[[1, 1]],
             "ray_colour": torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.5, 0.0]])}
    value, gradient = loss_of(torch.full((2, 3), 2.0), batch)  # 2 is white at 1 s, and half of white at 1/4 s
    assert value == pytest.approx(0.0, abs=1e-6) and not gradient[0].any()


def test_shorter_exposures_learn_a_factor_and_the_longest_has_none() -> None:
    system = RawField(RawField.tiny()[0])
    with torch.no_grad():
        system.offsets.copy_(torch.tensor([[0.1, -0.2, 0.0]]))
    made = system.exposed(torch.full((2, 3), 0.4), torch.tensor([0, 1]))
    torch.testing.assert_close(made, torch.tensor([[0.4, 0.4, 0.4], [0.11, 0.08, 0.1]]))


def test_a_ray_measures_the_colour_of_its_pixel(shot: Path) -> None:
    folder = ImageFolder(shot, channels=3)
    assert shutters_of(folder) == (0.5, 0.125)
    source = RawPixels(folder, 300, 1, (0.5, 0.125))
    every = np.arange(300) % 256
    seen = source._seen(np.arange(300) % 16, every // 16, every % 16)
    for number in range(0, 300, 17):
        view, y, x = number % 16, number % 256 // 16, number % 256 % 16
        raw = folder.plane("raw", view)[y, x]
        channel = (0, 1, 1, 2)[2 * (y % 2) + x % 2]
        assert seen["ray_seen"][number].tolist() == [float(k == channel) for k in range(3)]
        assert float(seen["ray_colour"][number, channel]) == pytest.approx((raw - 512) / (16383 - 512), abs=1e-6)
        assert (0.5, 0.125)[int(seen["ray_exposure"][number])] == folder.rows[view]["shutter"]
    assert int((seen["ray_colour"] != 0).sum(1).max()) == 1
    again = RawPixels(folder, 300, 1, (0.5, 0.125)).batch(2)
    assert all(torch.equal(value, again[key]) for key, value in source.batch(2).items())


def test_a_dark_ball_is_learned_in_linear_light_and_beats_its_noisy_views(trained: Path, shot: Path) -> None:
    found = run_judge(RawViews(RawViews.Config(data=shot, device="cpu")), [trained], quiet=True)
    assert found.figures["num_views"] == 4
    assert found.figures["psnr"] > found.baseline["psnr"] + 2 and found.figures["psnr_linear"] > 15
    assert found.figures["psnr_denoised"] > found.baseline["psnr"] and found.files["views.png"][:4] == b"\x89PNG"
    twice = run_judge(RawViews(RawViews.Config(data=shot, device="cpu", denoise=False)), [trained, trained], quiet=True)
    assert twice.figures["psnr_2"] == twice.figures["psnr"] and "psnr_denoised" not in twice.figures
    system = load_system(trained)
    assert isinstance(system, RawField) and system.config.floor == pytest.approx(3 / 400)  # the read noise
    assert float(system.gain) == pytest.approx(4.0)
    assert system.white_balance.tolist() == pytest.approx([2.0, 1.0, 1.6])
    behind = system.backdrop.detach().exp()  # white: 1/4 of the sensor's white, before it is balanced
    torch.testing.assert_close(behind, 0.25 / system.white_balance, atol=0.02, rtol=0.1)


@pytest.fixture(scope="module")
def rendered(trained: Path, shot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rendered") / "set"
    apply(trained, ApplyJob(input=shot, out=out), quiet=True)
    return out


def test_what_is_rendered_is_developed_and_refocused(rendered: Path) -> None:
    folder = ImageFolder(rendered)
    row = folder.read([1], ("rendered_radiance", "rendered_depth", "white_balance", "colour_matrix", "intrinsics"))
    assert row["rendered_radiance"].shape == (1, 3, 16, 16)
    develop = Develop(Develop.Config(stops=1.0))
    develop.open(rendered)
    made = develop.change({"image": torch.zeros(1, 3, 16, 16), **row}, torch.zeros(1))["image"]
    balanced = row["rendered_radiance"] * row["white_balance"][:, :, None, None]
    torch.testing.assert_close(made, developed(balanced, 2 / white_of(balanced)), atol=1e-5, rtol=1e-4)
    plain = Develop(Develop.Config(white=2.0, balance=(1.0, 1.0, 1.0), curve="linear", light="rendered_radiance"))
    plain.open(rendered)
    torch.testing.assert_close(plain.change(row, torch.zeros(1))["image"], (row["rendered_radiance"] / 2).clamp(0, 1))
    wide = Refocus(Refocus.Config(aperture=1.0, focus=1.5))
    wide.open(rendered)
    blurred = wide.change(row, torch.zeros(1))["image"]
    assert float(blurred.std()) < float(developed(balanced, 1 / white_of(balanced)).std())
    sharp = Refocus(Refocus.Config(aperture=1e-4))
    sharp.open(rendered)
    torch.testing.assert_close(sharp.change(row, torch.zeros(1))["image"],
                               developed(balanced.clamp_min(0), 1 / white_of(balanced.clamp_min(0))), atol=1e-4, rtol=0)


def test_changes_find_in_a_set_what_they_need(rendered: Path, tmp_path: Path) -> None:
    """Through the walk, which reads what a change names before it has seen the set."""
    for name, change in (("develop", Develop()), ("refocus", Refocus())):
        job = ApplyJob(input=rendered, out=tmp_path / name)
        made = ImageFolder(apply_change(name, change, job, quiet=True))
        assert made.shape == (3, 16, 16) and len(made) == 16 and "rendered_radiance" in made.files


def test_a_raw_and_exact_light_are_developed(shot: Path) -> None:
    folder = ImageFolder(shot)
    kinds: list[Any] = ["raw", "radiance"]
    for light in kinds:
        develop = Develop(Develop.Config(light=light, white=1.0))
        develop.open(shot)
        made = develop.change(folder.read([2], develop.hints[1:]), torch.zeros(1))["image"]
        if light == "radiance":
            torch.testing.assert_close(made[0], developed(ball_light(16, 16)[2]))
        assert made.shape == (1, 3, 16, 16) and float(made.mean()) > 0.01


def test_what_is_written_of_a_raw(shot: Path) -> None:
    row = ImageFolder(shot).rows[0]
    raw = read_image(shot / row["raw_file_name"])
    assert raw.dtype == np.uint16 and raw.shape == (1, 16, 16)
    assert row["mosaic"] == [0, 1, 1, 2] and row["white_level"] == 16383 and row["white_balance"] == [2.0, 1.0, 1.6]
    assert row["radiance_file_name"] and row["shutter"] in (0.5, 0.125) and len(row["camera_to_world"]) == 3


@pytest.mark.parametrize(("column", "value", "reason"), [
    ("mosaic", [0, 1, 1, 7], "four of 0"), ("black_level", 20000.0, "black_level"), ("shutter", -1.0, "above 0")])
def test_a_raw_that_cannot_be_is_refused_in_one_line(shot: Path, column: str, value: Any, reason: str) -> None:
    folder = ImageFolder(shot, channels=3)
    folder.set_label(column, np.array([value] * len(folder)))
    with pytest.raises(UserError, match=reason) as caught:
        RawPixels(folder, 4, 0, shutters_of(folder))
    assert "\n" not in str(caught.value)


def test_a_set_without_raws_and_one_that_is_scaled_are_refused(shot: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'raw'"):
        RawField.open(RawField.Data(data=shot.parent.parent / "clean"), RawField.Config(), 0)
    with pytest.raises(UserError, match="--height"):
        RawField.open(RawField.Data(data=shot), RawField.Config(height=8, width=8), 0)
    for change in (Develop(), Refocus()):
        (tmp_path / "a.png").write_bytes((shot / "000.png").read_bytes() if (shot / "000.png").exists()
                                         else next(shot.glob("*.png")).read_bytes())
        with pytest.raises(UserError, match="rendered_radiance"):
            change.open(tmp_path)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"shutters": ()}, "--shutters"), ({"shutters": (0.1, 0.2)}, "--shutters"), ({"floor": 0.0}, "--floor"),
    ({"sides": (1,)}, "--sides")])
def test_wrong_options_are_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        RawField(replace(RawField.tiny()[0], **changes))


@pytest.mark.parametrize(("change", "options", "reason"), [
    (Develop, {"stops": 99.0}, "--stops"), (Develop, {"balance": (1.0,)}, "--balance"),
    (Refocus, {"aperture": 0.0}, "--aperture"), (Refocus, {"stops": 99.0}, "--stops")])
def test_wrong_lenses_and_curves_are_named(change: Any, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        change.Config(**options)


def test_light_that_is_no_number_is_refused_by_name() -> None:
    """NaN has no photons: the Poisson draw would end in a traceback."""
    light = torch.ones(3, 8, 8)
    light[1, 2, 3] = float("nan")
    with pytest.raises(UnfitPicture, match="not finite"):
        Sensor().damage_one(light, torch.Generator())
