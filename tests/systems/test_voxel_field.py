"""The voxel field: compiled steps against torch's, bits, growth, a toy scene learned, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from posed_ball import RADIUS, ball_views, write_ball
from refusals import message

from migaki.changes.orbit import Orbit
from migaki.core.errors import UserError
from migaki.core.fit import Run, fit
from migaki.core.trained import load_system
from migaki.data.batches.ray_pixels import RayPixels, divide_views, evenly
from migaki.data.files.video import frames_of
from migaki.data.folder import ImageFolder
from migaki.data.sets.scenes import scene_of
from migaki.judges.views import Views
from migaki.metrics.restoration import psnr
from migaki.metrics.views import Views as ViewsMetric
from migaki.nets.voxel_descent import RowAdam
from migaki.stages.apply import AloneJob, apply_alone
from migaki.stages.evaluate import run_judge
from migaki.stages.train import train
from migaki.systems.voxel_field import VoxelField

SMALL: dict[str, Any] = {"sides": (10, 20), "begins": (0.4,), "rows": 9000, "steps": 200, "batch_size": 400,
                         "degree": 0, "alpha": 0.01, "carvings": 2, "shown": 3}


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ball(tmp_path_factory.mktemp("ball"))


def opened(ball: Path, **changes: Any) -> tuple[VoxelField, Any]:
    data = VoxelField.Data(data=ball)
    config, source = VoxelField.open(data, VoxelField.Config(**{**SMALL, **changes}), 0)
    system = VoxelField(config)
    system.prepare(data)
    return system, source


@pytest.fixture(scope="module")
def trained(ball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the ball."""
    out = tmp_path_factory.mktemp("run") / "run"
    system, source = opened(ball)
    fit(system, source, Run(seed=0, device="cpu", precision="fp32", sample_every=0), out, quiet=True)
    return out


def shaken(engine: str, **changes: Any) -> VoxelField:
    config = replace(VoxelField.tiny()[0], own_colour=0.3, clear=0.2, spread=0.4, smooth_density=0.01,
                     smooth_colour=0.02, faint=1e-3, engine=engine, **changes)
    system = VoxelField(config)
    with torch.no_grad():
        system.grid.table.normal_(generator=torch.Generator().manual_seed(1))
    return system


@pytest.mark.parametrize("changes", [{}, {"activation": "sigmoid", "degree": 2}, {"activation": "exponential"},
                                     {"space": "all", "near": 0.1}])
