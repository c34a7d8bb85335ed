"""Bad input for all commands that the README does not show: a table of uses and of faults of a folder.

A refusal is code 2 and one line that names what is bad; nothing is left half written.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from spoilt import (
    a_file,
    climbing_out,
    empty,
    missing,
    with_a_truncated_jpeg,
    with_broken_metadata,
    with_text_for_an_image,
    without_a_named_file,
)
from tiny_options import CPU, rows_of
from toy_folders import write_folder

from migaki.cli import COMMANDS, EARLIER, main
from migaki.commands import train_command
from migaki.core.discovery import names_in
from migaki.core.progress import Bar

Spoil = Callable[[Path], Any]
Check = Callable[..., str]

SIZE = (24, 40)
FEW = [*CPU, "--steps", "1", "--batch-size", "2", "--log-every", "1", "--sample-every", "0"]


class Use(NamedTuple):
    """A command line: BAD is the spoilt folder, PAIRS the one around it, FEW the options of a short training."""

    words: str
    where: str = "bad"  # the folder's place
    decides: bool = False  # whether it decides size and channels, so that its images must be alike
    headers: bool = False  # whether pixels are not read, so that a truncated file goes unseen
    labels: tuple[str, ...] = ()  # what every row must have
    count: int = 4  # images in it


DAMAGES = {f"simulate {name}": Use(f"simulate {name} --input BAD --out OUT") for name in names_in("simulate", "Damage")}
USES: dict[str, Use] = {
    "simulate rain": DAMAGES["simulate rain"],
    "deep_detail": Use("train deep_detail --photos BAD --patch 16 --features 4 FEW"),
    "pix2pix, target": Use("train pix2pix --target BAD --damage grey --channels 1 --patch 24 --features 4 --levels 2 "
                           "FEW"),
    "pix2pix, input": Use("train pix2pix --target PAIRS/target --input BAD --patch 24 --features 4 --levels 2 FEW",
                          where="pairs/input"),
    "super_resolution": Use("train super_resolution --photos BAD --patch 8 FEW"),
    "colourisation": Use("train colourisation --photos BAD --patch 16 --features 4 --levels 2 FEW"),
    "hourglass": Use("train hourglass --data BAD --features 4 --depth 2 FEW", decides=True, labels=("joints",)),
    "hourglass, photos": Use("train hourglass --data GOOD --photos BAD --features 4 --depth 2 FEW"),
    "landmarks": Use("train landmarks --data BAD --landmarks pupil_centre --features 4 FEW", decides=True,
                     labels=("pupil_x", "pupil_y")),
    "adapted_classifier": Use("train adapted_classifier --data BAD --photos GOOD --features 4 FEW", decides=True,
                              labels=("label",)),
    "adapted_classifier, photos": Use("train adapted_classifier --data GOOD --photos BAD --features 4 FEW"),
    "apply, restorer": Use("apply RESTORER --input BAD --out OUT CPU"),
    "evaluate, restorer, input": Use("evaluate RESTORER --data PAIRS --out OUT CPU", where="pairs/input"),
    "evaluate, restorer, target": Use("evaluate RESTORER --data PAIRS --out OUT CPU", where="pairs/target"),
    "frame": Use("apply frame --input BAD --out OUT --size 16 --box 12"),
    "drift, before": Use("drift --before BAD --after GOOD --estimator ESTIMATOR --out OUT --device cpu", decides=True),
    "drift, after": Use("drift --before GOOD --after BAD --estimator ESTIMATOR --out OUT --device cpu"),
    "turing, real": Use("turing --real BAD --fake GOOD --out OUT --per-class 4 --port 0"),
    "turing, fake": Use("turing --real GOOD --fake BAD --out OUT --per-class 4 --port 0"),
    "demo": Use("demo eyes --real BAD --out OUT", headers=True, count=64),
    "export coco": Use("export BAD --format coco --out OUT", headers=True),
}
IMPORTS = {name: Use(f"import {name} BAD --out OUT") for name in names_in("importers", "Importer")}
IMPORTS |= {"digits, mnist": Use("study digits --mnist BAD --out OUT"),
            "digits, usps": Use("study digits --mnist MNIST --usps BAD --out OUT")}
every_use = pytest.mark.parametrize("use", USES)


def labelled(folder: Path, count: int) -> Path:
    """Small discs in colour with the labels of all the uses."""
    write_folder(folder, count, SIZE, channels=3)
    write_rows(folder, [row | {"pupil_x": 20.0, "pupil_y": 12.0, "joints": [[20.0, 12.0, 1.0], [4.0, 2.0, 1.0]]}
                        for row in rows_of(folder)])
    return folder


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the uses name: a good folder, a restorer and an estimator."""
    root = tmp_path_factory.mktemp("places")
    good = labelled(root / "good", 4)
    for name, words in (("deep_detail", ["--photos", str(good), "--patch", "16"]), ("gaze", ["--data", str(good)])):
        assert main(["train", name, *words, "--out", str(root / name), "--features", "4", *FEW]) == 0
    digits = np.zeros((2, 28, 28), np.uint8), np.arange(2, dtype=np.uint8)
    np.savez(root / "mnist.npz", x_train=digits[0], y_train=digits[1], x_test=digits[0], y_test=digits[1])
    return {"MNIST": str(root / "mnist.npz"), "GOOD": str(good),
            "RESTORER": str(root / "deep_detail"), "ESTIMATOR": str(root / "gaze")}


