"""Fields in blocks: appearances, bits for any number of processes, joins without seams, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from posed_ball import write_ball

from migaki.core import processes
from migaki.core.errors import Interrupted, UserError
from migaki.core.fit import Run
from migaki.core.trained import load_system
from migaki.data.batches.block_rays import appearances_of
from migaki.data.folder import ImageFolder
from migaki.judges.seams import Seams
from migaki.judges.views import Views
from migaki.metrics.restoration import psnr
from migaki.ops.colour_affine import undone
from migaki.stages.evaluate import run_judge
from migaki.stages.train import train
from migaki.systems.block_field import BlockField, block_config
from migaki.systems.parts import block_runs
from migaki.systems.parts.posed_views import PosedPictures
from migaki.systems.voxel_block import VoxelBlock
from migaki.systems.voxel_field import VoxelField

pytestmark = pytest.mark.usefixtures("warm_processes")
RUN = Run(seed=0, device="cpu", precision="fp32", sample_every=0, log_every=10, checkpoint_every=20)
SMALL: dict[str, Any] = {"blocks": 2, "overlap": 1.85, "sides": (10,), "begins": (), "rows": 1400, "degree": 0,
                         "alpha": 0.01, "carvings": 1,
                         "block_steps": 40, "block_rays": 200, "steps": 20, "batch_size": 32, "shown": 1}


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ball, whose pictures for learning are bright and dark in turn (column `lamp`), on a film round it."""
    folder = write_ball(tmp_path_factory.mktemp("ball"), size=20, count=16)
    lines = []
    for number, line in enumerate((folder / "metadata.jsonl").read_text().splitlines()):
        row = json.loads(line) | {"lamp": number % 2, "clip": number // 8, "frame": number}
        if row["split"] == "train":
            pixels = np.asarray(Image.open(folder / row["file_name"])).astype(np.float32)
            Image.fromarray((pixels * (0.6, 0.9)[number % 2]).round().astype(np.uint8)).save(folder / row["file_name"])
        lines.append(json.dumps(row) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))
    return folder


def learned(ball: Path, out: Path, workers: int = 1, **changes: Any) -> BlockField:
    """A field in two blocks, trained."""
    config = BlockField.Config(**{**SMALL, "appearance": "lamp", **changes})
    system = train(BlockField, BlockField.Data(data=ball, workers=workers), config, RUN, out, quiet=True)
    assert isinstance(system, BlockField)
    return system


