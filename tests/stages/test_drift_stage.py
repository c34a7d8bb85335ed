"""Drift between folders, as a column of `apply` and as a report: against pictures that were moved by a known amount."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from disc_places import write_places
from toy_folders import write_folder

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.data.writers.writer import FolderWriter
from migaki.judges.drift import Drift, pair
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.evaluate import judge_into
from migaki.stages.train import train
from migaki.systems.simgan import SimGAN

RUN = Run(device="cpu", precision="fp32", log_every=20, sample_every=0)
CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, estimators: dict[str, Path]) -> dict[str, Path]:
    """Estimators of discs, a refiner with noise that knows the gaze one, and discs that none of them has seen."""
    root = tmp_path_factory.mktemp("parts")
    write_folder(root / "real", 8, (24, 40), real=True, labels=())
    tiny = replace(SimGAN.tiny()[0], channels=0, height=0, width=0, shortcut=False, ema=0.0, consistency=1.0)
    data = SimGAN.Data(synthetic=estimators["seen"], real=root / "real", estimator=estimators["gaze"])
    train(SimGAN, data, tiny, RUN, root / "refiner", quiet=True)
    train(SimGAN, replace(data, estimator=None), tiny, RUN, root / "plain", quiet=True)
    write_places(root / "before", 24, seed=1)
    write_places(root / "right", 24, seed=1, shift=(2, 0))
    write_places(root / "flat", 24, seed=1, flat=0.3)
    return estimators | {path.name: path for path in root.iterdir()}


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def compare(parts: dict[str, Path], after: Path, out: Path, *estimators: str) -> list[dict[str, Any]]:
    config = Drift.Config(before=parts["before"], after=after, estimator=tuple(parts[name] for name in estimators),
                          device="cpu")
    _, findings = judge_into(Drift(config), (), out, command="migaki drift", quiet=True)
    found: list[dict[str, Any]] = findings.record["rows"]
    return found


# ------------------------------------------------------------------------------------------------ the report


def test_a_known_shift_is_found(parts: dict[str, Path], tmp_path: Path) -> None:
    """Two pixels of 40 are 2.75 px at the eye width of 55; a flatter picture has its places where they were."""
    moved = compare(parts, parts["right"], tmp_path / "right", "places", "gaze", "classes")
    assert [(row["estimator"], row["label"], row["unit"]) for row in moved] == [
        ("places", "pupil_centre", "px"), ("places", "iris_outline", "px"), ("gaze", "gaze", "deg"),
        ("classes", "label", "%")]
    for row in moved[:2]:
        assert row["drift"]["mean"] == pytest.approx(2.75, abs=0.9) and row["bias"] == pytest.approx(2.75, abs=0.9)
        assert row["images"] == 24 and row["error_before"]["mean"] < row["error_after"]["mean"]
    assert moved[3]["bias"] is None
    flat = compare(parts, parts["flat"], tmp_path / "flat", "places")
    assert flat[0]["drift"]["mean"] < 0.5 * moved[0]["drift"]["mean"]
    same = compare(parts, parts["before"], tmp_path / "same", "places", "gaze", "classes")
    for row in same:
        assert row["drift"]["mean"] < 1e-4 and row["error_before"] == row["error_after"]


def test_the_report_says_the_same_everywhere(parts: dict[str, Path], tmp_path: Path) -> None:
    found = compare(parts, parts["right"], tmp_path, "places", "gaze")
    record = json.loads((tmp_path / "drift.json").read_text())
    assert record["rows"] == found and record["estimators"] == [str(parts["places"]), str(parts["gaze"])]
    with open(tmp_path / "images.csv", newline="") as file:
        images = list(csv.DictReader(file))
    assert [row["file_name"] for row in images] == [f"{index:03d}.png" for index in range(24)]
    for row, column in zip(found, ("places/pupil_centre_px", "places/iris_outline_px", "gaze/gaze_deg"), strict=True):
        values = [float(image[column]) for image in images]
        assert sum(values) / 24 == pytest.approx(row["drift"]["mean"], abs=1e-3)
        assert f"{row['drift']['mean']:.2f} ± {row['drift']['std']:.2f}" in (tmp_path / "drift.md").read_text()
    with open(tmp_path / "drift.csv", newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["pupil_centre", "iris_outline", "gaze"]
    page = (tmp_path / "drift.html").read_text()
    assert "migaki drift" in page and (tmp_path / "worst.png").read_bytes()[:4] == b"\x89PNG"


def test_unlabelled_images_have_a_drift_without_an_error(parts: dict[str, Path], tmp_path: Path) -> None:
    bare = write_folder(tmp_path / "bare", 5, (24, 40), labels=())
    judge = Drift(Drift.Config(before=bare, after=bare, estimator=(parts["places"],), device="cpu"))
    for row in judge_into(judge, (), tmp_path / "out", quiet=True)[1].record["rows"]:
        assert row["drift"]["mean"] == 0 and row["error_before"] is row["error_after"] is None


def test_folders_that_do_not_belong_together(parts: dict[str, Path], tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", 30, (24, 40), labels=())
    with pytest.raises(UserError, match=r"'024.png' has no image of that name"):
        compare(parts, other, tmp_path / "out", "gaze")
    large = write_folder(tmp_path / "large", 3, (30, 44), labels=())
    with pytest.raises(UserError, match="reads images of 40x24"):
        judge_into(Drift(Drift.Config(before=large, after=large, estimator=(parts["gaze"],))), (), tmp_path / "out",
                   quiet=True)


# ------------------------------------------------------------------------------------------------ apply


def test_apply_tells_the_drift_that_the_report_measures(parts: dict[str, Path], tmp_path: Path) -> None:
    """The column speaks of the pictures as they are written, so that it can be checked from the files alone."""
    out = apply(parts["refiner"], ApplyJob(input=parts["before"], out=tmp_path / "out", estimator=parts["places"],
                                           batch_size=7, **CPU), quiet=True)
    compare(parts, out, tmp_path / "report", "places")
    with open(tmp_path / "report" / "images.csv", newline="") as file:
        for row, image in zip(rows(out), csv.DictReader(file), strict=True):
            each = [float(image["places/pupil_centre_px"]), float(image["places/iris_outline_px"])]
            assert [row["drift_pupil_centre"], row["drift_iris_outline"]] == pytest.approx(each, abs=2e-3)
            assert row["drift"] == pytest.approx(sum(each) / 2, abs=2e-3) and row["drift"] > 0
    record = json.loads((out / "dataset.json").read_text())
    assert record["drift_unit"] == "px" and "reject_drift" not in record
    for row, old in zip(rows(out), rows(parts["before"]), strict=True):
        assert {key: row[key] for key in old} == old


def test_a_refiner_knows_its_estimator(parts: dict[str, Path], tmp_path: Path) -> None:
    known = apply(parts["refiner"], ApplyJob(input=parts["before"], out=tmp_path / "known", **CPU), quiet=True)
    assert all("drift" in row and "drift_gaze" not in row for row in rows(known))
    assert json.loads((known / "dataset.json").read_text())["drift_unit"] == "deg"
    plain = apply(parts["plain"], ApplyJob(input=parts["before"], out=tmp_path / "plain", **CPU), quiet=True)
    assert rows(plain) == rows(parts["before"])


def test_an_estimator_that_is_gone_is_reported(parts: dict[str, Path], tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without the column that one counts on must not come in silence."""
    shutil.copytree(parts["refiner"], tmp_path / "refiner")
    record = json.loads((tmp_path / "refiner" / "config.json").read_text())
    record["data"]["estimator"] = str(tmp_path / "gone")
    (tmp_path / "refiner" / "config.json").write_text(json.dumps(record))
    out = apply(tmp_path / "refiner", ApplyJob(input=parts["before"], out=tmp_path / "out", device="cpu"))
    assert "drift" not in ImageFolder(out).labels
    assert f"{tmp_path / 'gone'}: the estimator that this refiner was trained with is gone" in capsys.readouterr().err