def test_a_compiled_step_is_that_of_torch(changes: dict[str, Any]) -> None:
    batch = VoxelField.tiny()[1]
    one, other = shaken("compiled", **changes), shaken("torch", **changes)
    for step in range(3):
        for system in (one, other):
            torch.manual_seed(step)
            system.update(batch, step)
        torch.testing.assert_close(one.grid.table, other.grid.table, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(one.strength, other.strength, atol=1e-6, rtol=1e-5)
    for name in ("first", "second"):
        own, wanted = (system.optimizers["field"].state[system.grid.table][name] for system in (one, other))
        torch.testing.assert_close(own, wanted, atol=1e-6, rtol=1e-3)
    for name, value in one.predict(batch).items():
        torch.testing.assert_close(value, other.predict(batch)[name], atol=1e-3, rtol=1e-3)


def test_light_is_drawn_together_in_all_of_space_and_the_more_the_later() -> None:
    config = replace(VoxelField.tiny()[0], steps=10)
    weights = {space: [VoxelField(replace(config, space=space, **more)).spread(step) for step in (0, 4, 9)]
               for space, more in (("box", {}), ("all", {"near": 0.1}))}
    assert weights["box"] == [0.0] * 3 and weights["all"] == pytest.approx([0.001, 0.005, 0.01])
    assert VoxelField(replace(config, spread=0.3)).spread(9) == pytest.approx(0.3)
    assert "--spread -1" in message(lambda: VoxelField(replace(config, spread=-1.0)))


def test_the_options_as_they_stand_train_by_the_command(ball: Path, tmp_path: Path) -> None:
    """Numbers of options are checked by the command alone."""
    config = replace(opened(ball)[0].config, steps=1, spread=VoxelField.Config().spread)
    run = Run(device="cpu", sample_every=0)
    train(VoxelField, VoxelField.Data(data=ball), config, run, tmp_path / "run", quiet=True)
    assert load_system(tmp_path / "run").config == config


def test_a_step_has_the_same_bits_for_any_number_of_threads(ball: Path) -> None:
    tables = []
    for threads in (1, 3):
        system, source = opened(ball, smooth_density=1e-4)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            for step in range(2):
                torch.manual_seed(step)
                system.update(source.batch(step), step)
        finally:
            torch.set_num_threads(before)
        tables.append(system.grid.table.detach())
    assert torch.equal(*tables)


def test_a_killed_run_goes_on_to_the_same_bits_across_a_growth(ball: Path, trained: Path, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    system, source = opened(ball)
    batch = source.batch

    def until(step: int) -> Any:
        if step == 95:
            raise Killed
        return batch(step)

    source.batch = until
    run = Run(seed=0, device="cpu", precision="fp32", sample_every=0, checkpoint_every=40)
    with pytest.raises(Killed):
        fit(system, source, run, tmp_path / "run", quiet=True)
    system, source = opened(ball)
    fit(system, source, run, tmp_path / "run", quiet=True)
    assert (tmp_path / "run/model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_a_ball_is_learned_with_its_depth_and_normals(trained: Path) -> None:
    system = load_system(trained)
    pictures, depth, poses, lenses = ball_views(24, 12)
    with torch.no_grad():
        made = system.predict({"camera_to_world": poses[::4], "intrinsics": lenses[::4]})
    assert float(psnr(made["rendered"], pictures[::4]).mean()) > 24
    both = (depth[::4] > 0) & (made["rendered_depth"] > 0)
    assert float((depth[::4] - made["rendered_depth"])[both].abs().median()) < 0.1
    where = poses[0, :, 3] + torch.nn.functional.normalize(-poses[0, :, 3], dim=0) * (3 - RADIUS)
    normal = torch.nn.functional.normalize(made["rendered_normals"][0, :, 12, 12], dim=0)
    assert float(normal @ torch.nn.functional.normalize(where, dim=0)) > 0.8  # outwards
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    last = rows[-1]
    assert last["held_out/psnr"] > last["held_out/psnr_baseline"] + 5
    system = load_system(trained)
    assert isinstance(system, VoxelField) and int(system.kept.count) == 9


def test_the_judge_puts_free_answers_beside_the_field(trained: Path, ball: Path) -> None:
    found = run_judge(Views(Views.Config(data=ball, device="cpu")), [trained], quiet=True)
    assert found.figures["num_views"] == 3 and found.figures["psnr"] > found.baseline["psnr"] + 2
    assert found.figures["psnr"] > found.figures["psnr_mean_picture"] + 3 and 0 < found.figures["ssim"] <= 1
    assert found.files["views.png"][:4] == b"\x89PNG"
    every = run_judge(Views(Views.Config(data=ball, every=True, device="cpu")), [trained], quiet=True)
    assert every.figures["num_views"] == 12 and not every.baseline


def test_a_tour_is_a_film(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="films need PyAV")
    films = []
    for name in ("a.mp4", "b.mp4"):
        tour = Orbit(Orbit.Config(model=trained, frames=3, picture="all"))
        films.append(apply_alone("orbit", tour, AloneJob(out=tmp_path / name), quiet=True))
    assert films[0].read_bytes() == films[1].read_bytes()
    frames = list(frames_of(films[0]))
    assert [frame.shape for frame in frames] == [(3, 24, 72)] * 3
    assert abs(frames[0].astype(int) - frames[1]).max() > 20  # the camera moves
    for wrong, reason in ((tmp_path / "folder", "ends in .mp4"), (tmp_path / "no/a.mp4", "no")):
        with pytest.raises(UserError, match=reason):
            Orbit(Orbit.Config(model=trained, frames=1)).write(wrong, lambda *_: None)
    with pytest.raises(UserError, match="--rate"):
        Orbit.Config(model=trained, rate=0)


def test_growth_keeps_the_picture(trained: Path) -> None:
    system = load_system(trained)
    assert isinstance(system, VoxelField)
    _, _, poses, lenses = ball_views(24, 12)
    batch = {"camera_to_world": poses[:1], "intrinsics": lenses[:1]}
    before = system.predict(batch)["rendered"]
    samples = system.grid.march_compiled(*_rays(system, poses[0], lenses[0]), 1.0, 6.0, system.how, 1)
    strength = torch.zeros(len(system.grid.table))
    from migaki.ops import volume_march

    volume_march.strongest(samples.rows, samples.values, samples.starts, samples.counts, strength.numpy())
    places = system.grid.derived.places
    moment = torch.zeros_like(system.grid.table)
    moment[: len(places), 0] = places.float()
    used = len(places)
    system.grid.carve(strength, 0.0005, [moment])
    fewer = system.grid.derived.places
    assert 0 < len(fewer) < used and torch.equal(moment[: len(fewer), 0], fewer.float())
    assert float((system.predict(batch)["rendered"] - before).abs().max()) < 0.1
    system.grid.refine(torch.ones_like(strength), 0.5, 12**3)
    assert float((system.predict(batch)["rendered"] - before).abs().mean()) < 0.1
    state = system.grid.derived.layout
    system.grid.refine(torch.zeros_like(strength), 0.5, 10**3)  # nothing is strong: nothing happens
    assert system.grid.derived.layout is state


def _rays(system: VoxelField, pose: torch.Tensor, lens: torch.Tensor) -> tuple[torch.Tensor, ...]:
    from migaki.ops.camera import pixel_rays

    origins, towards = (part.reshape(-1, 3) for part in pixel_rays(lens, pose, 24, 24))
    return origins, towards, torch.full((len(origins),), 0.5)


def test_rays_lead_through_their_pixels(ball: Path) -> None:
    """Each ray's colour is that of the ball where it is met, whatever the size of the pictures."""
    for size in (None, (12, 12)):
        folder = ImageFolder(ball, size=size, channels=3)
        source = RayPixels(folder, 500, 1)
        batch = source.batch(3)
        assert all(torch.equal(value, RayPixels(folder, 500, 1).batch(3)[key]) for key, value in batch.items())
        assert not torch.equal(batch["ray_colour"], source.batch(4)["ray_colour"])
        middle = -(batch["ray_origin"] * batch["ray_direction"]).sum(-1)
        inside = RADIUS**2 - (batch["ray_origin"].square().sum(-1) - middle**2)
        met = inside > (0.15 if size is None else 0.25)
        place = batch["ray_origin"] + (middle - inside.clamp_min(0).sqrt())[:, None] * batch["ray_direction"]
        normal = place / RADIUS
        apart = (batch["ray_colour"][:, 0] - (0.5 + 0.4 * normal[:, 2])).abs()[met]
        assert float(apart.max()) < (0.01 if size is None else 0.05) and int(met.sum()) > 50
        assert torch.equal(batch["ray_colour"][inside < -0.3].min(), torch.ones(()))


def test_views_are_divided_by_split_or_by_number(ball: Path, tmp_path: Path) -> None:
    folder = ImageFolder(ball)
    learned, held = divide_views(folder, 8)
    assert held == [0, 4, 8] and sorted(learned + held) == list(range(12))
    plain = folder.select(learned)
    for row in plain.rows:
        row.pop("split", None)
    assert divide_views(plain, 4)[1] == [0, 4, 8] and divide_views(plain, 0)[1] == []
    with pytest.raises(UserError, match="--hold-out 0"):
        divide_views(plain, 1)
    assert evenly([3, 5, 7, 9], 2) == [3, 7] and evenly([1], 4) == [1]


@pytest.mark.parametrize(("scene", "reason"), [
    (None, "says nothing of a scene"), ([], "says nothing of a scene"),
    ({"bounds": [[0, 0, 0], [0, 1, 1]], "near": 1, "far": 2}, "no box"), ({"bounds": 3, "near": 1, "far": 2}, "no box"),
    ({"bounds": [[0, 0, 0], ["a", 1, 1]], "near": 1, "far": 2}, "no box"),
    ({"bounds": [[0, 0, 0], [1, 1, 1]], "near": 3, "far": 2}, "ascending distances"),
    ({"bounds": [[0, 0, 0], [1, 1, 1]], "near": 1, "far": True}, "ascending distances"),
    ({"bounds": [[0, 0, 0], [1, 1, 1]], "near": 1, "far": 2, "background": [1, 1]}, "no colour")])
def test_a_scene_that_cannot_be_is_refused_in_one_line(ball: Path, scene: Any, reason: str) -> None:
    folder = ImageFolder(ball)
    folder.__dict__["made"] = {} if scene is None else {"scene": scene}
    with pytest.raises(UserError, match=reason) as caught:
        scene_of(folder)
    assert "dataset.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"bounds": (0.0,) * 6}, "--bounds"), ({"near": 3.0, "far": 2.0}, "--near"), ({"sides": (4, 8)}, "--begins"),
    ({"sides": (1,)}, "--sides"), ({"degree": 3}, "--degree"), ({"step": (0.0,)}, "--step"),
    ({"alpha": 1.0}, "--alpha"), ({"carvings": 0}, "--carvings"), ({"background": (1.0,)}, "--background"),
    ({"rows": 100}, "--rows")])
def test_wrong_options_are_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        VoxelField(replace(VoxelField.tiny()[0], **changes))
    assert "\n" not in str(caught.value)


def test_a_set_without_cameras_is_refused(ball: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (ball / "metadata.jsonl").read_text().splitlines()]
    for line in lines:
        del line["intrinsics"]
    for path in ball.glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match="intrinsics"):
        VoxelField.open(VoxelField.Data(data=tmp_path), VoxelField.Config(), 0)