@pytest.fixture(scope="module")
def city(ball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "city"
    learned(ball, out)
    return out


def models(out: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(out.rglob("model.safetensors"))]


def cameras(ball: Path) -> dict[str, torch.Tensor]:
    folder = ImageFolder(ball)
    return folder.read(range(len(folder)), ("image", "camera_to_world", "intrinsics"))


def test_two_processes_come_to_the_bits_of_one(ball: Path, city: Path, tmp_path: Path) -> None:
    learned(ball, tmp_path / "two", workers=2)
    assert len(models(city)) == 3 and models(tmp_path / "two") == models(city)


def test_a_killed_block_goes_on_to_the_same_bits(ball: Path, city: Path, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Exception):
        pass

    update = VoxelBlock.update

    def until(self: VoxelBlock, batch: Any, step: int) -> Any:
        if step == 30 and (tmp_path / "run/blocks/0/model.safetensors").exists():
            raise Killed
        return update(self, batch, step)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(VoxelBlock, "update", until)
        learned(ball, tmp_path / "run")
    assert not (tmp_path / "run/model.safetensors").exists() and (tmp_path / "run/blocks/1/checkpoint").exists()
    before = (tmp_path / "run/blocks/0/model.safetensors").stat().st_mtime_ns
    learned(ball, tmp_path / "run")
    assert models(tmp_path / "run") == models(city)
    assert (tmp_path / "run/blocks/0/model.safetensors").stat().st_mtime_ns == before  # not learned again


def test_one_that_was_stopped_is_said(ball: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_runs, "work", lambda *_, **__: iter([([0], False)]))
    with pytest.raises(Interrupted, match="run the same command again"):
        learned(ball, tmp_path / "run", workers=2)


def test_a_blocks_step_is_a_fields_step_on_straightened_pictures() -> None:
    config, batch = VoxelBlock.tiny()
    block = VoxelBlock(config)
    field = VoxelField(VoxelField.Config(**{one.name: getattr(config, one.name) for one in fields(VoxelField.Config)}))
    assert block.codes is not None
    with torch.no_grad():
        block.codes.deviation.copy_(0.2 * torch.rand(3, 3, 4, generator=torch.Generator().manual_seed(1)))
    for step in range(3):
        torch.manual_seed(step)
        before = block.codes.deviation.detach().clone()
        block.update(batch, step)
        assert torch.equal(before, block.codes.deviation) == (step < 1)  # learned after a tenth of six steps
        colour = undone(block.codes().detach()[batch["ray_code"]], batch["ray_colour"])
        torch.manual_seed(step)
        field.update(batch | {"ray_colour": colour}, step)
        assert torch.equal(block.grid.table, field.grid.table)


def test_appearances_tell_the_ball_from_the_lamp(ball: Path, tmp_path: Path) -> None:
    """Against the pictures as they were; the bright lamp is asked for, and all that is learned without appearances is
    the mean of both."""
    scores = {}
    batch = cameras(ball)
    truth, tests = batch["image"], [place for place in range(16) if place % 4 == 0]
    for appearance in ("lamp", "none"):
        config = VoxelBlock.Config(sides=(10,), begins=(), rows=1400, degree=0, alpha=0.01, carvings=1, steps=120,
                                   batch_size=400, shown=0, appearance=appearance, look=2)
        system: Any = train(VoxelBlock, PosedPictures(data=ball), config, RUN, tmp_path / appearance, quiet=True)
        with torch.no_grad():
            made = system.predict(batch)["rendered"]
        scores[appearance] = float(psnr(made[tests], 0.9 * truth[tests]).mean())
        if appearance == "lamp":
            assert system.config.num_codes == 2 and system.config.look_code == 1
            gains = system.codes().detach().sum(-1).mean(-1)  # what becomes of white
            assert float(gains[0] / gains[1]) == pytest.approx(0.9 / 0.6, rel=0.15)
    assert scores["lamp"] > scores["none"] + 2


def test_a_view_is_the_sum_of_its_blocks(city: Path, ball: Path) -> None:
    system = load_system(city)
    assert isinstance(system, BlockField)
    batch = cameras(ball)
    poses, lenses = batch["camera_to_world"], batch["intrinsics"]
    with torch.no_grad():
        made, share = system.predict(batch), system.shares(poses[:, :, 3])
        alone = [system.alone(number, poses, lenses) for number in range(2)]
    assert 0 < int((share > 0).all(1).sum()) < 16  # some see one block, some both
    torch.testing.assert_close(share.sum(1), torch.ones(16))
    for key in ("rendered", "rendered_normals"):
        wanted = sum(share[:, k, None, None, None] * alone[k][key] for k in range(2))
        torch.testing.assert_close(made[key], wanted.clamp(0, 1) if key == "rendered" else wanted)
    first = share.argmax(1)
    wanted = torch.stack([alone[int(owner)]["rendered_depth"][place] for place, owner in enumerate(first)])
    torch.testing.assert_close(made["rendered_depth"], wanted)
    assert int(system.kept.count) == 12


def test_blocks_are_brought_to_one_appearance_from_the_root() -> None:
    """Fields that are alike begin with different maps; in the end all show what the root shows."""
    config, batch = BlockField.tiny()
    config = replace(config, steps=60, learning_rate=0.05, keep_map=0.0)
    system = BlockField(config)
    draw = torch.Generator().manual_seed(0)
    table = 0.3 * torch.randn(system.fields[0].grid.table.shape, generator=draw)
    system.begun[:] = torch.eye(3, 4) * torch.tensor([0.6, 1.0, 1.3]).view(3, 1, 1)
    for field in system.fields:
        assert isinstance(field, VoxelField)
        field.grid.table.copy_(table)
    before, apart = system.maps().detach(), []
    for step in range(config.steps):
        torch.manual_seed(step)
        found = system.update({key: value.roll(step, 0) for key, value in batch.items()}, step)
        apart.append(float(found["maps/apart"]))
    assert torch.equal(system.maps()[1].detach(), before[1])
    assert sum(apart[-5:]) < 0.1 * sum(apart[:5])
    unmatched = BlockField(replace(config, match=False))
    assert set(unmatched.update(batch, 0)) == set(found) and not unmatched.turned.any()


def test_each_block_has_its_own_cube_and_views(ball: Path) -> None:
    data = BlockField.Data(data=ball)
    config, source = BlockField.open(data, BlockField.Config(**SMALL | {"space": "all", "inner": 2.0}), 0)
    assert len(config.reaches) == 2 and sorted(config.parents) in ([0, 0], [1, 1])
    block = block_config(config, 1)
    centre, reach = config.centres[3:], config.reaches[1]
    opened, rays = VoxelBlock.open(PosedPictures(data=ball), block, 0)
    assert opened.bounds == pytest.approx([*(c - 2 * reach for c in centre), *(c + 2 * reach for c in centre)])
    positions = cameras(ball)["camera_to_world"][:, :, 3]
    near = (positions - torch.tensor(centre)).norm(dim=1) <= reach
    near[::4] = False  # held out
    assert rays.num_images == int(near.sum()) == opened.num_codes
    both = near & ((positions - torch.tensor(config.centres[:3])).norm(dim=1) <= config.reaches[0])
    assert source.num_images == int(both.sum()) > 0
    batch = source.batch(3)
    assert batch["shared_origin"].shape == batch["shared_direction"].shape == (32, 1, 3)
    assert {tuple(one) for one in batch["shared_origin"][:, 0].tolist()} <= {tuple(p) for p in positions[both].tolist()}
    assert torch.equal(batch["shared_direction"], source.batch(3)["shared_direction"])
    whole = BlockField.open(data, BlockField.Config(**SMALL), 0)[0]
    assert whole.space == "box" and block_config(whole, 0).bounds == whole.bounds == (-1, -1, -1, 1, 1, 1)


def test_rays_know_the_appearance_of_their_picture(ball: Path) -> None:
    config, source = VoxelBlock.open(PosedPictures(data=ball), VoxelBlock.Config(appearance="lamp", batch_size=64), 0)
    batch, positions = source.batch(5), cameras(ball)["camera_to_world"][:, :, 3]
    lamps = appearances_of(ImageFolder(ball), "lamp")
    known = list(dict.fromkeys(lamps[place] for place in range(16) if place % 4))
    for origin, code in zip(batch["ray_origin"], batch["ray_code"].tolist(), strict=True):
        assert lamps[int((positions - origin).norm(dim=1).argmin())] == known[code]
    assert len(set(batch["ray_code"].tolist())) == 2 == config.num_codes


def test_judges_see_the_joined_field_and_its_seams(city: Path, ball: Path) -> None:
    views = run_judge(Views(Views.Config(data=ball, device="cpu")), [city], quiet=True)
    assert views.figures["num_views"] == 4 and math.isfinite(views.figures["psnr"])
    seams = run_judge(Seams(Seams.Config(data=ball)), [city], quiet=True)
    assert seams.figures["num_seams"] >= 2 and seams.figures["apart"] > 0
    assert seams.figures["ratio"] == pytest.approx(seams.figures["seam"] / seams.figures["inside"])
    assert seams.baseline["num_seams"] == seams.figures["num_seams"] and seams.baseline["ratio"] > 0
    assert seams.files["seams.png"][:4] == b"\x89PNG"
    for runs, reason in (([], "one field in blocks"), ([city / "blocks/0"], "no field in blocks")):
        with pytest.raises(UserError, match=reason):
            Seams(Seams.Config(data=ball)).judge(runs, lambda *_: None)


def test_sets_without_films_have_no_seams(city: Path, ball: Path, tmp_path: Path) -> None:
    shutil.copytree(ball, tmp_path / "set")
    lines = [json.loads(line) for line in (ball / "metadata.jsonl").read_text().splitlines()]
    for clip, reason in ((None, "no column `clip`"), (0, "no film crosses")):
        kept = lines if clip is None else [line for line in lines[:2]]
        kept = [{key: value for key, value in line.items() if key != "clip" or clip is not None} for line in kept]
        (tmp_path / "set/metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
        with pytest.raises(UserError, match=reason):
            Seams(Seams.Config(data=tmp_path / "set")).judge([city], lambda *_: None)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"blocks": 17}, "different positions do not make 17 groups: give fewer"), ({"blocks": 0}, "--blocks 0"),
    ({"overlap": 0.5}, "--overlap 0.5"), ({"centres": (0.0, 1.0)}, "--centres"), ({"look": 17}, "rows 1 to 16"),
    ({"appearance": "mood"}, "no such column"), ({"inner": 0.0}, "--inner 0"), ({"height": 8}, "give both"),
    ({"block_steps": 0}, "--block-steps 0"),
    ({"block_rays": 0}, "--block-rays 0"), ({"block_rate": 0.0}, "--block-rate 0"),
    ({"reaches": (1.0,)}, "--reaches: 1 lengths"), ({"blocks": 8, "overlap": 1.0}, "give fewer --blocks"),
    ({"centres": (0.0, 0.0, 1.27, 0.0, 0.0, -1.03), "reaches": (2.76, 2.86)}, "shares no view with the others")])
