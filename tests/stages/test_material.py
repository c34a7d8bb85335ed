"""`apply material`: regions of all kinds, labels carried, words and clusters, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from migaki.cli import main
from migaki.core.fit import Run
from migaki.simulate.material_scenes import MaterialScenes
from migaki.simulate.textures import Textures
from migaki.stages.simulate import SimulateJob, simulate
from migaki.stages.train import train
from migaki.systems.segmenter import Segmenter

FAST = ("--steps", "6", "--side", "40", "--most", "3")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes with masks and boxes, and pictures of textures with labels."""
    place = tmp_path_factory.mktemp("materials")
    simulate("textures", Textures(Textures.Config(size=40, kinds=("striped", "cracked"))),
             SimulateJob(out=place / "words", count=14), quiet=True)
    simulate("material_scenes", MaterialScenes(MaterialScenes.Config(size=48)),
             SimulateJob(out=place / "scenes", count=3), quiet=True)
    lines = []
    for row in rows(place / "scenes"):
        row |= {"boxes": [[3, 4, 30, 20]], "classes": ["dotted"], "weather": "rain"}
        lines.append(json.dumps(row) + "\n")
    (place / "scenes" / "metadata.jsonl").write_text("".join(lines))
    return place


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path))


def changed(root: Path, out: Path, *words: object, given: str = "scenes") -> list[dict[str, Any]]:
    assert main(["apply", "material", "--input", str(root / given), "--out", str(out), *FAST, *map(str, words)]) == 0
    return rows(out)


def test_pixels_outside_stay_and_labels_are_carried(root: Path, tmp_path: Path) -> None:
    made = changed(root, tmp_path / "out", "--to", "striped", "--words", root / "words")
    for before, after in zip(rows(root / "scenes"), made, strict=True):
        old, new = (pixels(folder / row["file_name"]) for folder, row in ((root / "scenes", before),
                                                                          (tmp_path / "out", after)))
        mask = pixels(root / "scenes" / before["mask_file_name"])
        region = pixels(tmp_path / "out" / after["region_file_name"])
        assert np.array_equal(region, (mask > 0).astype(np.uint8))
        assert np.array_equal(new[mask == 0], old[mask == 0])  # bit for bit
        assert (new[mask > 0] != old[mask > 0]).mean() > 0.5
        assert (tmp_path / "out" / after["mask_file_name"]).read_bytes() == \
            (root / "scenes" / before["mask_file_name"]).read_bytes()
        assert {key: after[key] for key in ("boxes", "classes", "weather", "label")} == \
            {key: before[key] for key in ("boxes", "classes", "weather", "label")}
        assert after["region_share"] == pytest.approx((mask > 0).mean(), abs=1e-4)
        assert 0 < after["style_left"] < 1 and after["content_lost"] > 0
    record = json.loads((tmp_path / "out" / "dataset.json").read_text())["material"]
    assert record["name"] == "striped" and record["of"] == 7 and sum(record["clusters"]) == 7
    assert record["cluster"] == 1 and len(record["pictures"]) <= 3 and record["network"].startswith("random-")
    page = (tmp_path / "out" / "pages" / "index.html").read_text()
    assert "Clusters of the word" in page and "Before and after" in page
    # Rows do not depend on each other: alone each gives the same bits.
    again = changed(root, tmp_path / "one", "--to", "striped", "--words", root / "words", "--batch-size", 1,
                    "--pages", 0)
    assert [pixels(tmp_path / "one" / row["file_name"]).tobytes() for row in again] == \
        [pixels(tmp_path / "out" / row["file_name"]).tobytes() for row in made]
    assert not (tmp_path / "one" / "pages").exists()