def test_row_adam_is_adam_on_touched_rows() -> None:
    table = torch.nn.Parameter(torch.ones(3, 4))
    adam = RowAdam([table], lr=0.1, density=2.0, view=0.5, terms=1)
    slope = torch.tensor([[0.3, -0.2, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0], [1e-3, 1.0, 1.0, 1.0]])
    for _ in range(2):
        table.grad = slope.clone()
        adam.step()
    # Two equal gradients g: means .1 g and .19 g, squares .01 g^2 and .0199 g^2.
    both = 1 + 0.19 / np.sqrt(0.0199)
    wanted = 1 - 0.1 * both * torch.tensor([2.0, 1.0, 1.0, 1.0]) * slope.sign()
    torch.testing.assert_close(table.detach(), wanted.float(), atol=1e-4, rtol=1e-4)
    table.grad, adam.found_inf = slope.clone(), torch.ones(())  # type: ignore[attr-defined]
    before = table.detach().clone()
    adam.step()
    assert torch.equal(table.detach(), before)
    assert RowAdam([table], lr=1.0, density=3.0, view=0.5, terms=4).rates(
        {"lr": 1.0, "density": 3.0, "view": 0.5, "terms": 4}, 16) == [3.0, *[1.0, 0.5, 0.5, 0.5] * 3, 0.0, 0.0, 0.0]