def test_blocks_that_cannot_be_are_refused(ball: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        BlockField.open(BlockField.Data(data=ball), BlockField.Config(**SMALL | changes), 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"appearance": "mood"}, "no such column"), ({"reach": 0.1, "centre": (9.0, 0.0, 0.0)}, "longer --reach"),
    ({"reach": 1.0}, "give both"), ({"look": -1}, "rows 1 to 16")])
def test_a_block_that_cannot_be_is_refused(ball: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        VoxelBlock.open(PosedPictures(data=ball), VoxelBlock.Config(**changes), 0)
    for wrong in ({"centre": (1.0,)}, {"code_begin": 1.5}, {"look_code": 9}):
        with pytest.raises(UserError):
            VoxelBlock(replace(VoxelBlock.tiny()[0], **wrong))


def test_torchrun_is_no_way_to_train_blocks(ball: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _ = BlockField.open(BlockField.Data(data=ball), BlockField.Config(**SMALL), 0)
    system = BlockField(config)
    system.prepare(BlockField.Data(data=ball))
    monkeypatch.setattr(processes, "world", lambda: 2)
    with pytest.raises(UserError, match="without torchrun"):
        system.begin(tmp_path, RUN, True)
    with pytest.raises(UserError, match="--address"):
        BlockField.open(BlockField.Data(data=ball, address="auto"), BlockField.Config(**SMALL), 0)
