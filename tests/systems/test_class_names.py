"""Classes are matched by name: between folders, between a folder and a model, along a chain of stages."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import message

from migaki.cli import main
from migaki.core.fit import Run
from migaki.core.system import System
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_labels import agreed_classes, match_classes
from migaki.judges.drift import Drift
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.evaluate import EvaluateJob, evaluate, evaluate_into, run_judge
from migaki.stages.train import train
from migaki.systems.adapted_classifier import AdaptedClassifier
from migaki.systems.classifier import Classifier

LIGHT = {"ant": 20, "bee": 128, "cow": 235, "yak": 70}
SMALL = Classifier.Config(steps=120, batch_size=12, features=4, augment=False, dropout=0.0)


def picture(name: str, number: int) -> Image.Image:
    return Image.fromarray(np.full((8, 8), LIGHT[name] + number, np.uint8))


def in_folders(folder: Path, *names: str, count: int = 4) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture(name, number).save(folder / name / f"{number}.png")
    return folder


def in_rows(folder: Path, labels: dict[str, object], *, count: int = 4, made: object = None) -> Path:
    """Pictures of the classes with these labels in metadata.jsonl, and a dataset.json if one is given."""
    folder.mkdir()
    rows = []
    for number in range(count):
        for name, label in labels.items():
            picture(name, number).save(folder / f"{name}{number}.png")
            rows.append({"file_name": f"{name}{number}.png", "label": label})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if made is not None:
        (folder / "dataset.json").write_text(json.dumps(made))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows ants, bees and cows by their lightness."""
    folder = tmp_path_factory.mktemp("classes")
    data = Classifier.Data(data=(in_folders(folder / "train", "ant", "bee", "cow"),))
    train(Classifier, data, SMALL, Run(sample_every=0, log_every=20), folder / "run", quiet=True)
    return folder / "run"


def test_a_model_knows_its_classes(run: Path) -> None:
    assert load_system(run).config.classes == ("ant", "bee", "cow")
    record = json.loads((run / "config.json").read_text())
    assert record["config"]["classes"] == ["ant", "bee", "cow"]