def test_one_class_of_the_mask_and_pictures_without_it(root: Path, tmp_path: Path) -> None:
    labels = [row["label"] for row in rows(root / "scenes")]
    name = json.loads((root / "scenes" / "dataset.json").read_text())["classes"][labels[0]] \
        if isinstance(labels[0], int) else labels[0]
    made = changed(root, tmp_path / "out", "--to", root / "words" / rows(root / "words")[0]["file_name"], "--from",
                   name, "--empty", "keep", "--pages", 0)
    shares = [row["region_share"] for row in made]
    assert shares[0] > 0 and shares[1:] == [0, 0]
    for before, after in list(zip(rows(root / "scenes"), made, strict=True))[1:]:
        assert np.array_equal(pixels(root / "scenes" / before["file_name"]), pixels(tmp_path / "out" /
                                                                                    after["file_name"]))


@pytest.mark.parametrize("words", [
    ("--pool", "union"), ("--pool", "max"), ("--colour", "content"), ("--how", "paste"),
    ("--light", "shading", "--highlights"), ("--light", "content", "--loss", "moments")], ids=lambda words: words[1])
def test_every_way_changes_the_region_alone(words: tuple[str, ...], root: Path, tmp_path: Path) -> None:
    made = changed(root, tmp_path / "out", "--to", "cracked", "--words", root / "words", "--cluster", 0, *words)
    before = rows(root / "scenes")[0]
    old, new = pixels(root / "scenes" / before["file_name"]), pixels(tmp_path / "out" / made[0]["file_name"])
    mask = pixels(root / "scenes" / before["mask_file_name"]) > 0
    assert np.array_equal(new[~mask], old[~mask]) and (new[mask] != old[mask]).any()
    record = json.loads((tmp_path / "out" / "dataset.json").read_text())["material"]
    assert ("max_gap" in record) == ("max" in words)
    assert record["loss"] == ("sliced" if "union" in words else "moments" if "moments" in words else "gram")
    if "--colour" in words:  # hues stay: the sum of channels may change, their differences hardly do
        away = np.abs(np.diff(new[mask].astype(float), axis=1) - np.diff(old[mask].astype(float), axis=1)).mean()
        assert away < 25


def test_a_click_a_box_and_a_segmenter_find_the_region(root: Path, tmp_path: Path) -> None:
    first = root / "scenes" / rows(root / "scenes")[0]["file_name"]
    style = root / "words" / rows(root / "words")[0]["file_name"]
    for place, words in (("click", ("24", "24")), ("box", ("4", "4", "40", "40"))):
        assert main(["apply", "material", "--input", str(first), "--out", str(tmp_path / place), "--to", str(style),
                     *FAST, f"--{place}", *words]) == 0
        assert 0 < rows(tmp_path / place)[0]["region_share"] < 1
    train(Segmenter, Segmenter.Data(data=(root / "scenes",)), Segmenter.Config(steps=2, batch_size=2, features=4,
                                                                               validate=0.0),
          Run(device="cpu", log_every=1, sample_every=0), tmp_path / "run", quiet=True)
    made = changed(root, tmp_path / "found", "--to", style, "--segmenter", tmp_path / "run", "--empty", "keep")
    assert len(made) == 3


def test_a_grey_picture_stays_grey(root: Path, tmp_path: Path) -> None:
    (tmp_path / "grey").mkdir()
    y, x = np.mgrid[:48, :48]
    inside = (y - 24) ** 2 + (x - 24) ** 2 < 200
    Image.fromarray(np.where(inside, 90 + x % 7, 220).astype(np.uint8)).save(tmp_path / "grey" / "a.png")
    Image.fromarray((255 * inside).astype(np.uint8)).save(tmp_path / "grey" / "m.png")
    (tmp_path / "grey" / "metadata.jsonl").write_text('{"file_name": "a.png", "mask_file_name": "m.png"}\n')
    made = changed(tmp_path, tmp_path / "out", "--to", root / "words", "--pages", 0, given="grey")
    new = pixels(tmp_path / "out" / made[0]["file_name"])
    assert new.ndim == 2 and (new[~inside] == 220).all() and (new[inside] != (90 + x % 7)[inside]).any()