@pytest.mark.parametrize("size", [5, 64])
def test_the_worst_are_left_out(parts: dict[str, Path], tmp_path: Path, size: int) -> None:
    job = ApplyJob(input=parts["before"], out=tmp_path / "all", batch_size=size, **CPU)
    every = rows(apply(parts["refiner"], job, quiet=True))
    limit = sorted(row["drift"] for row in every)[15] + 1e-4
    job = replace(job, reject_drift=f"{limit:.5f}deg")
    good = apply(parts["refiner"], replace(job, out=tmp_path / "good"), quiet=True)
    kept = [row for row in every if row["drift"] <= round(limit, 5)]
    assert rows(good) == kept and len(kept) == 16
    assert ImageFolder(good).names == sorted(path.name for path in good.glob("*.png"))
    flagged = rows(apply(parts["refiner"], replace(job, out=tmp_path / "flagged", rejected="flag"), quiet=True))
    assert [{k: v for k, v in row.items() if k != "rejected"} for row in flagged] == every
    assert [row["file_name"] for row in flagged if not row["rejected"]] == [row["file_name"] for row in kept]


def test_an_interrupted_rejection_goes_on(parts: dict[str, Path], tmp_path: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    job = ApplyJob(input=parts["before"], out=tmp_path / "whole", batch_size=4, **CPU)
    limit = sorted(row["drift"] for row in rows(apply(parts["refiner"], job, quiet=True)))[10]
    job = replace(job, out=tmp_path / "straight", reject_drift=f"{limit + 1e-4:.4f}deg")
    apply(parts["refiner"], job, quiet=True)
    skip, calls = FolderWriter.skip, []

    def dying(self: FolderWriter, index: int) -> None:
        calls.append(index)
        if len(calls) == 7:
            raise KeyboardInterrupt
        skip(self, index)

    monkeypatch.setattr(FolderWriter, "skip", dying)
    job = replace(job, out=tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        apply(parts["refiner"], job, quiet=True)
    for _ in range(2):
        apply(parts["refiner"], job, quiet=True)
    files = [{path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
             for folder in (tmp_path / "straight", tmp_path / "killed")]
    assert files[0] == files[1] and 8 < len(files[0]) < 20
    again = {index for index in calls if calls.count(index) > 1}
    assert again and {index // 4 for index in again} == {calls[6] // 4}  # what it died at and was on its way with
    with pytest.raises(UserError, match="another reject_drift"):
        apply(parts["refiner"], replace(job, reject_drift="90deg"), quiet=True)


def test_variants_differ_and_each_has_its_drift(parts: dict[str, Path], tmp_path: Path) -> None:
    out = apply(parts["refiner"], ApplyJob(input=parts["before"], out=tmp_path / "out", variants=3, **CPU), quiet=True)
    images = ImageFolder(out).read(range(72), ("image",))["image"].view(24, 3, -1)
    between = (images[:, 0] - images[:, 1]).abs().mean(1)
    assert (between > 1e-3).all()
    found = compare(parts, out, tmp_path / "report", "gaze")
    drifts = torch.tensor([row["drift"] for row in rows(out)])
    assert found[0]["images"] == 72 and found[0]["drift"]["mean"] == pytest.approx(drifts.mean().item(), abs=1e-2)
    assert (drifts.view(24, 3).std(1) > 0).all()


def renamed(folder: Path, out: Path, names: list[str]) -> Path:
    """The first images of a folder under other names."""
    out.mkdir()
    for row, name in zip(rows(folder), names, strict=False):
        shutil.copy(folder / row["file_name"], out / name)
    return out


def pairs(before: Path, after: Path) -> dict[str, str]:
    """Name after: name before."""
    first, second = ImageFolder(before), ImageFolder(after)
    return {second.names[b]: first.names[a] for a, b in pair(first, second)}


VARIANTS = {"p_0.png": "p.png", "p_1.png": "p.png", "p_1_0.png": "p_1.png", "p_1_1.png": "p_1.png"}
"""What `apply --variants 2` makes of two images of which one has the name of a variant of the other."""


def test_a_variant_is_not_taken_for_an_image_of_its_name(parts: dict[str, Path], tmp_path: Path) -> None:
    before = renamed(parts["before"], tmp_path / "before", ["p.png", "p_1.png"])
    job = ApplyJob(input=before, out=tmp_path / "two", variants=2, **CPU)
    two = apply(parts["refiner"], job, quiet=True)
    made = rows(two)
    assert [row["file_name"] for row in made] == list(VARIANTS)  # each its own file, none written over
    assert len({(two / name).read_bytes() for name in VARIANTS}) == 4
    assert pairs(before, two) == VARIANTS
    judge = Drift(Drift.Config(before=before, after=two, estimator=(parts["gaze"],), device="cpu"))
    judge_into(judge, (), tmp_path / "report", quiet=True)
    with open(tmp_path / "report" / "images.csv", newline="") as file:
        for row, image in zip(made, csv.DictReader(file), strict=True):
            assert float(image["gaze/gaze_deg"]) == pytest.approx(row["drift"], abs=2e-3)
    one = apply(parts["refiner"], ApplyJob(input=before, out=tmp_path / "one", **CPU), quiet=True)
    assert pairs(before, one) == {"p.png": "p.png", "p_1.png": "p_1.png"}


def test_what_dataset_json_says_decides_between_two_readings(parts: dict[str, Path], tmp_path: Path) -> None:
    """The record counts only if it names that folder: `p_1` alone may be either."""
    before = renamed(parts["before"], tmp_path / "before", ["p.png", "p_1.png"])
    after = renamed(parts["before"], tmp_path / "after", ["p_1.png"])
    said = {"variants": 2, "parent_fingerprint": ImageFolder(before).fingerprint}
    for made, expected in ((said, "p.png"), (said | {"variants": 1}, "p_1.png")):
        (after / "dataset.json").write_text(json.dumps(made))
        assert pairs(before, after) == {"p_1.png": expected}
    for made in ({}, said | {"parent_fingerprint": "0"}, said | {"variants": "two"}):
        (after / "dataset.json").write_text(json.dumps(made))
        with pytest.raises(UserError, match=r"'p_1.png' may be 'p_1.png' of .*before or a variant of 'p.png': give as"):
            pairs(before, after)
    (after / "p_7.png").write_bytes((after / "p_1.png").read_bytes())
    (after / "dataset.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match=r"'p_7.png' has no image of that name"):
        pairs(before, after)


@pytest.mark.parametrize(("before", "after"), [
    (["p.png", "p_1.png"], VARIANTS),
    (["p.png", "p_1.png"], {"p.png": "p.png", "p_1.png": "p_1.png"}),  # `p` is a variant of nothing
    (["a.jpg", "a_b.x.jpg"], {"a.png": "a.jpg", "a_b.x.png": "a_b.x.jpg"}),
    (["a.png", "b.png"], {"a_3.png": "a.png", "b.png": "b.png"}),
])
def test_names_of_one_reading_need_no_dataset_json(parts: dict[str, Path], tmp_path: Path, before: list[str],
                                                   after: dict[str, str]) -> None:
    folders = [renamed(parts["before"], tmp_path / name, list(names))
               for name, names in (("before", before), ("after", after))]
    assert pairs(*folders) == after


def test_names_that_differ_in_their_endings_alone(parts: dict[str, Path], tmp_path: Path) -> None:
    both = renamed(parts["before"], tmp_path / "both", ["p.png", "p.bmp"])
    with pytest.raises(UserError, match=r"both: 'p.bmp' and 'p.png' differ only in their ending"):
        pairs(both, both)
    with pytest.raises(UserError, match=r"both: the outputs of 'p.bmp' and 'p.png' would have the same name"):
        apply(parts["refiner"], ApplyJob(input=both, out=tmp_path / "out", **CPU), quiet=True)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="would have the same name"):  # readers of shards refuse equal names too
        apply(parts["refiner"], ApplyJob(input=both, out=tmp_path / "tar", format="webdataset", **CPU), quiet=True)


@pytest.mark.parametrize(("options", "complaint"), [
    ({"rejected": "flag"}, "--rejected flag: nothing is rejected without a limit: give --reject-drift"),
    ({"reject_drift": "1px"}, "--reject-drift 1px: the estimator .*gaze reads deg, not px"),
    ({"reject_drift": "one"}, "--reject-drift one: give a positive number"),
    ({"reject_drift": "0.0001deg"}, "every image was left out"),
])
def test_rejections_that_cannot_be(parts: dict[str, Path], tmp_path: Path, options: dict[str, Any],
                                   complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        apply(parts["refiner"], ApplyJob(input=parts["before"], out=tmp_path / "out", **options, **CPU), quiet=True)
    assert "\n" not in str(caught.value)


def test_rejection_needs_an_estimator_and_a_picture(parts: dict[str, Path], tmp_path: Path) -> None:
    job = ApplyJob(input=parts["before"], out=tmp_path / "out", reject_drift="1px", **CPU)
    with pytest.raises(UserError, match="drift needs an estimator"):
        apply(parts["plain"], job, quiet=True)
    with pytest.raises(UserError, match="makes no pictures"):
        apply(parts["gaze"], replace(job, estimator=parts["places"]), quiet=True)


def test_the_commands(parts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["drift", "--before", parts["before"], "--after", parts["flat"], "--estimator", parts["places"],
             parts["gaze"], "--out", tmp_path / "out", "--device", "cpu"]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr().out
    assert "places/pupil_centre_px " in said and "between different images" in said and "drift.html" in said
    assert main([str(word) for word in [*words[:5], "--estimator", "--out", tmp_path / "none"]]) == 2
    assert main(["apply", str(parts["refiner"]), "--input", str(parts["before"]), "--out", str(tmp_path / "good"),
                 "--reject-drift", "90deg", "--rejected", "flag", "--device", "cpu"]) == 0
    assert all(row["rejected"] == 0 and row["drift"] < 90 for row in rows(tmp_path / "good"))
