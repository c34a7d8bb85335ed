"""Depth: a rendered corner by its cameras, its errors measured, and a network of somebody's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairs import cameras, corner
from PIL import Image

from migaki.changes.depth import Depth
from migaki.changes.flow import Flow
from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.judges.depth import Depth as DepthJudge
from migaki.metrics.geometry import (
    MeanInverse,
    depth_errors,
    lower_is_nearer,
    with_scale,
    with_scale_and_shift,
)
from migaki.nets.onnx_file import OnnxFile
from migaki.ops.geometry.plane_sweep import PosedView, SweepSettings, neighbours, sweep
from migaki.stages.apply import apply_change
from migaki.stages.apply_job import ApplyJob
from migaki.stages.evaluate import run_judge

LENS = np.array([70.0, 70.0, 36.0, 28.0])
HEIGHT, WIDTH = 56, 72


@pytest.fixture(scope="module")
def capture() -> tuple[np.ndarray, ...]:  # type: ignore[type-arg]
    poses = cameras(5, 6.0)
    return (*corner(poses, LENS, HEIGHT, WIDTH), poses)


@pytest.fixture(scope="module")
def posed(capture: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rows = tmp_path_factory.mktemp("posed"), []
    for number, (picture, _, pose) in enumerate(zip(*capture, strict=True)):
        Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(folder / f"{number}.png")
        rows.append({"file_name": f"{number}.png", "camera_to_world": pose.tolist(), "intrinsics": LENS.tolist()})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "dataset.json").write_text(json.dumps({"scene": {"near": 2.5, "far": 8.0}}))
    return folder


def views(capture: tuple[Any, ...]) -> list[PosedView]:
    return [PosedView(torch.from_numpy(picture).permute(2, 0, 1), torch.from_numpy(LENS).float(),
                      torch.from_numpy(pose)) for picture, _, pose in zip(*capture, strict=True)]


def test_neighbours_look_from_a_little_beside() -> None:
    poses, middle = torch.from_numpy(cameras(9, 8.0)), torch.tensor([0.6, 0.6, 0.6])
    assert set(neighbours(poses, 4, middle, 2)) == {3, 5} and len(neighbours(poses, 0, middle, 9)) < 8
    turned = poses.clone()
    turned[5, :, :3] = -turned[5, :, :3]
    assert 5 not in neighbours(turned, 4, middle, 8) and neighbours(poses[:1], 0, middle, 4) == []


def test_a_rendered_corner_is_measured(capture: tuple[Any, ...]) -> None:
    every = views(capture)
    found = sweep(every[2], [every[1], every[3]], SweepSettings(near=2.5, far=8.0, planes=32))
    truth = capture[1][2]
    errors = depth_errors(found, truth)
    assert (found > 0).mean() > 0.6 and errors["relative"].mean() < 0.03 and (errors["ratio"] < 1.25).mean() > 0.97
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = sweep(every[2], [every[1], every[3]], SweepSettings(near=2.5, far=8.0, planes=32))
    assert (again == found).all()
    back = every[2].pose.clone()
    back[:, [0, 2]] *= -1  # a camera that looks the other way
    assert not sweep(every[2], [every[2]._replace(pose=back)], SweepSettings(near=2.5, far=8.0, planes=8)).any()


def test_errors_of_depth() -> None:
    truth = np.float32([[2, 4, 5, 0]])
    errors = depth_errors(np.float32([[1, 5, 0, 3]]), truth)
    assert errors["relative"].tolist() == [0.5, 0.25] and errors["ratio"].tolist() == [2, 1.25]
    assert with_scale(truth * 3, truth).tolist() == truth.tolist()
    shifted = np.where(truth > 0, 1 / (2 / np.maximum(truth, 1) + 0.3), 0)
    np.testing.assert_allclose(with_scale_and_shift(shifted, truth), truth, rtol=1e-5)
    assert (with_scale(np.zeros((1, 4)), truth) == 0).all()


def test_depths_that_need_no_picture() -> None:
    np.testing.assert_allclose(1 / lower_is_nearer(3, 2), [[1, 1], [1.5, 1.5], [2, 2]])
    depths = [np.array([[1.0, 2.0], [0.0, np.nan]]), np.array([[0.5, 0.0], [0.0, 4.0]]),
              np.array([[0.25, 4.0], [0.0, 0.0]])]
    mean = MeanInverse()
    for depth in (*depths, np.ones((1, 3))):
        mean.add(depth)
    np.testing.assert_allclose(mean.without(depths[0]), [[1 / 3, 4], [0, 4]])
    np.testing.assert_allclose(mean.without(depths[1]), [[1 / 2.5, 1 / 0.375], [0, 0]])
    assert (mean.without(np.ones((1, 3))) == 0).all()


def test_depth_of_a_posed_set(posed: Path, tmp_path: Path, capture: tuple[Any, ...]) -> None:
    change = Depth(Depth.Config(views=2, planes=16))
    apply_change("depth", change, ApplyJob(input=posed, out=tmp_path / "out"), quiet=True)
    made = ImageFolder(tmp_path / "out")
    assert made.files["depth"][0].endswith(".tif") and made.files["depth_picture"][0]  # type: ignore[union-attr]
    assert depth_errors(made.plane("depth", 2), capture[1][2])["relative"].mean() < 0.05
    truth = tmp_path / "truth"
    (truth / "depths").mkdir(parents=True)
    lines = []
    for number, depth in enumerate(capture[1]):
        Image.fromarray(depth * 10).save(truth / "depths" / f"{number}.tif")  # in another unit
        Image.new("L", (WIDTH, HEIGHT)).save(truth / f"{number}.png")
        lines.append(f'{{"file_name": "{number}.png", "depth_file_name": "depths/{number}.tif"}}\n')
    (truth / "metadata.jsonl").write_text("".join(lines))
    for align, low, high in (("none", 0.85, 0.95), ("scale", 0, 0.06), ("affine", 0, 0.06)):
        judge = DepthJudge(DepthJudge.Config(data=tmp_path / "out", truth=truth, align=align))  # type: ignore[arg-type]
        found = run_judge(judge, quiet=True)
        assert low < found.figures["abs_rel"] < high and found.figures["known"] > 0.5
    _, constant, ramp, others = np.mean([row[3:7] for row in found.sections[0].rows], 0)
    assert constant > 2 * found.figures["abs_rel"] and found.figures["within_1_25"] > 0.95
    # The other pictures show the same corner from beside.
    assert others < ramp and found.baseline["abs_rel"] == pytest.approx(others) and "other" in found.baseline_name


def refusal(folder: Path, out: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        apply_change("depth", Depth(Depth.Config(**options)), ApplyJob(input=folder, out=out), quiet=True)
    return str(caught.value)


def test_sets_without_depth(posed: Path, tmp_path: Path) -> None:
    plain, one, blind = tmp_path / "plain", tmp_path / "one", tmp_path / "blind"
    lines = (posed / "metadata.jsonl").read_text().splitlines()
    for folder, rows in ((plain, ['{"file_name": "0.png"}']), (one, lines[:1]), (blind, lines[:2])):
        folder.mkdir()
        for number in range(len(rows)):
            Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{number}.png")
        (folder / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    assert "migaki import poses" in refusal(plain, out)
    assert "has one picture" in refusal(one, out, near=1.0, far=2.0)
    assert "does not say `near` and `far`" in refusal(blind, out)
    for options in ({"views": 0}, {"window": 4}, {"near": 2.0}, {"near": 2.0, "far": 1.0}, {"multiple": 0}):
        with pytest.raises(UserError, match="apply depth: --"):
            Depth.Config(**options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime", reason="extra migaki[export]")
    helper = pytest.importorskip("onnx", reason="extra migaki[export]").helper
    kind, path = 1, tmp_path_factory.mktemp("network") / "dark.onnx"
    nodes = [helper.make_node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=1),
             helper.make_node("AveragePool", ["grey"], ["map"], kernel_shape=[2, 2], strides=[2, 2])]
    graph = helper.make_graph(nodes, "dark", [helper.make_tensor_value_info("image", kind, [1, 3, "h", "w"])],
                              [helper.make_tensor_value_info("map", kind, [1, 1, "a", "b"])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_network_looks_at_single_pictures(network: Path, posed: Path, tmp_path: Path) -> None:
    change = Depth(Depth.Config(network=network, says="depth", values="unit", multiple=8))
    job = ApplyJob(input=posed / "0.png", out=tmp_path / "out")
    apply_change("depth", change, job, quiet=True)
    made, given = ImageFolder(tmp_path / "out").plane("depth", 0), ImageFolder(posed).decode(0)
    pooled = given.mean(0).reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean((1, 3)) / 255
    np.testing.assert_allclose(made[1:-1:2, 1:-1:2].mean(), pooled.mean(), rtol=0.05)


def test_values_and_sizes_are_the_networks(network: Path) -> None:
    picture = torch.full((3, 10, 14), 0.5)
    for values, level in (("unit", 0.5), ("bytes", 127.5), ("half", 0.0), ("imagenet", float(np.mean(
            [(0.5 - m) / d for m, d in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))])))):
        found, scale = OnnxFile(network, 1, 1, values, 8)(picture)  # type: ignore[arg-type]
        assert found.shape == (1, 10, 14) and scale == (16 / 14, 8 / 10)
        assert float(found.mean()) == pytest.approx(level, abs=1e-4)


def test_flow_of_a_network_is_in_px_of_the_picture(tmp_path: Path) -> None:
    """A network that says 4 px right and 2 px down, whatever it sees, of pictures that it gets at another size."""
    helper = pytest.importorskip("onnx", reason="extra migaki[export]").helper
    nodes = [helper.make_node("Sub", ["one", "one"], ["none"]), helper.make_node("Add", ["none", "said"], ["three"]),
             helper.make_node("Slice", ["three", "start", "end", "axis"], ["flow"])]
    said = [helper.make_tensor("said", 1, [1, 3, 1, 1], [4.0, 2.0, 0.0]), *(
        helper.make_tensor(name, 7, [1], [value]) for name, value in (("start", 0), ("end", 2), ("axis", 1)))]
    sides = [helper.make_tensor_value_info(name, 1, [1, 3, 16, 32]) for name in ("one", "two")]
    graph = helper.make_graph(nodes, "still", sides, [helper.make_tensor_value_info("flow", 1, [1, 2, 16, 32])], said)
    path = tmp_path / "flow.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)],
                                       ir_version=8).SerializeToString())
    for name in ("a.png", "b.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 64, 3), np.uint8)).save(tmp_path / name)
    change = Flow(Flow.Config(next=tmp_path / "b.png", network=path, check=False))
    apply_change("flow", change, ApplyJob(input=tmp_path / "a.png", out=tmp_path / "out"), quiet=True)
    flow = ImageFolder(tmp_path / "out").vectors("flow", 0)
    assert flow.shape == (2, 8, 64) and (flow[0] == 8).all() and (flow[1] == 1).all()


def test_files_that_are_no_such_network(network: Path, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match=r"a\.onnx: onnxruntime cannot read it"):
        OnnxFile(tmp_path / "a.onnx", 1, 1, "unit", 32)
    with pytest.raises(UserError, match="there is no such file"):
        OnnxFile(tmp_path / "b.onnx", 1, 1, "unit", 32)
    with pytest.raises(UserError, match=r"and not 2 pictures \(1, 3, H, W\)"):
        OnnxFile(network, 2, 2, "unit", 32)
    with pytest.raises(UserError, match=r"output of shape \(1, 16, 16\)"):
        OnnxFile(network, 1, 2, "unit", 32)(torch.rand(3, 32, 32))