def spoilt(root: Path, place: Path) -> dict[str, Path]:
    """Broken pictures and sets, by name."""
    tiny, few, odd, blank, nan = (place / name for name in ("tiny", "few", "odd", "blank", "nan"))
    for folder in (tiny, few / "moss", odd, blank, nan):
        folder.mkdir(parents=True)
    Image.new("RGB", (8, 40)).save(tiny / "a.png")
    Image.effect_noise((40, 40), 50).save(few / "moss" / "a.png")
    image = Image.effect_noise((48, 48), 60).convert("RGB")
    for folder, mask in ((odd, Image.new("L", (20, 48), 1)), (blank, Image.new("L", (48, 48), 0))):
        image.save(folder / "a.png")
        mask.save(folder / "mask.png")
        (folder / "metadata.jsonl").write_text('{"file_name": "a.png", "mask_file_name": "mask.png"}\n')
    np.save(nan / "a.npy", np.full((3, 48, 48), np.nan, np.float32))
    Image.new("L", (48, 48), 1).save(nan / "mask.png")
    (nan / "metadata.jsonl").write_text('{"file_name": "a.npy", "mask_file_name": "mask.png"}\n')
    return {"tiny": tiny, "few": few, "odd": odd, "blank": blank, "nan": nan, "words": root / "words",
            "scenes": root / "scenes"}


@pytest.mark.parametrize(("given", "words", "said"), [
    ("scenes", "--to {tiny}", "too few to have a style"),
    ("scenes", "--to moss --words {few}", "has 1 picture of 'moss', and clusters need 4"),
    ("scenes", "--to leather --words {words}", "has no picture of 'leather'"),
    ("scenes", "--to striped --words {words} --cluster 9", "give 1 to"),
    ("scenes", "--to striped --words {words} --only 4", "--only 4: 3 pictures were chosen"),
    ("scenes", "--to {words} --from bag", "have no class 'bag'"),
    ("scenes", "--to {words} --from striped", "shows no 'striped'"),
    ("odd", "--to {words}", "the mask of 'a.png' is 20 x 48 px"),
    ("blank", "--to {words}", "its mask is empty"),
    ("nan", "--to {words}", "not finite"),
    ("words", "--to {scenes}", "no label 'mask'"),
    ("words", "--to {scenes}", "or let --segmenter, --click or --box find the region"),
    ("scenes", "--to {words} --segmenter {words}", "no config.json"),
    ("scenes", "--to {words} --click 400 3", "lies outside of it"),
    ("scenes", "--to {words} --click 4 3 --box 1 2 3 4", "give one way to find the region"),
    ("scenes", "--to {words} --pool max --loss moments", "--pool max is of Gram matrices"),
    ("scenes", "--to {words} --steps 0", "--steps and --most are at least 1"),
    ("scenes", "--to {words} --features nothing", "no known features"),
    ("scenes", "--to {words} --style-layers conv9", "has no layer 'conv9'"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_mistakes_are_one_line_and_leave_nothing(given: str, words: str, said: str, root: Path, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    places = spoilt(root, tmp_path)
    out = tmp_path / "out"
    code = main(["apply", "material", "--input", str(places[given]), "--out", str(out), "--side", "40", "--most", "3",
                 *words.format(**places).split()] + ([] if "--steps" in words else ["--steps", "2"]))
    error = capsys.readouterr().err
    assert code == 2 and said in error, error
    assert error.strip().count("\n") == 0 and "Traceback" not in error
    assert not (out / "metadata.jsonl").exists()


def test_numbers_that_are_not_finite_name_the_picture(root: Path, tmp_path: Path,
                                                      capsys: pytest.CaptureFixture[str],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object, **named: object) -> None:
        raise FloatingPointError("step 3: the loss is not finite")

    monkeypatch.setattr("migaki.changes.parts.restyling.restyle", broken)
    assert main(["apply", "material", "--input", str(root / "scenes"), "--out", str(tmp_path / "out"), "--to",
                 str(root / "words"), *FAST]) == 2
    error = capsys.readouterr().err
    assert "step 3: the loss is not finite: lower --rate" in error and str(root / "scenes") in error