@pytest.fixture
def words_for(places: dict[str, str], tmp_path: Path) -> Callable[..., list[str]]:
    """The command line of a use on a folder that `spoil` has been at."""

    def make(use: Use, spoil: Spoil | None = None) -> list[str]:
        bad, out = tmp_path / use.where, tmp_path / "out"
        if not bad.parent.exists() or use.where == "bad":
            labelled(bad, use.count)
            if use.where != "bad":
                shutil.copytree(bad, bad.parent / ("target" if bad.name == "input" else "input"))
        if spoil is not None:
            spoil(bad)
        told = {**places, "BAD": str(bad), "PAIRS": str(bad.parent), "OUT": str(out), "CPU": " ".join(CPU),
                "FEW": f"--out {out} {' '.join(FEW)}"}
        return re.sub("|".join(told), lambda found: told[found[0]], use.words).split()

    return make


@pytest.fixture
def refusal(words_for: Callable[..., list[str]], refused: Callable[..., str], tmp_path: Path) -> Check:
    """Run a use that must fail; nothing is half written. Returns the line."""

    def run(use: Use, spoil: Spoil | None = None) -> str:
        line = refused(*words_for(use, spoil))
        left = {path.name for path in (tmp_path / "out").rglob("*")} if (tmp_path / "out").is_dir() else set()
        whole = {"model.safetensors", "evaluation.json", "drift.json", "turing.sqlite", "report.html"}
        if "study" not in use.words:  # what it had imported before is whole
            whole |= {"dataset.json", "metadata.jsonl"}
        assert not left & whole and not [name for name in left if name.endswith(".partial") or name == ".lock"], left
        return line

    return run


def test_every_command_is_tried() -> None:
    """Here or in test_bad_folders.py; `adapt` in studies/test_adapt.py. The rest reads no folder."""
    words = [use.words.split()[0] for use in (*USES.values(), *IMPORTS.values())]
    assert set(COMMANDS) == {*words, "adapt", "list", "completion"} - set(EARLIER) | {"serve"}


# ------------------------------------------------------------------------------------------------ folders


SPOILS: dict[str, tuple[Spoil, str]] = {
    "text": (with_text_for_an_image, "001.png"), "truncated": (with_a_truncated_jpeg, "001.png"),
    "lost": (without_a_named_file, "'001.png', which is missing"),
    "climbing": (climbing_out, "leads out of the folder"), "broken": (with_broken_metadata, "metadata.jsonl: line 1"),
    "empty": (empty, "holds no images"), "missing": (missing, "no such folder"), "file": (a_file, ""),
}


@every_use
@pytest.mark.parametrize("kind", SPOILS)
def test_spoilt_folders(use: str, kind: str, refusal: Check) -> None:
    how, (spoil, expected) = USES[use], SPOILS[kind]
    if kind == "truncated" and (how.headers or how.decides):
        pytest.skip("sees headers alone, or is stopped by them: the truncated picture is grey")
    line = refusal(how, spoil)
    assert (f"{how.where}: " in line or f"{how.where}/" in line) and expected in line


@pytest.mark.parametrize("use", DAMAGES)
@pytest.mark.parametrize("kind", ["text", "missing"])
def test_every_damage(use: str, kind: str, refusal: Check) -> None:
    assert SPOILS[kind][1] in refusal(DAMAGES[use], SPOILS[kind][0])


@pytest.mark.parametrize("use", IMPORTS)
@pytest.mark.parametrize("spoil", [empty, missing, a_file])
def test_importers_and_their_studies(use: str, spoil: Spoil, refusal: Check) -> None:
    assert "bad" in refusal(IMPORTS[use], spoil)


# ------------------------------------------------------------------------------------------------ sizes, labels


def resized(folder: Path, size: tuple[int, ...]) -> None:
    Image.fromarray(np.full(size, 100, np.uint8)).save(folder / "001.png")


ODD = {"1x1": (1, 1, 3), "wide": (24, 20_000, 3), "grey": SIZE}
FITS = {  # whether such a picture is done with; where not, it is named
    "simulate rain": "1x1 wide grey", "deep_detail": "wide grey", "pix2pix, target": "wide grey",
    "pix2pix, input": "grey", "super_resolution": "wide grey", "colourisation": "wide grey",
    "hourglass, photos": "1x1 wide grey", "adapted_classifier, photos": "1x1 wide grey",
    "apply, restorer": "1x1 wide grey", "evaluate, restorer, input": "grey", "evaluate, restorer, target": "grey",
    "drift, after": "1x1 wide grey", "frame": "1x1 wide grey",
}


