"""The study of materials in its smallest form: every way has its row, and finished steps are not made again."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from migaki.core.errors import UserError
from migaki.lab.study import run_study
from migaki.simulate.textures import Textures
from migaki.stages.simulate import SimulateJob, simulate
from migaki.studies.materials import Materials
from migaki.studies.parts.materials_steps import split_step

SMALL = Materials.Config(materials=("cracked", "striped"), pools=("mean",), singles=2, most=2, size=32, side=32,
                         texture_count=40, train_count=4, test_count=3, steps=2, segmenter_steps=2, classifier_steps=2)


def table(out: Path, name: str) -> list[dict[str, str]]:
    with open(out / "tables" / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_way_has_its_row(tmp_path: Path) -> None:
    run_study("materials", Materials(SMALL), tmp_path, quiet=True)
    rows = table(tmp_path, "ways")
    assert [row["trained on"] for row in rows] == [
        "pasted (upper bound)", "mean of the Grams", "single picture 1", "single picture 2",
        "the pictures before the change"]
    assert [row["target"] for row in table(tmp_path, "materials")] == ["cracked", "striped"]
    assert all(float(row["px changed outside"]) == 0 for row in table(tmp_path, "materials"))
    assert [row[""] for row in table(tmp_path, "pooling")] == ["mean of the Grams", "best single picture",
                                                               "random single picture"]
    assert (tmp_path / "figures" / "pairs.png").stat().st_size > 1000
    style, judged = (sorted(path.read_bytes() for path in (tmp_path / "parted" / part).rglob("*.png"))
                     for part in ("style", "judged"))
    assert len(style) == len(judged) == 8 and not set(style) & set(judged)  # of 40 of five kinds, two are wanted
    test = [json.loads(line) for line in (tmp_path / "test_0" / "metadata.jsonl").read_text().splitlines()]
    assert test and all(row["label"] == 1 for row in test)  # no scene is changed into its own material
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("dataset.json")}
    run_study("materials", Materials(SMALL), tmp_path, quiet=True)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("dataset.json")}


def test_two_shots_of_one_thing_stay_on_one_side(tmp_path: Path) -> None:
    """Else a judge has seen what lends its style."""
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "words" / name).mkdir(parents=True)
        for number in range(8):
            shot = Image.fromarray(draw.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((40, 40))
            shot.save(tmp_path / "words" / name / f"{2 * number}.png")
            if number < 3:
                shot.resize((36, 36)).save(tmp_path / "words" / name / f"{2 * number + 1}.png")
    split_step(tmp_path / "words", (), tmp_path / "parted").work("")
    sides = {part: {path.stem for path in (tmp_path / "parted" / part / "a").iterdir()} for part in ("style", "judged")}
    assert sorted(map(len, sides.values())) == [5, 6]
    for first in (0, 2, 4):
        pair = {f"{first:05d}", f"{first + 1:05d}"}
        assert pair <= sides["style"] or pair <= sides["judged"]


def test_of_a_set_with_masks_the_material_alone_is_taken(tmp_path: Path) -> None:
    """Every thing is red on a green board: no green is left; things that are too small are left out."""
    draw, rows = np.random.default_rng(0), []
    for folder in ("image", "mask"):
        (tmp_path / "words" / folder).mkdir(parents=True)
    for name in ("a", "b"):
        for number in range(9):
            picture, mask = np.zeros((80, 90, 3), np.uint8), np.zeros((80, 90), np.uint8)
            picture[..., 1] = np.kron(draw.integers(99, 255, (8, 9)), np.ones((10, 10)))
            side = 8 if number == 8 else 50
            picture[10 : 10 + side, 20 : 20 + side] = np.kron(draw.integers(0, 255, (5, 5)), np.ones((side, side)))[
                :side, :side, None] * np.array([1, 0, 0])
            mask[10 : 10 + side, 20 : 20 + side] = 1
            Image.fromarray(picture).save(tmp_path / "words" / "image" / f"{name}{number}.png")
            Image.fromarray(mask).save(tmp_path / "words" / "mask" / f"{name}{number}.png")
            rows.append({"file_name": f"image/{name}{number}.png", "mask_file_name": f"mask/{name}{number}.png",
                         "label": name})
    (tmp_path / "words" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    split_step(tmp_path / "words", (), tmp_path / "parted").work("")
    made = sorted((tmp_path / "parted").rglob("*.png"))
    assert len(made) == 16 and all(Image.open(path).size[0] >= 24 for path in made)
    assert all(np.asarray(Image.open(path).convert("RGB"))[..., 1].max() == 0 for path in made)


def test_contradictions_are_refused_before_any_step(tmp_path: Path) -> None:
    simulate("textures", Textures(Textures.Config(size=16, kinds=("striped", "dotted"))),
             SimulateJob(out=tmp_path / "few", count=10), quiet=True)
    for own, said in (({"pools": ("median",)}, "give mean, apart, max, union"),
                      ({"singles": 1}, "--singles is at least 2"),
                      ({"texture_count": 10}, "--texture-count is at least 40"),
                      ({"materials": ("moss", "striped")}, "drawn materials are")):
        with pytest.raises(UserError, match=said):
            replace(SMALL, **own)
    wanted: tuple[tuple[tuple[str, ...], str], ...] = (((), "has 5 pictures of"), (("moss",), "'moss'"))
    for materials, said in wanted:
        with pytest.raises(UserError, match=said):
            run_study("materials", Materials(replace(SMALL, words=tmp_path / "few", materials=materials)),
                      tmp_path / "out", quiet=True)
        assert not (tmp_path / "out" / "parted").exists()
