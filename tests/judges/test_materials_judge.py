"""`evaluate materials`: the bounds lie where they must, pictures are compared pair by pair, mistakes are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from migaki.changes.material import Material
from migaki.cli import main
from migaki.core.fit import Run
from migaki.judges.materials import Materials
from migaki.simulate.material_scenes import MaterialScenes
from migaki.simulate.textures import Textures
from migaki.stages.apply import ApplyJob, apply_change
from migaki.stages.simulate import SimulateJob, simulate
from migaki.stages.train import train
from migaki.systems.classifier import Classifier
from migaki.systems.segmenter import Segmenter

RUN = Run(device="cpu", log_every=20, sample_every=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two materials, a segmenter and a classifier that know them, and scenes changed in two ways."""
    place = tmp_path_factory.mktemp("judge")
    kinds = ("cracked", "striped")
    simulate("textures", Textures(Textures.Config(size=32, kinds=kinds)), SimulateJob(out=place / "words", count=16),
             quiet=True)
    simulate("material_scenes", MaterialScenes(MaterialScenes.Config(size=32)), SimulateJob(out=place / "scenes",
                                                                                           count=10), quiet=True)
    train(Segmenter, Segmenter.Data(data=(place / "scenes",)), Segmenter.Config(steps=4, batch_size=4, features=4,
                                                                                validate=0.0), RUN,
          place / "segmenter", quiet=True)
    train(Classifier, Classifier.Data(data=(place / "words",)), Classifier.Config(steps=4, batch_size=4, features=4),
          RUN, place / "classifier", quiet=True)
    for name, own in (("pasted", {"how": "paste"}), ("styled", {})):
        change = Material(Material.Config(to="striped", words=place / "words", cluster=0, steps=3, side=32, pages=0,
                                          **own))  # type: ignore[arg-type]
        apply_change("material", change, ApplyJob(input=place / "scenes", out=place / name), quiet=True)
    return place


def judged(root: Path, **own: Any) -> Any:
    config = Materials.Config(**{"data": root / "styled", "untouched": root / "scenes",
                                 "segmenter": root / "segmenter", "recogniser": root / "classifier"} | own)
    return Materials(config).judge([], lambda done, total: None)


def test_figures_baseline_and_pairs(root: Path) -> None:
    found = judged(root, against=(root / "pasted",))
    figures = found.figures
    assert figures["count"] == 10 and figures["changed_outside"] == 0
    assert 0 <= figures["pixel_accuracy"] <= 1 and 0 <= figures["miou"] <= 1
    assert figures["recognised_low"] <= figures["recognised"] <= figures["recognised_high"]
    assert figures["edges_kept"] < 1 and found.baseline["edges_kept"] == pytest.approx(1)
    assert found.baseline["changed_outside"] == 0 and found.record["target"] == "striped"
    pasted = judged(root, data=root / "pasted").figures
    assert figures["recognised_minus_0"] == pytest.approx(figures["recognised_share"] - pasted["recognised_share"],
                                                          abs=1e-6)
    lines = found.files["each.csv"].decode().splitlines()
    assert len(lines) == 11 and lines[0].startswith("file_name,region_read_as_target")
    shares = [float(line.rsplit(",", 2)[1]) for line in lines[1:]]
    assert sum(shares) / 10 == pytest.approx(figures["recognised_share"], abs=1e-4)
    alone = judged(root, recogniser=None).figures
    assert "recognised" not in alone and alone["miou"] == figures["miou"]


def test_a_change_outside_is_counted(root: Path, tmp_path: Path) -> None:
    import shutil

    from PIL import Image

    shutil.copytree(root / "styled", tmp_path / "touched")
    row = json.loads((tmp_path / "touched" / "metadata.jsonl").read_text().splitlines()[0])
    path = tmp_path / "touched" / row["file_name"]
    image = Image.open(path).convert("RGB")
    image.putpixel((0, 0), tuple(255 - value for value in image.getpixel((0, 0))))  # type: ignore[union-attr]
    image.save(path)
    assert judged(root, data=tmp_path / "touched", recogniser=None).figures["changed_outside"] == 1


@pytest.mark.parametrize(("words", "said"), [
    ("--data {root}/styled --untouched {root}/scenes", "give --segmenter, --recogniser or both"),
    ("--data {root}/scenes --untouched {root}/scenes --segmenter {root}/segmenter", "has no regions"),
    ("--data {root}/styled --untouched {root}/words --segmenter {root}/segmenter", "has 10 pictures, and"),
    ("--data {root}/styled --untouched {root}/scenes --segmenter {root}/classifier", "makes no masks"),
    ("--data {root}/styled --untouched {root}/scenes --segmenter {root}/segmenter --to moss", "knows no 'moss'"),
    ("--data {root}/styled --untouched {root}/scenes --recogniser {root}/classifier --to moss", "has no class 'moss'"),
])
def test_mistakes_are_named(words: str, said: str, root: Path, tmp_path: Path,
                            capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "materials", *words.format(root=root).split(), "--out", str(tmp_path / "page")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.strip().count("\n") == 0