def test_the_metric_is_a_mean_over_views() -> None:
    draw = torch.Generator().manual_seed(0)
    truth, made = torch.rand(2, 3, 16, 16, generator=draw), torch.rand(2, 3, 16, 16, generator=draw)
    metric = ViewsMetric()
    for number in range(2):
        metric.update({"rendered": made[number : number + 1]}, {"image": truth[number : number + 1]})
    assert metric.compute()["psnr"] == pytest.approx(float(psnr(made, truth).mean()))
    assert metric.compute()["num_images"] == 2
    mean = truth.mean(0, keepdim=True).expand_as(truth)
    assert metric.baseline().figures["psnr"] == pytest.approx(float(psnr(mean, truth).mean()), abs=0.05)


def test_cells_are_given_up_once_rays_have_crossed_them() -> None:
    """In a long training at an eighth, a quarter and a half of a stage and at its end; in a short one hardly ever."""
    def cuts(steps: int) -> list[list[int]]:
        config = replace(VoxelField.tiny()[0], sides=(48, 96, 160), begins=(0.03, 0.12), steps=steps, batch_size=1024,
                         carvings=4, rows=200_000)
        starts = [0, round(0.03 * steps), round(0.12 * steps), steps]
        return [sorted(VoxelField(config)._windows(starts, stage)) for stage in range(3)]

    assert cuts(20_000) == [[75, 150, 300, 600], [825, 1050, 1500, 2400], [4600, 6800, 11200, 20000]]
    assert cuts(1500) == [[], [], [1500]]


def test_a_short_training_keeps_what_it_has_not_seen() -> None:
    """A grid gets finer without losing a cell where too little is known."""
    config, batch = VoxelField.tiny()
    system = VoxelField(replace(config, sides=(4, 6), begins=(0.5,), rows=400, batch_size=4)).train()
    assert not system._windows([0, 3, 6], 0)
    for step in range(4):
        torch.manual_seed(step)
        system.update(batch, step)
    cells = system.grid.derived.layout.cells
    assert cells == (6, 6, 6) and int(system.grid.active[:216].sum()) == 216