@pytest.mark.parametrize("use", [*FITS, *(name for name, use in USES.items() if use.decides)])
@pytest.mark.parametrize("kind", ODD)
def test_odd_pictures_among_others(use: str, kind: str, refusal: Check, words_for: Callable[..., list[str]],
                                   call: Callable[..., tuple[int, str, str]]) -> None:
    how = USES[use]

    def spoil(folder: Path) -> None:
        resized(folder, ODD[kind])

    if kind in FITS.get(use, "").split():
        code, _, complaint = call(*words_for(how, spoil))
        assert code == 0, complaint
        return
    line = refusal(how, spoil)
    assert "001.png" in line
    assert not how.decides or ("differ in channels" if kind == "grey" else "differ in size") in line


def test_a_blur_names_what_it_cannot_make_smaller(refusal: Check) -> None:
    assert "001.png: is 1 x 1, too small" in refusal(DAMAGES["simulate blur"], lambda bad: resized(bad, (1, 1, 3)))


@pytest.mark.parametrize("damage", ["grey", "blur"])
def test_a_damage_that_makes_other_channels(damage: str, refusal: Check) -> None:
    channels = 3 if damage == "grey" else 1
    use = Use(f"train pix2pix --target BAD --damage {damage} --channels {channels} FEW")
    assert f"--damage {damage} makes inputs of {4 - channels} channels" in refusal(use)


@pytest.mark.parametrize("use", [name for name, use in USES.items() if use.labels])
@pytest.mark.parametrize("value", [float("nan"), None, "left", "none at all"])
def test_bad_labels(use: str, value: Any, refusal: Check) -> None:
    key = USES[use].labels[0]

    def spoil(folder: Path) -> None:
        rows = rows_of(folder)
        if value == "none at all":
            rows = [{name: told for name, told in row.items() if name not in USES[use].labels} for row in rows]
        else:
            rows[2][key] = [[value, 1.0, 1.0], [4.0, 2.0, 1.0]] if key == "joints" and value is not None else value
        write_rows(folder, rows)

    line = refusal(USES[use], spoil)
    assert "bad" in line and ("joints" in line or "pupil" in line or "label" in line)


# ------------------------------------------------------------------------------------------------ places and disks


WRITES = ["simulate rain", "deep_detail", "landmarks", "apply, restorer", "evaluate, restorer, input", "frame",
          "drift, after", "export coco"]


@pytest.mark.parametrize("use", [*(name for name in WRITES if name != "export coco"), "turing, real", "demo"])
def test_out_that_is_a_file(use: str, refusal: Check, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    assert f"{tmp_path / 'out'}" in refusal(USES[use]) and (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("use", ["deep_detail", "apply, restorer", "frame"])
def test_out_that_holds_something_else(use: str, refusal: Check, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert "holds other files" in refusal(USES[use]) and (tmp_path / "out" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("use", WRITES)
def test_a_full_disk(use: str, refusal: Check, tmp_path: Path, words_for: Callable[..., list[str]],
                     call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """At the second file: nothing is half written, and the same command then continues to the end."""
    replace, seen = os.replace, []

    def full(source: Any, target: Any, **more: Any) -> None:
        seen.append(target)
        if len(seen) > 1 or use == "export coco":  # which writes one file alone
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target, **more)

    monkeypatch.setattr(os, "replace", full)
    assert "disk is full" in refusal(USES[use])
    monkeypatch.setattr(os, "replace", replace)
    shutil.rmtree(tmp_path / USES[use].where.split("/")[0])
    code, _, complaint = call(*words_for(USES[use]))
    assert code == 0, complaint


@pytest.mark.parametrize("use", ["simulate rain", "apply, restorer", "evaluate, restorer, input", "drift, after"])
def test_an_interrupt(use: str, tmp_path: Path, words_for: Callable[..., list[str]],
                      call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Bar, "advance", stopped)
    code, _, complaint = call(*words_for(USES[use]))
    assert code == 130 and complaint.endswith("migaki: interrupted: run the same command again to go on\n"), complaint
    assert not [path for path in (tmp_path / "out").rglob("*")
                if path.name in ("dataset.json", "evaluation.json", "drift.json") or path.suffix == ".partial"]


def test_an_interrupt_over_which_a_library_stumbles(monkeypatch: pytest.MonkeyPatch,
                                                    call: Callable[..., tuple[int, str, str]]) -> None:
    def stumbled(_: list[str]) -> int:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("unexpected pos 64 vs 0")

    monkeypatch.setattr(train_command, "run", stumbled)
    code, _, complaint = call("train")
    assert code == 130 and complaint == "migaki: interrupted: run the same command again to go on\n"
