"""The command line: the road of the README on tiny data, and every mistake told in one line."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toy_folders import write_folder

from migaki.cli import COMMANDS, main
from migaki.core.discovery import names_in

PACKAGE = Path(__file__).resolve().parents[1] / "migaki"
HAVE_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))

CPU = ["--device", "cpu", "--precision", "fp32"]
SHORT = [*CPU, "--log-every", "1", "--sample-every", "2", "--checkpoint-every", "2"]
TINY = {
    "simgan": [*SHORT, "--steps", "3", "--batch-size", "4", "--features", "4", "--blocks", "1", "--history", "8",
               "--refiner-pretraining", "0", "--discriminator-pretraining", "1", "--discriminator-width", "0.1"],
    "gaze": [*SHORT, "--steps", "3", "--batch-size", "32", "--features", "4"],
    "classifier": [*SHORT, "--steps", "3", "--batch-size", "4", "--features", "4"],
}

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process: exit code, what it said, what it complained of."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:  # the option parser's own way out
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def refused(call: Call) -> Callable[..., str]:
    """Run a command that must fail: code 2, one line, no traceback. Returns the line."""

    def run(*words: str | Path) -> str:
        code, _, complaint = call(*words)
        assert code == 2, complaint
        *progress, line = complaint.splitlines()
        assert line.startswith("migaki: ") and complaint.endswith("\n"), complaint
        assert all(re.match(r"(watch: |[\w ]+: \d+/\d+, )", other) for other in progress), complaint
        return line

    return run


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """simulate -> train simgan -> apply -> train gaze -> evaluate, on built-in eyes and discs."""
    root = tmp_path_factory.mktemp("road")
    write_folder(root / "photos", 7, (30, 44), real=True, labels=())
    write_folder(root / "classes", 6, (24, 40))
    for words in (
        ["simulate", "eyes", "--out", "eyes", "--count", "6", "--width", "40", "--height", "24", "--supersample", "1"],
        ["train", "simgan", "--synthetic", "eyes", "--real", "photos", "--out", "refiner", *TINY["simgan"]],
        ["apply", "refiner", "--input", "eyes", "--out", "refined", *CPU],
        ["train", "gaze", "--data", "refined", "--photos", "photos", "--out", "gaze", *TINY["gaze"]],
        ["evaluate", "gaze", "--data", "eyes", *CPU],
        ["train", "classifier", "--data", "classes", "--out", "classifier", *TINY["classifier"]],
    ):
        paths = {"eyes", "photos", "refiner", "refined", "gaze", "classes", "classifier"}
        keep = 2 if words[0] in ("simulate", "train") else 1
        places = [word if n < keep or word not in paths else str(root / word) for n, word in enumerate(words)]
        assert main(places) == 0, words
    return root


@pytest.fixture
def copied(road: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a part of the road, to be spoilt."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(road / name, tmp_path / f"copy_{name}"))

    return copy


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


# ------------------------------------------------------------------------------------------------ the road


def test_simulated_eyes_have_gaze(road: Path) -> None:
    rows = rows_of(road / "eyes")
    assert len(rows) == 6 and {"gaze_pitch", "gaze_yaw", "pupil_x"} <= set(rows[0])
    assert (road / "eyes" / "dataset.json").exists()
    assert Image.open(road / "eyes" / rows[0]["file_name"]).size == (40, 24)


def test_a_run_leaves_its_files(road: Path) -> None:
    for run in ("refiner", "gaze", "classifier"):
        for name in ("config.json", "metrics.jsonl", "model.safetensors", "checkpoint", "README.md"):
            assert (road / run / name).stat().st_size > 0, name
        steps = [json.loads(line)["step"] for line in (road / run / "metrics.jsonl").read_text().splitlines()]
        assert steps == [1, 2, 3]
    assert {p.name for p in (road / "refiner" / "samples").iterdir()} == {"000000.png", "000002.png", "000003.png"}
    assert not [p for p in road.rglob("*") if p.suffix == ".partial" or p.name == ".lock"]


def test_apply_keeps_names_and_labels(road: Path) -> None:
    before, after = rows_of(road / "eyes"), rows_of(road / "refined")
    assert [{k: v for k, v in row.items() if not k.endswith("file_name")} for row in before] == [
        {k: v for k, v in row.items() if not k.endswith("file_name")} for row in after]
    assert [Path(row["file_name"]).stem for row in before] == [Path(row["file_name"]).stem for row in after]


def test_evaluate_writes_figures(road: Path) -> None:
    figures = json.loads((road / "gaze" / "evaluation" / "evaluation.json").read_text())["figures"]
    assert any(isinstance(value, float) and 0 < value < 180 for value in figures.values())


def test_everything_again_changes_nothing(road: Path, call: Call) -> None:
    files = [p for p in road.rglob("*") if p.is_file()]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files if path.name != "metrics.jsonl"}
    train = ["train", "simgan", "--synthetic", road / "eyes", "--real", road / "photos", "--out", road / "refiner"]
    assert call(*train, *TINY["simgan"])[0] == 0
    assert call("apply", road / "refiner", "--input", road / "eyes", "--out", road / "refined", *CPU)[0] == 0
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before


def test_a_run_of_other_options_is_refused(road: Path, refused: Callable[..., str]) -> None:
    train = ["train", "simgan", "--synthetic", road / "eyes", "--real", road / "photos", "--out", road / "refiner"]
    assert "steps: 3 there, 4 asked for" in refused(*train, *TINY["simgan"], "--steps", "4")
    assert "data.real" in refused(*train, *TINY["simgan"], "--real", road / "eyes")


def test_begin_again(road: Path, copied: Callable[[str], Path], call: Call) -> None:
    out = copied("classifier")
    words = ["train", "classifier", "--data", road / "classes", "--out", out, *TINY["classifier"], "--steps", "2"]
    assert call(*words, "--no-resume")[0] == 0
    assert json.loads((out / "config.json").read_text())["config"]["steps"] == 2
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.skipif(not HAVE_ONNX, reason="needs the extra migaki[export]")
@pytest.mark.slow
@pytest.mark.parametrize("run", ["refiner", "gaze", "classifier"])
def test_export_is_checked_with_onnxruntime(run: str, road: Path, tmp_path: Path, call: Call) -> None:
    import onnxruntime

    code, said, complaint = call("export", road / run, "--out", tmp_path / "model.onnx")
    assert code == 0 and "differ by at most" in said, complaint
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        made = session.run(None, {"image": np.random.default_rng(0).random((batch, 1, 24, 40), np.float32)})
        assert len(made[0]) == batch and np.isfinite(made[0]).all()


def test_list_names_all_there_is(call: Call) -> None:
    code, said, _ = call("list")
    assert code == 0
    for package, base in (("simulate", "Simulator"), ("systems", "System"), ("simulate", "Damage")):
        for name in names_in(package, base):
            assert name in said


# ------------------------------------------------------------------------------------------------ help


def test_every_command_has_its_module() -> None:
    found = {path.stem.removesuffix("_command") for path in (PACKAGE / "commands").glob("*_command.py")}
    assert found == set(COMMANDS)


def test_help_at_the_top(call: Call) -> None:
    for words in ([], ["--help"], ["-h"], ["help"]):
        code, said, complaint = call(*words)
        assert code == 0 and not complaint and all(command in said for command in COMMANDS)
    assert call("--version")[1].startswith("migaki ")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command: str, call: Call) -> None:
    code, said, complaint = call(command, "--help")
    assert code == 0 and not complaint and "usage: migaki" in said and len(said) > 60


@pytest.mark.parametrize(("command", "name"), [
    *(("train", name) for name in names_in("systems", "System")),
    *(("simulate", name) for name in names_in("simulate", "Simulator")),
    *(("import", name) for name in names_in("data", "Importer")),
])
def test_help_of_every_name(command: str, name: str, call: Call) -> None:
    code, said, complaint = call(command, name, "--help")
    assert code == 0 and not complaint and f"usage: migaki {command} {name}" in said and "--out" in said


def test_misspelt_words_get_a_suggestion(refused: Callable[..., str], call: Call) -> None:
    assert "did you mean 'train'" in refused("trian")
    assert "did you mean 'simgan'" in refused("train", "simgam")
    assert "did you mean 'eyes'" in refused("simulate", "eye")
    assert "known are" in refused("train", "quux")
    for command in ("train", "simulate", "import"):
        assert "say which" in refused(command)
    code, _, complaint = call("train", "gaze", "--data", "x", "--out", "y", "--stepz", "3")
    assert code == 2 and "Traceback" not in complaint and "--steps" in complaint
    code, _, complaint = call("train", "gaze", "--data", "x", "--out", "y", "--steps", "many")
    assert code == 2 and "Traceback" not in complaint


def test_presets(refused: Callable[..., str], call: Call, road: Path, tmp_path: Path) -> None:
    assert "default, paper" in refused("train", "simgan", "--synthetic", "x", "--real", "y", "--out", "z",
                                       "--preset", "papper")
    assert call("train", "simgan", "--preset", "paper", "--synthetic", road / "eyes", "--real", road / "photos",
                "--out", tmp_path / "run", *TINY["simgan"])[0] == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert config["num_refiner_steps"] == 50 and config["features"] == 4


# ------------------------------------------------------------------------------------------------ bad folders


def with_text_for_an_image(folder: Path) -> None:
    (folder / "001.png").write_text("this is no picture")


def with_a_truncated_jpeg(folder: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 40), dtype=np.uint8))
    image.save(folder / "whole.jpg")
    (folder / "001.png").write_bytes((folder / "whole.jpg").read_bytes()[:400])
    (folder / "whole.jpg").unlink()


def with_an_empty_file(folder: Path) -> None:
    (folder / "001.png").write_bytes(b"")


def without_a_named_file(folder: Path) -> None:
    (folder / "001.png").unlink()


def climbing_out(folder: Path) -> None:
    text = (folder / "metadata.jsonl").read_text()
    (folder / "metadata.jsonl").write_text(text.replace("001.png", "../../etc/secret.png"))


def with_broken_metadata(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text('{"file_name": "000.png", \n')


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def missing(folder: Path) -> None:
    shutil.rmtree(folder)


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


USES: dict[str, list[str]] = {
    "simgan, synthetic": ["train", "simgan", "--synthetic", "BAD", "--real", "photos", *TINY["simgan"]],
    "simgan, real": ["train", "simgan", "--synthetic", "eyes", "--real", "BAD", *TINY["simgan"]],
    "gaze": ["train", "gaze", "--data", "BAD", *TINY["gaze"]],
    "gaze, photos": ["train", "gaze", "--data", "eyes", "--photos", "BAD", *TINY["gaze"]],
    "classifier": ["train", "classifier", "--data", "BAD", *TINY["classifier"]],
    "apply": ["apply", "refiner", "--input", "BAD", *CPU],
    "evaluate": ["evaluate", "gaze", "--data", "BAD", *CPU],
}
every_use = pytest.mark.parametrize("use", USES)


def words_for(use: str, bad: Path, road: Path, out: Path) -> list[str]:
    places = {"BAD": str(bad), **{name: str(road / name) for name in ("photos", "eyes", "refiner", "gaze")}}
    command, *rest = USES[use]
    keep = rest[:1] if command == "train" else []
    return [command, *keep, *[places.get(word, word) for word in rest[len(keep):]], "--out", str(out)]


@every_use
@pytest.mark.parametrize("spoil", [
    with_text_for_an_image, with_a_truncated_jpeg, with_an_empty_file, without_a_named_file, climbing_out,
    with_broken_metadata, empty, missing, a_file,
])
def test_bad_folders(use: str, spoil: Callable[[Path], None], road: Path, tmp_path: Path,
                     refused: Callable[..., str]) -> None:
    bad = write_folder(tmp_path / "bad", 4, (24, 40))
    spoil(bad)
    line = refused(*words_for(use, bad, road, tmp_path / "out"))
    assert "bad" in line
    left = [p.name for p in (tmp_path / "out").rglob("*")] if (tmp_path / "out").exists() else []
    assert not [name for name in left if name.endswith(".partial") or name in ("config.json", "dataset.json",
                                                                              "metadata.jsonl", "evaluation.json")]


@pytest.mark.parametrize(("use", "change", "expected"), [
    ("gaze", {"gaze_pitch": float("nan")}, "not finite"), ("gaze", {"gaze_pitch": None}, "not finite"),
    ("gaze", {"gaze_yaw": "left"}, "gaze"), ("gaze", {"gaze_pitch": float("inf")}, "not finite"),
    ("evaluate", {"gaze_pitch": float("nan")}, "not finite"), ("evaluate", {"gaze_yaw": "left"}, "gaze"),
    ("classifier", {"label": float("nan")}, "label"), ("classifier", {"label": None}, "label"),
    ("classifier", {"label": "cat"}, "label"), ("classifier", {"label": -1}, "label"),
    ("classifier", {"label": 0.5}, "label"), ("classifier", {"label": [1, 2]}, "label"),
])
def test_bad_labels(use: str, change: dict[str, Any], expected: str, road: Path, tmp_path: Path,
                    refused: Callable[..., str]) -> None:
    bad = write_folder(tmp_path / "bad", 4, (24, 40))
    rows = rows_of(bad)
    rows[2] |= change
    (bad / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert expected in refused(*words_for(use, bad, road, tmp_path / "out"))
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize(("use", "change"), [
    ("classifier", {"label": [1, 2]}), ("classifier", {"label": 0.5}), ("classifier", {"label": -1}),
    ("classifier", {"label": True}), ("gaze", {"gaze_pitch": 20.0}),
])
def test_labels_that_are_wrong_everywhere(use: str, change: dict[str, Any], road: Path, tmp_path: Path,
                                          call: Call) -> None:
    bad = write_folder(tmp_path / "bad", 4, (24, 40))
    (bad / "metadata.jsonl").write_text("".join(json.dumps(row | change) + "\n" for row in rows_of(bad)))
    code, _, complaint = call(*words_for(use, bad, road, tmp_path / "out"))
    assert code == 2 or change == {"label": True}, complaint
    assert "Traceback" not in complaint


@pytest.mark.parametrize("use", ["gaze", "evaluate", "classifier"])
def test_missing_labels(use: str, road: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    bad = write_folder(tmp_path / "bad", 4, (24, 40), labels=())
    assert "has no label" in refused(*words_for(use, bad, road, tmp_path / "out"))


@every_use
@pytest.mark.parametrize("size", [(1, 1), (24, 20_000), (3000, 4)])
def test_extreme_sizes_among_others(use: str, size: tuple[int, int], road: Path, tmp_path: Path, call: Call) -> None:
    """Where a size was decided, everything is brought to it; where this folder decides, it must be of one size."""
    bad = write_folder(tmp_path / "bad", 3, (24, 40))
    Image.fromarray(np.full(size, 100, np.uint8)).save(bad / "001.png")
    code, _, complaint = call(*words_for(use, bad, road, tmp_path / "out"))
    decides = use in ("simgan, synthetic", "gaze", "classifier")
    assert code == (2 if decides else 0), complaint
    if decides:
        assert complaint.count("\n") == 1 and "differ in size" in complaint


@pytest.mark.parametrize("use", ["simgan, synthetic", "gaze", "classifier"])
def test_nothing_but_pixels(use: str, road: Path, tmp_path: Path, call: Call) -> None:
    bad = write_folder(tmp_path / "bad", 3, (1, 1))
    code, _, complaint = call(*words_for(use, bad, road, tmp_path / "out"))
    assert code == 2 and complaint.count("\n") == 1 and "too small" in complaint, complaint


@every_use
def test_mixed_channels(use: str, road: Path, tmp_path: Path, call: Call) -> None:
    bad = write_folder(tmp_path / "bad", 3, (24, 40))
    Image.fromarray(np.full((24, 40, 3), 100, np.uint8)).save(bad / "001.png")
    code, _, complaint = call(*words_for(use, bad, road, tmp_path / "out"))
    decides = use in ("simgan, synthetic", "gaze", "classifier")
    assert code == (2 if decides else 0), complaint
    assert not decides or ("channels" in complaint and complaint.count("\n") == 1)


# ------------------------------------------------------------------------------------------------ bad places and disks


OUTS: dict[str, list[str]] = {
    "simulate": ["simulate", "digits", "--count", "3"],
    "train": ["train", "simgan", "--synthetic", "eyes", "--real", "photos", *TINY["simgan"]],
    "apply": ["apply", "refiner", "--input", "eyes", *CPU],
    "evaluate": ["evaluate", "gaze", "--data", "eyes", *CPU],
}
every_out = pytest.mark.parametrize("name", OUTS)


def words_to(name: str, road: Path, out: Path) -> list[str]:
    command, *rest = OUTS[name]
    keep = rest[:1] if command in ("train", "simulate") else []
    paths = {part: str(road / part) for part in ("photos", "eyes", "refiner", "gaze")}
    return [command, *keep, *[paths.get(word, word) for word in rest[len(keep):]], "--out", str(out)]


@every_out
def test_out_is_a_file(name: str, road: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "out").write_text("mine")
    assert "out: " in refused(*words_to(name, road, tmp_path / "out"))
    assert "out" in refused(*words_to(name, road, tmp_path / "out" / "below"))
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("name", ["simulate", "train", "apply"])
def test_out_holds_something_else(name: str, road: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert "holds other files" in refused(*words_to(name, road, tmp_path / "out"))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


@every_out
@pytest.mark.parametrize(("number", "advice"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "permission"),
                                                (errno.EROFS, "read-only")])
def test_a_disk_that_refuses(name: str, number: int, advice: str, road: Path, tmp_path: Path,
                             refused: Callable[..., str], call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half written, and when there is room again the same command goes on to the end."""
    replace = os.replace
    written: list[str] = []

    def full(source: Any, target: Any, **more: Any) -> None:
        written.append(str(target))
        if len(written) > 1 or name == "evaluate":
            raise OSError(number, os.strerror(number), str(target))
        replace(source, target, **more)

    monkeypatch.setattr(os, "replace", full)
    assert advice in refused(*words_to(name, road, tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.partial"))
    monkeypatch.setattr(os, "replace", replace)
    code, _, complaint = call(*words_to(name, road, tmp_path / "out"))
    assert code == 0, complaint


def test_a_full_disk_while_logging(road: Path, tmp_path: Path, refused: Callable[..., str],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """metrics.jsonl is appended to, not replaced."""
    def full(number: int) -> None:
        if os.readlink(f"/proc/self/fd/{number}").endswith("metrics.jsonl"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "disk is full" in refused(*words_to("train", road, tmp_path / "out"))


def test_export_where_it_cannot(road: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "is a folder" in refused("export", road / "gaze", "--out", tmp_path)
    assert "no such folder" in refused("export", road / "gaze", "--out", tmp_path / "no" / "model.onnx")
    assert "no such folder" in refused("export", tmp_path / "no", "--out", tmp_path / "model.onnx")


# ------------------------------------------------------------------------------------------------ damaged runs


def halve(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def uses_of(run: Path, road: Path, out: Path) -> list[list[str | Path]]:
    return [["apply", run, "--input", road / "eyes", "--out", out, *CPU],
            ["evaluate", run, "--data", road / "eyes", *CPU],
            ["export", run, "--out", out.with_suffix(".onnx")]]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"system": 3}', '{"system": "../core/fit"}',
                                  '{"system": "gaze"}',
                                  '{"system": "gaze", "config": []}', '{"system": "gaze", "config": {"chanels": 1}}',
                                  '{"system": "gaze", "config": {"channels": "one"}}'])
def test_damaged_config(text: str, road: Path, tmp_path: Path, copied: Callable[[str], Path],
                        refused: Callable[..., str]) -> None:
    run = copied("gaze")
    (run / "config.json").write_text(text)
    for words in uses_of(run, road, tmp_path / "out"):
        refused(*words)
    refused("train", "gaze", "--data", road / "refined", "--photos", road / "photos", "--out", run, *TINY["gaze"])
    assert not (tmp_path / "out").exists() and (run / "config.json").read_text() == text


@pytest.mark.parametrize("spoil", [halve, Path.unlink, lambda path: path.write_bytes(b""),
                                   lambda path: path.write_bytes(b"rubbish" * 999)])
def test_damaged_model(spoil: Callable[[Path], Any], road: Path, tmp_path: Path, copied: Callable[[str], Path],
                       refused: Callable[..., str]) -> None:
    run = copied("gaze")
    spoil(run / "model.safetensors")
    for words in uses_of(run, road, tmp_path / "out"):
        assert "model.safetensors" in refused(*words)


def test_model_of_another_run(road: Path, tmp_path: Path, copied: Callable[[str], Path],
                              refused: Callable[..., str]) -> None:
    run = copied("gaze")
    shutil.copy(road / "classifier" / "model.safetensors", run)
    assert "belongs to another model" in refused(*uses_of(run, road, tmp_path / "out")[0])


@pytest.mark.parametrize("spoil", [halve, lambda path: path.write_bytes(b""),
                                   lambda path: path.write_bytes(b"rubbish" * 999)])
def test_damaged_checkpoint(spoil: Callable[[Path], Any], road: Path, copied: Callable[[str], Path],
                            refused: Callable[..., str]) -> None:
    run = copied("classifier")
    spoil(run / "checkpoint")
    words = ["train", "classifier", "--data", road / "classes", "--out", run, *TINY["classifier"]]
    assert "checkpoint" in refused(*words)


def test_a_checkpoint_runs_no_code(road: Path, tmp_path: Path, copied: Callable[[str], Path],
                                   refused: Callable[..., str]) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "owned",))

    run = copied("classifier")
    (run / "checkpoint").write_bytes(pickle.dumps({"step": Evil()}))
    refused("train", "classifier", "--data", road / "classes", "--out", run, *TINY["classifier"])
    assert not (tmp_path / "owned").exists()


def test_wrong_kinds_of_runs(road: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "no config.json" in refused("apply", road / "eyes", "--input", road / "eyes", "--out", tmp_path / "out")
    assert "evaluate the task model" in refused("evaluate", road / "refiner", "--data", road / "eyes")
    assert "--noise-channels" in refused("apply", road / "refiner", "--input", road / "eyes", "--out", tmp_path / "out",
                                         "--variants", "3")
    assert "has no label 'no_column'" in refused("evaluate", road / "gaze", "--data", road / "eyes",
                                                 "--exclude", "no_column")


@pytest.mark.parametrize("words", [
    ["--steps", "0"], ["--batch-size", "0"], ["--batch-size", "-3"], ["--log-every", "0"], ["--checkpoint-every", "0"],
    ["--sample-every", "-1"], ["--features", "0"], ["--height", "-5"],
])
@pytest.mark.parametrize("name", ["gaze", "classifier", "simgan"])
def test_numbers_that_cannot_be(name: str, words: list[str], road: Path, tmp_path: Path,
                                refused: Callable[..., str]) -> None:
    data = ["--data", road / "refined"] if name == "gaze" else ["--data", road / "classes"]
    if name == "simgan":
        data = ["--synthetic", road / "eyes", "--real", road / "photos"]
    refused("train", name, *data, "--out", tmp_path / "out", *TINY[name], *words)
    assert not (tmp_path / "out" / "config.json").exists()


def test_numbers_that_cannot_be_elsewhere(road: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    out = tmp_path / "out"
    refused("simulate", "digits", "--out", out, "--count", "0")
    refused("apply", road / "refiner", "--input", road / "eyes", "--out", out, "--batch-size", "0")
    refused("apply", road / "refiner", "--input", road / "eyes", "--out", out, "--variants", "0")
    refused("evaluate", road / "gaze", "--data", road / "eyes", "--batch-size", "0")
    assert not out.exists()
    assert "no further words" in refused("list", "simulators")


# ------------------------------------------------------------------------------------------------ as a program


def test_as_a_program(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "migaki"]
    done = subprocess.run([*program, "train", "gaze", "--data", str(tmp_path), "--out", str(tmp_path / "run")],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.startswith("migaki: ") and done.stderr.count("\n") == 1
    assert done.stdout == ""
    listed = subprocess.run([*program, "list"], capture_output=True, text=True, timeout=120)
    assert listed.returncode == 0 and "simgan" in listed.stdout


def test_listing_needs_no_torch() -> None:
    """`migaki --help` and `migaki list` answer at once."""
    program = ("import sys; from migaki.cli import main; main(['--help']); main(['list']);"
               "print('torch' in sys.modules, file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stderr == "False\n" and "simgan" in done.stdout


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(f"{sys.executable} -m migaki list | true", shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
