"""Adding a method is one file: a toy of each kind from outside the package works in every command of its kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked_command import CommandServer
from PIL import Image
from toys import SYSTEMS, write_toys

CHECKOUT = Path(__file__).resolve().parents[2]
CPU = ("--device", "cpu", "--precision", "fp32")


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toys(tmp_path_factory.mktemp("toys"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rows with an image, three further pictures, rays, a mask, a box and a level."""
    folder = tmp_path_factory.mktemp("data")
    lines, random = [], np.random.default_rng(0)
    for number in range(6):
        row: dict[str, Any] = {"file_name": f"{number}.png"}
        for key in ("", "second", "third", "fourth"):
            name = f"{key}{number}.png"
            Image.fromarray(random.integers(0, 255, (8, 8), np.uint8)).save(folder / name)
            row |= {f"{key}_file_name": name} if key else {}
        mask = np.zeros((8, 8), np.uint8)
        mask[0, number] = 1
        Image.fromarray(mask).save(folder / f"mask{number}.png")
        lines.append(row | {"mask_file_name": f"mask{number}.png", "rays": random.random((4, 6)).round(3).tolist(),
                            "level": number / 6, "boxes": [[number, 0, 2, 1]], "name": "bolt"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[CommandServer]:
    running = CommandServer(CHECKOUT)
    yield running
    running.close()


@pytest.fixture
def migaki(server: CommandServer, toys: Path) -> Callable[..., str]:
    """The command in a process of its own: what it has imported before must not matter. Returns what it said."""

    def run(*words: object) -> str:
        code, said, complaint = server.run(*words, environment={"MIGAKI_PATH": str(toys)})
        assert code == 0, complaint[-2000:]
        return said

    return run


def fresh(toys: Path, *words: object) -> str:
    """The same in a process that is not even forked from another."""
    environment = os.environ | {"MIGAKI_PATH": str(toys), "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-m", "migaki", *map(str, words)], env=environment, capture_output=True,
                          text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


# Two and four pictures go the way of rays.
@pytest.mark.parametrize("name", [name if name == "toy_rays" else pytest.param(name, marks=pytest.mark.long)
                                  for name in SYSTEMS])
def test_a_system_whose_input_is_no_single_picture_works_everywhere(name: str, migaki: Callable[..., str], data: Path,
                                                                    tmp_path: Path) -> None:
    run = tmp_path / "run"
    migaki("train", name, "--data", data, "--out", run, *CPU, "--log-every", 1)
    migaki("apply", run, "--input", data, "--out", tmp_path / "made", *CPU, "--batch-size", 2)
    made = rows(tmp_path / "made")
    assert [row["name"] for row in made] == ["bolt"] * 6 and all(row["predicted_level"] is not None for row in made)
    assert all((tmp_path / "made" / row["mask_file_name"]).is_file() for row in made)
    found = migaki("evaluate", run, "--data", data, *CPU)
    assert "always the mean" in found and "error" in found


@pytest.mark.long  # tracing takes many seconds; tests/stages/test_export.py
@pytest.mark.parametrize("name", SYSTEMS)
def test_such_a_system_is_exported(name: str, migaki: Callable[..., str], data: Path, tmp_path: Path) -> None:
    migaki("train", name, "--data", data, "--out", tmp_path / "run", *CPU)
    migaki("export", tmp_path / "run", "--out", tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size > 100


@pytest.mark.long  # three fresh processes; workers also in tests/stages/test_apply_workers.py
def test_a_change_of_ones_own_with_any_number_of_workers(migaki: Callable[..., str], toys: Path, data: Path,
                                                         tmp_path: Path) -> None:
    migaki("apply", "toy_flip", "--input", data, "--out", tmp_path / "one", "--batch-size", 2)
    fresh(toys, "apply", "toy_flip", "--input", data, "--out", tmp_path / "two", "--batch-size", 2, "--workers", 2)
    trees = [{path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")
              if path.is_file() and path.name != "dataset.json"}  # which holds the command
             for folder in (tmp_path / "one", tmp_path / "two")]
    assert trees[0].keys() == trees[1].keys()
    assert all(trees[0][name] == trees[1][name] for name in trees[0])


def test_a_change_moves_labels_and_writes_signals(migaki: Callable[..., str], data: Path, tmp_path: Path) -> None:
    migaki("apply", "toy_flip", "--input", data, "--out", tmp_path / "one", "--batch-size", 2)
    for number, row in enumerate(rows(tmp_path / "one")):
        assert row["boxes"] == [[number, 7, 2, 1]] and 0 <= row["chance"] < 1
        mask = np.asarray(Image.open(tmp_path / "one" / row["mask_file_name"]))
        assert mask.sum() == 1 and mask[7, number] == 1
        before, after = (np.asarray(Image.open(folder / row["file_name"])) for folder in (data, tmp_path / "one"))
        assert np.array_equal(after, before[::-1])
        assert np.load(tmp_path / "one" / row["echo_file_name"]).shape == (8,)
    assert len({row["chance"] for row in rows(tmp_path / "one")}) == 6


def test_a_simulator_a_damage_an_importer_and_a_judge(migaki: Callable[..., str], toys: Path, tmp_path: Path) -> None:
    migaki("simulate", "toy_squares", "--count", 4, "--out", tmp_path / "squares")
    assert [row["level"] for row in rows(tmp_path / "squares")] == pytest.approx([0, 1 / 7, 2 / 7, 3 / 7], abs=1e-6)
    migaki("simulate", "toy_dark", "--input", tmp_path / "squares", "--out", tmp_path / "pairs")
    assert [row["level"] for row in rows(tmp_path / "pairs" / "input")] == [
        row["level"] for row in rows(tmp_path / "squares")]
    (tmp_path / "text").mkdir()
    for number in (3, 5):
        (tmp_path / "text" / f"{number}.txt").write_text(str(number))
    migaki("import", "toy_text", tmp_path / "text", "--out", tmp_path / "read")
    assert [row["value"] for row in rows(tmp_path / "read")] == [3, 5]
    found = migaki("evaluate", "toy_count", "--data", tmp_path / "squares", "--out", tmp_path / "count")
    assert "images" in found and json.loads((tmp_path / "count/evaluation.json").read_text())["figures"] == {
        "images": 4}
    listed = fresh(toys, "list")
    assert all(name in listed for name in ("toy_rays", "toy_flip", "toy_squares", "toy_dark", "toy_text", "toy_count"))