def test_classes_in_any_order_and_form(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = {
        "whole": in_folders(tmp_path / "a", "ant", "bee", "cow"),
        "numbers": in_rows(tmp_path / "b", {"cow": 0, "ant": 1, "bee": 2}, made={"classes": ["cow", "ant", "bee"]}),
        "words": in_rows(tmp_path / "c", {"cow": "cow", "bee": "bee", "ant": "ant"}),
    }
    for folder in sets.values():
        assert evaluate(run, EvaluateJob(data=folder, device="cpu"), quiet=True)["accuracy"] == 1
    said = capsys.readouterr().err.splitlines()  # not of the classes
    assert all("learned from 12 of the 12 pictures of the test" in line for line in said)


def test_a_missing_class_is_said(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = in_folders(tmp_path / "part", "ant", "cow")
    figures = evaluate(run, EvaluateJob(data=folder, device="cpu"), quiet=True)
    assert figures["accuracy"] == 1 and figures["recall"] == [1, None, 1]
    assert figures["classes"] == ["ant", "bee", "cow"] and figures["confusion"] == [[4, 0, 0], [0, 0, 0], [0, 0, 4]]
    assert "has no picture of 'bee', which the model knows" in capsys.readouterr().err


def test_a_further_class_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    folder = in_folders(tmp_path / "more", "ant", "yak")
    text = message(lambda: evaluate(run, EvaluateJob(data=folder, device="cpu"), quiet=True))
    assert "4 of its pictures are of 'yak'" in text and "'ant', 'bee', 'cow'" in text
    named = in_rows(tmp_path / "named", {"ant": 1}, made={"classes": ["yak", "ant"]})  # no picture of it: no matter
    assert evaluate(run, EvaluateJob(data=named, device="cpu"), quiet=True)["accuracy"] == 1


def test_numbers_without_names_are_said_to_be_taken_by_place(run: Path, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    numbers = in_rows(tmp_path / "numbers", {"ant": 0, "bee": 1, "cow": 2})
    assert evaluate(run, EvaluateJob(data=numbers, device="cpu"), quiet=True)["accuracy"] == 1
    assert "taken for 'ant', 'bee', 'cow' in this order" in capsys.readouterr().err
    beyond = in_rows(tmp_path / "beyond", {"ant": 3})
    assert "class numbers up to 3" in message(lambda: evaluate(run, EvaluateJob(data=beyond, device="cpu"), quiet=True))


def test_a_model_without_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Classifier.Config(num_classes=2)
    match_classes(ImageFolder(in_folders(tmp_path / "two", "ant", "cow")), config, "the model")
    assert "the model has no names" in capsys.readouterr().err
    three = ImageFolder(in_folders(tmp_path / "three", "ant", "bee", "cow"))
    assert "2 classes without names" in message(lambda: match_classes(three, config, "the model"))
    numbers = ImageFolder(in_rows(tmp_path / "numbers", {"ant": 0, "bee": 1}))
    match_classes(numbers, config, "the model")
    assert capsys.readouterr().err == "" and numbers.labels["label"].tolist() == [0, 1] * 4


def test_a_single_class_is_known_by_its_folder(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = in_folders(tmp_path / "one", "cow")
    figures = evaluate(run, EvaluateJob(data=folder, device="cpu"), quiet=True)
    assert figures["accuracy"] == 1 and figures["recall"] == [None, None, 1]
    assert "all pictures get the class 'cow'" in capsys.readouterr().err
    both = [ImageFolder(in_folders(tmp_path / "two", "ant", "cow")), ImageFolder(folder)]
    assert agreed_classes(both) == (2, ("ant", "cow")) and both[1].labels["label"].tolist() == [1] * 4
    other = in_folders(tmp_path / "other", "yak")
    assert "no label" in message(lambda: evaluate(run, EvaluateJob(data=other, device="cpu"), quiet=True))


def test_names_are_shown(run: Path, tmp_path: Path) -> None:
    folder = in_folders(tmp_path / "test", "cow", "bee")
    out, _ = evaluate_into(run, EvaluateJob(data=folder, out=tmp_path / "e", device="cpu"), quiet=True)
    page = (out / "evaluation.html").read_text()
    assert all(f">{name}<" in page for name in ("ant", "bee", "cow"))


# ---------------------------------------------------------------------------------------------- training

@pytest.mark.parametrize("system", [Classifier, AdaptedClassifier])
def test_folders_are_matched_by_name(system: type[System], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = in_folders(tmp_path / "a", "bee", "cow"), in_folders(tmp_path / "b", "ant", "cow")
    photos = {} if system is Classifier else {"photos": first}
    data = system.Data(data=(first, second), **photos)
    config, source = system.open(data, replace(system.tiny()[0], channels=0, height=0, width=0, num_classes=0), 0)
    assert config.classes == ("bee", "cow", "ant") and config.num_classes == 3
    lights = {0: 128, 1: 235, 2: 20}
    for step in range(4):
        batch = source.batch(step)
        for image, label in zip(batch["image"], batch["label"].tolist(), strict=True):
            assert 0 <= image[0, 0, 0] * 255 - lights[label] < 5
    line = capsys.readouterr().err
    assert "a: has no picture of 'ant'" in line and "b: has no picture of 'bee'" in line


def test_classes_can_be_given(tmp_path: Path) -> None:
    folder = ImageFolder(in_folders(tmp_path / "a", "ant", "cow"))
    assert agreed_classes([folder], 0, ("cow", "bee", "ant")) == (3, ("cow", "bee", "ant"))
    assert folder.labels["label"].tolist() == [2] * 4 + [0] * 4
    other = ImageFolder(tmp_path / "a")
    assert "--classes cow bee does not know" in message(lambda: agreed_classes([other], 0, ("cow", "bee")))
    assert "more than --num-classes 1" in message(lambda: agreed_classes([ImageFolder(tmp_path / "a")], 1))
    assert agreed_classes([ImageFolder(tmp_path / "a")], 5) == (5, ("ant", "cow"))


def test_names_and_numbers_do_not_mix(tmp_path: Path) -> None:
    folders = [ImageFolder(in_folders(tmp_path / "a", "ant", "cow")),
               ImageFolder(in_rows(tmp_path / "b", {"ant": 0, "cow": 1}))]
    assert '"classes": [names' in message(lambda: agreed_classes(folders))
    (tmp_path / "b" / "dataset.json").write_text('{"classes": ["ant", "cow"]}')
    assert agreed_classes([folders[0], ImageFolder(tmp_path / "b")]) == (2, ("ant", "cow"))


def test_plain_numbers_work_as_ever(tmp_path: Path) -> None:
    assert agreed_classes([ImageFolder(in_rows(tmp_path / "a", {"ant": 0, "cow": 4}))]) == (5, ())
    for name, light in (("2", "ant"), ("10", "bee"), ("07", "cow")):
        (tmp_path / "n" / name).mkdir(parents=True)
        picture(light, 0).save(tmp_path / "n" / name / "0.png")
    folder = ImageFolder(tmp_path / "n")
    assert folder.classes == [] and sorted(folder.labels["label"].tolist()) == [2, 7, 10]
    bad = in_rows(tmp_path / "bad", {"ant": 10**8})
    assert "beyond 100000 classes" in message(lambda: agreed_classes([ImageFolder(bad)]))


def test_years_are_names(tmp_path: Path) -> None:
    for name in ("2023", "2024"):
        (tmp_path / "y" / name).mkdir(parents=True)
        picture("ant", 0).save(tmp_path / "y" / name / "0.png")
    assert ImageFolder(tmp_path / "y").classes == ["2023", "2024"]


def test_a_configuration_with_odd_names_is_refused() -> None:
    config = replace(Classifier.tiny()[0], classes=("a", "a"))
    assert "each class one name" in message(lambda: Classifier(config))
    assert "each class one name" in message(lambda: Classifier(replace(config, classes=tuple("abcd"))))


# ---------------------------------------------------------------------------------------------- where names stand

def test_words_in_csv_and_gaps(tmp_path: Path) -> None:
    folder = in_folders(tmp_path / "csv", "ant", "cow")
    (folder / "metadata.csv").write_text("file_name,label\ncow/0.png,cow\nant/0.png,ant\nant/1.png,ant\n")
    found = ImageFolder(folder)
    assert found.classes == ["ant", "cow"] and found.labels["label"].tolist() == [1, 0, 0]
    assert found.select([0]).classes == ["ant", "cow"] and found.select([0]).labels["label"].tolist() == [1]
    (folder / "metadata.csv").write_text("file_name,label\ncow/0.png,cow\nant/0.png,\n")
    assert "missing or not finite for 1 of 2" in message(lambda: ImageFolder(folder).require("label"))


def test_words_that_do_not_fit(tmp_path: Path) -> None:
    mixed = in_rows(tmp_path / "mixed", {"ant": "ant", "cow": 3}, count=1)
    assert "row 2 holds 3 instead of a name" in message(lambda: ImageFolder(mixed).require("label"))
    strange = in_rows(tmp_path / "strange", {"ant": "ant"}, made={"classes": ["bee"]})
    assert "'ant' is not among the classes" in message(lambda: ImageFolder(strange).require("label"))
    twice = in_rows(tmp_path / "twice", {"ant": 0}, made={"classes": ["bee", "bee"]})
    assert "no list of distinct names" in message(lambda: ImageFolder(twice).require("label"))


@pytest.mark.parametrize("cls", [b"cow", b"cow\n", b'"cow"', "\ufeffcow".encode()])
def test_words_in_tar_shards(tmp_path: Path, cls: bytes) -> None:
    content = io.BytesIO()
    picture("cow", 0).save(content, "PNG")
    (tmp_path / "t").mkdir()
    with tarfile.open(tmp_path / "t" / "0.tar", "w") as tar:
        for name, data in (("0.png", content.getvalue()), ("0.cls", cls)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    folder = ImageFolder(tmp_path / "t")
    assert folder.classes == ["cow"] and folder.labels["label"].tolist() == [0]


def test_hugging_faces_class_labels(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cow", "ant"])})
    rows = {"image": [picture("cow", 0), picture("ant", 0)], "label": ["cow", "ant"]}
    (tmp_path / "p").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "p" / "0.parquet"))
    folder = ImageFolder(tmp_path / "p")
    assert folder.classes == ["cow", "ant"] and folder.labels["label"].tolist() == [0, 1]


def test_composed_letters_are_the_same_name(tmp_path: Path) -> None:
    folder = ImageFolder(in_rows(tmp_path / "a", {"ant": "e\u0301", "cow": "b"}))
    assert agreed_classes([folder], 0, ("é", "b")) == (2, ("é", "b"))
    assert sorted(set(folder.labels["label"].tolist())) == [0, 1]


# ---------------------------------------------------------------------------------------------- along a chain

@pytest.mark.parametrize("form", ["folder", "webdataset", "parquet"])
def test_names_travel_through_apply_and_back_into_training(run: Path, tmp_path: Path, form: str) -> None:
    photos = in_rows(tmp_path / "photos", {"cow": 1, "ant": 0}, made={"classes": ["ant", "cow"]})
    out = apply(run, ApplyJob(input=photos, out=tmp_path / "out", format=form, device="cpu"), quiet=True)  # type: ignore[arg-type]
    folder = ImageFolder(out)
    assert folder.classes == ["ant", "cow"] and folder.labels["label"].tolist() == [1, 0] * 4
    assert [row["predicted_label"] for row in folder.rows] == ["cow", "ant"] * 4
    (out / "dataset.json").write_text(json.dumps(folder.made | {"classes": ["cow", "ant"]}))  # labels that lie
    config, source = Classifier.open(Classifier.Data(data=(out,)), SMALL, 0)
    batch = source.batch(0)
    bright = batch["image"][:, 0, 0, 0] > 0.5
    assert [config.classes[n] == "cow" for n in batch["label"].tolist()] == bright.tolist()


def test_names_travel_through_frame_and_import(tmp_path: Path) -> None:
    folder = in_folders(tmp_path / "set", "ant", "cow")
    made = {"frame": ["frame", "--input", str(folder)], "import": ["import", "photos", str(folder)]}
    for name, words in made.items():
        assert main([*words, "--out", str(tmp_path / name)]) == 0
        found = ImageFolder(tmp_path / name)
        assert found.made["classes"] == found.classes == ["ant", "cow"]
        assert found.labels["label"].tolist() == [0] * 4 + [1] * 4
    assert main(["import", "photos", str(folder), "--out", str(tmp_path / "bare"), "--no-labelled"]) == 0
    assert "classes" not in ImageFolder(tmp_path / "bare").made


def test_drift_is_judged_by_name(run: Path, tmp_path: Path) -> None:
    folder = in_folders(tmp_path / "part", "bee", "cow")
    judge = Drift(Drift.Config(before=folder, after=folder, estimator=(run,), device="cpu"))
    (row,) = run_judge(judge, quiet=True).record["rows"]
    assert row["error_before"]["mean"] == 0


def test_coco_has_the_names(tmp_path: Path) -> None:
    folder = in_rows(tmp_path / "set", {"cow": "cow", "ant": "ant"}, count=1)
    assert main(["export", str(folder), "--format", "coco", "--out", str(tmp_path / "c.json")]) == 0
    found = json.loads((tmp_path / "c.json").read_text())
    names = {c["id"]: c["name"] for c in found["categories"]}
    assert [names[a["category_id"]] for a in found["annotations"]] == ["cow", "ant"]


def test_logits_are_reported_by_name() -> None:
    from migaki.data.sets.class_labels import predicted_classes

    config = Classifier.Config(num_classes=3, classes=("a", "b"))
    assert predicted_classes(torch.eye(3), config) == ["a", "b", 2]


def test_a_class_in_no_alphabet_and_a_run_in_no_folder_of_utf8(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    folder = in_folders(root / "set", "ant", "cow")
    (folder / "ant").rename(folder / os.fsdecode(b"ant\xff"))
    data, once = Classifier.Data(data=(folder,)), Run(sample_every=0, log_every=20)
    train(Classifier, data, SMALL, once, root / "run", quiet=True)
    for form in ("folder", "webdataset", "parquet"):
        out = apply(root / "run", ApplyJob(input=folder, out=root / form, format=form, device="cpu"), quiet=True)  # type: ignore[arg-type]
        assert evaluate(root / "run", EvaluateJob(data=out, device="cpu"), quiet=True)["accuracy"] == 1


@pytest.mark.parametrize("cls", [Classifier, AdaptedClassifier])
def test_one_class_is_none_to_tell_apart(cls: type[System], tmp_path: Path) -> None:
    """Whether the class has a name or a number, and however many the set says there are; two folders may share them."""
    def opened(*folders: Path) -> Any:
        photos = {} if cls is Classifier else {"photos": sets["named"]}
        return cls.open(cls.Data(data=folders, **photos), cls.Config(batch_size=4), 0)[0]

    sets = {"named": in_rows(tmp_path / "named", {"ant": "ant"}), "counted": in_rows(tmp_path / "counted", {"bee": 1}),
            "told": in_rows(tmp_path / "told", {"cow": 0}, made={"classes": ["cow", "yak"]})}
    for name, word in (("named", "'ant'"), ("counted", "1"), ("told", "'cow'")):
        line = message(lambda name=name: opened(sets[name]))
        assert f"{sets[name]}: all pictures are of one class, {word}: give at least two" in line
    assert opened(sets["named"], in_rows(tmp_path / "other", {"bee": "bee"})).num_classes == 2
