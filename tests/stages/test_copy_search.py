"""Index and search: copies are found with their regions, decoys are not called copies, and bad folders are one line."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import message

from migaki.changes.find_copies import FindCopies
from migaki.changes.index import Index
from migaki.core.fit import Run, fit
from migaki.data import local_match
from migaki.data.copy_index import open_index
from migaki.data.folder import ImageFolder
from migaki.data.nearest import nearest
from migaki.nets.picture_network import open_describer
from migaki.stages import copy_index, copy_search
from migaki.stages.apply import apply_change
from migaki.stages.apply_job import ApplyJob
from migaki.stages.copy_search import SearchTask, _own_places, _without, joined
from migaki.systems.copy_detector import CopyDetector
from migaki.systems.simclr import SimCLR

COUNT = 14


def picture(seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (20, 27, 3), np.uint8)
    return Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC)


def saved(folder: Path, pictures: list[Image.Image], rows: list[dict[str, Any]] | None = None) -> Path:
    folder.mkdir()
    for number, one in enumerate(pictures):
        one.save(folder / f"{number}.png")
    (folder / "metadata.jsonl").write_text("".join(json.dumps({"file_name": f"{number}.png", **row}) + "\n"
                                                   for number, row in enumerate(rows or [{}] * len(pictures))))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run, originals, queries (a part, a mirror image, a decoy) and an index, in one folder."""
    root = tmp_path_factory.mktemp("copies")
    config, batch = CopyDetector.tiny()
    torch.manual_seed(0)
    system = CopyDetector(replace(config, steps=1, size=24, height=32, width=32))

    class Same:
        def batch(self, step: int) -> dict[str, torch.Tensor]:
            return {"image": torch.nn.functional.interpolate(batch["image"], size=(32, 32))}

    fit(system, Same(), Run(device="cpu", precision="fp32", sample_every=0), root / "run", quiet=True)
    known = [picture(seed) for seed in range(COUNT)]
    saved(root / "originals", known)
    part = known[3].crop((24, 16, 144, 106)).resize((160, 120))
    saved(root / "queries", [part, known[7].transpose(Image.Transpose.FLIP_LEFT_RIGHT), picture(99)],
          [{"reference": "3.png"}, {"reference": "7.png"}, {"reference": None}])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_match, "SIDE", 160)  # as large as these pictures are: four times as fast
        index(root, root / "index")
        yield root


def index(root: Path, out: Path, **options: Any) -> None:
    change = Index(Index.Config(**{"model": str(root / "run"), "calibrate": 20, "store": root / "store", **options}))
    apply_change("index", change, ApplyJob(input=root / "originals", out=out), quiet=True)


def found(root: Path, out: Path, queries: str = "queries", **options: Any) -> Path:
    given = {"index": root / "index", "store": root / "store", "nearest": COUNT, **options}
    change = FindCopies(FindCopies.Config(**given))
    return apply_change("find_copies", change, ApplyJob(input=root / queries, out=out), quiet=True)


def test_copies_are_found_with_their_regions(made: Path, tmp_path: Path) -> None:
    out = found(made, tmp_path / "out")
    rows = [json.loads(line) for line in (out / "copies.jsonl").read_text().splitlines()]
    best = {row["file_name"]: row for row in reversed(rows)}
    assert best["0.png"]["original"] == "3.png" and best["1.png"]["original"] == "7.png"
    assert best["0.png"]["is_copy"] and best["1.png"]["is_copy"]
    np.testing.assert_allclose(best["0.png"]["original_region"], [24, 16, 120, 90], atol=3)
    assert best["1.png"]["is_mirrored"] and best["0.png"]["is_mirrored"] is False
    decoy = best["2.png"]  # the network has learned nothing, so that it may look like a copy, but less than copies do
    assert min(best["0.png"]["probability"], best["1.png"]["probability"]) > max(0.8, decoy["probability"])
    called = [row["is_copy"] for row in rows]
    assert called == sorted(called, reverse=True)
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    figures = json.loads((out / "copies.json").read_text())["figures"]
    assert figures["micro_ap"] == 1 and figures["copies"] == 2 and figures["called_recall"] == 1
    assert "data:image/png" in (out / "copies.html").read_text()


def test_an_index_is_the_same_whenever_it_is_made(made: Path, tmp_path: Path) -> None:
    index(made, tmp_path / "again", verify="none")
    first, second = open_index(made / "index"), open_index(tmp_path / "again")
    np.testing.assert_array_equal(first.descriptors, second.descriptors)
    assert first.about.cosine == second.about.cosine and first.names == second.names and not second.about.support
    np.testing.assert_allclose(np.linalg.norm(first.descriptors, axis=1), 1, rtol=1e-5)
    assert COUNT == sum(not one for one in first.about.is_copy) >= sum(first.about.is_copy) > 2
    assert "--verify none" in message(lambda: found(made, tmp_path / "out", index=tmp_path / "again"))


def test_a_share_of_copies_and_no_matching(made: Path, tmp_path: Path) -> None:
    rare, often = ([json.loads(line) for line in (
        found(made, tmp_path / str(share), verify="none", share=share, pair_precision=0.01) / "copies.jsonl"
    ).read_text().splitlines()] for share in (0.01, 0.5))
    assert all(a["probability"] <= b["probability"] for a, b in zip(rare, often, strict=True))
    assert all(row["region"] is None and row["key_points"] == 0 for row in often)
    # A pair that is likelier none is called no copy, however low the precision that is asked for.
    assert all(row["is_copy"] == (row["probability"] >= 0.5) for row in (*rare, *often))
    assert any(b["is_copy"] and not a["is_copy"] for a, b in zip(rare, often, strict=True))


def test_parts_of_an_index_give_what_the_whole_gives(made: Path, tmp_path: Path) -> None:
    whole = open_index(made / "index").descriptors
    queries = np.asarray(whole[::3]) + 0.1
    np.save(tmp_path / "queries.npy", queries)
    part = SearchTask(index=made / "index", queries=tmp_path / "queries.npy", count=4, search="exact").open()
    found = joined([part([0, 6]), part([6, 11]), part([11, COUNT])], 4)
    twin = nearest(queries, whole, 4)
    np.testing.assert_allclose(found[0], twin[0], atol=1e-6)
    np.testing.assert_array_equal(found[1], twin[1])


def test_bad_input_is_one_line(made: Path, tmp_path: Path) -> None:
    config, batch = CopyDetector.tiny()
    torch.manual_seed(1)
    other = CopyDetector(replace(config, steps=1, size=24))

    class Same:
        def batch(self, step: int) -> dict[str, torch.Tensor]:
            return batch

    fit(other, Same(), Run(device="cpu", precision="fp32", sample_every=0), tmp_path / "other", quiet=True)
    assert "another network" in message(lambda: found(made, tmp_path / "a", model=str(tmp_path / "other")))
    assert "no index" in message(lambda: found(made, tmp_path / "b", index=made / "queries"))
    empty = tmp_path / "empty"
    empty.mkdir()
    change = Index(Index.Config(model=str(made / "run")))
    assert str(empty) in message(lambda: apply_change("index", change, ApplyJob(input=empty, out=tmp_path / "c"),
                                                      quiet=True))
    saved(tmp_path / "broken", [picture(0)] * 5)
    (tmp_path / "broken" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert "2.png" in message(lambda: apply_change("index", change, ApplyJob(
        input=tmp_path / "broken", out=tmp_path / "d"), quiet=True))
    assert "--variants" in message(lambda: apply_change("index", change, ApplyJob(
        input=made / "queries", out=tmp_path / "e", variants=2), quiet=True))
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
    assert "--pair-precision" in message(lambda: FindCopies.Config(index=made, pair_precision=1.5))


@pytest.mark.parametrize(("name", "content", "word"), [
    ("descriptors.npy", b"\x93NUMPY\x01\x00", "cut or damaged"), ("descriptors.npy", None, "cut or damaged"),
    ("index.json", b"{}", "not the record"), ("pictures.jsonl", b'{"file_name": "0.png"}\n', "names for"),
    ("pictures.jsonl", b"nothing\n", "damaged")])
def test_a_damaged_index_is_one_line(made: Path, tmp_path: Path, name: str, content: bytes | None, word: str) -> None:
    for path in (made / "index").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:-20] if content is None else content)
    assert word in message(lambda: open_index(tmp_path))


def test_numbers_that_are_none_are_refused(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "index", tmp_path / "index")
    about = json.loads((made / "index" / "index.json").read_text())
    about["cosine"][0] = float("nan")
    (tmp_path / "index" / "index.json").write_text(json.dumps(about))
    assert "known pairs do not fit" in message(lambda: open_index(tmp_path / "index"))


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "copies.jsonl").read_bytes().split(b"\n") if line]


def test_doubles_of_an_original_change_nothing(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An original that was saved 14 times is found as surely as one that is there once: its doubles are no rivals."""
    shutil.copytree(made / "queries", tmp_path / "queries")
    shutil.copytree(made / "run", tmp_path / "run")
    saved(tmp_path / "originals", [picture(seed) for seed in range(COUNT)] + [picture(3)] * 13)
    index(tmp_path, tmp_path / "index", verify="none")
    assert "of 20 pictures that were drawn are there more than once" in capsys.readouterr().err
    once = {(row["file_name"], row["original"]): row for row in rows_of(
        found(made, tmp_path / "once", verify="none"))}
    often = {(row["file_name"], row["original"]): row for row in rows_of(
        found(tmp_path, tmp_path / "often", verify="none", nearest=COUNT + 13))}
    first, second = once["0.png", "3.png"], often["0.png", "3.png"]
    assert first["cosine"] == pytest.approx(second["cosine"], abs=1e-3)
    assert often["0.png", "20.png"]["cosine"] == second["cosine"]
    figures = [json.loads((tmp_path / name / "copies.json").read_text())["figures"] for name in ("once", "often")]
    assert figures[0]["first"] == figures[1]["first"] == 0.5  # a double of the original is no wrong answer


def test_a_folder_in_its_own_index_is_not_matched_with_itself(made: Path, tmp_path: Path,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    """The part of a picture that lies beside it is found, from both sides; the page shows the pair once."""
    known = [picture(seed) for seed in range(6)]
    part = known[3].crop((24, 16, 144, 106)).resize((160, 120))
    shutil.copytree(made / "run", tmp_path / "run")
    saved(tmp_path / "originals", [*known, part])
    index(tmp_path, tmp_path / "index")
    capsys.readouterr()
    out = found(tmp_path, tmp_path / "out", queries="originals", nearest=9)
    assert "7 of its 7 pictures are in the index themselves" in capsys.readouterr().err
    rows = rows_of(out)
    assert all(row["file_name"] != row["original"] for row in rows) and len(rows) == 7 * 6
    best = {row["file_name"]: row["original"] for row in reversed(rows)}
    assert best["3.png"] == "6.png" and best["6.png"] == "3.png"


def test_what_is_the_same_file(made: Path, tmp_path: Path) -> None:
    """A folder that holds the index's, or lies in it, has the same pictures; one with equal names has others."""
    shutil.copytree(made / "originals", tmp_path / "all" / "originals")
    config = FindCopies.Config(index=made / "index", pictures=tmp_path / "all" / "originals")
    for place, prefix in (("all/originals", ""), ("all", "originals/")):
        folder = ImageFolder(tmp_path / place)
        own = _own_places(open_index(made / "index"), folder, config, ApplyJob(input=tmp_path / place, out=tmp_path))
        names = open_index(made / "index").names
        assert [prefix + names[one] for one in own] == list(folder.names)
    folder = ImageFolder(made / "queries")
    own = _own_places(open_index(made / "index"), folder, config, ApplyJob(input=made / "queries", out=tmp_path))
    assert own.tolist() == [-1, -1, -1]


def test_the_nearest_without_ones_own() -> None:
    near = np.array([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4]], np.float32)
    places = np.array([[4, 1, 2], [3, 0, 5]])
    kept = _without(np.array([1, -1]), near, places, 2)
    np.testing.assert_allclose(kept[0], [[0.9, 0.7], [0.6, 0.5]])
    np.testing.assert_array_equal(kept[1], [[4, 2], [3, 0]])
    everything = _without(np.array([-1, -1]), near, places, 3)
    np.testing.assert_array_equal(everything[1], places)


def test_pictures_that_have_changed_are_told(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(made / "originals", tmp_path / "originals")
    picture(77).save(tmp_path / "originals" / "5.png")
    found(made, tmp_path / "out", pictures=tmp_path / "originals")
    assert "its pictures are not those that" in capsys.readouterr().err
    found(made, tmp_path / "again")
    assert "its pictures are not those that" not in capsys.readouterr().err


def test_pictures_that_are_gone_are_told(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "index", tmp_path / "index")
    about = json.loads((made / "index" / "index.json").read_text())
    (tmp_path / "index" / "index.json").write_text(json.dumps(about | {"pictures": "/nowhere"}))
    page = (found(made, tmp_path / "out", index=tmp_path / "index", verify="none") / "copies.html").read_text()
    assert "/nowhere any more" in page and "--pictures" in page


def test_names_that_lead_out_are_refused(made: Path, tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    for path in (made / "index").iterdir():
        if path.is_file():
            (tmp_path / "index" / path.name).write_bytes(path.read_bytes())
    lines = [json.dumps({"file_name": "../queries/0.png"}) for _ in range(COUNT)]
    (tmp_path / "index" / "pictures.jsonl").write_text("\n".join(lines) + "\n")
    assert "lacks ../queries/0.png" in message(lambda: found(made, tmp_path / "out", index=tmp_path / "index"))
    page = (found(made, tmp_path / "out", index=tmp_path / "index", verify="none") / "copies.html").read_text()
    assert "not all are shown" in page and "data:image/png" not in page


def test_folders_with_other_content_are_left_alone(made: Path, tmp_path: Path) -> None:
    """An index and a search are not written among other files, into a run, or into a set."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for place in (tmp_path / "other", made / "run"):
        before = sorted(path.name for path in place.iterdir())
        assert str(place) in message(partial(index, made, place))
        assert str(place) in message(partial(found, made, place))
        assert sorted(path.name for path in place.iterdir()) == before
    found(made, tmp_path / "twice", verify="none")
    found(made, tmp_path / "twice", verify="none")  # an earlier search is replaced


def test_what_an_index_needs_is_told_where_it_is_gone(made: Path, tmp_path: Path) -> None:
    """The network and the pictures may have moved: the line says which option tells where they are now."""
    shutil.copytree(made / "index", tmp_path / "index")
    about = json.loads((tmp_path / "index" / "index.json").read_text())
    assert about["model"] == str((made / "run").resolve())  # the same from every folder
    (tmp_path / "index" / "index.json").write_text(json.dumps(about | {"model": "gone"}))
    line = message(lambda: found(made, tmp_path / "out", index=tmp_path / "index"))
    assert "gone is not there any more" in line and "--model" in line
    wrong = saved(tmp_path / "wrong", [picture(0)] * 3)
    line = message(lambda: found(made, tmp_path / "out", pictures=wrong))
    assert f"{wrong}: lacks 3.png" in line and "--pictures" in line and not (tmp_path / "out").exists()


def test_originals_that_are_said_badly(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Blank is none; a list is refused; where no original is in the index, no figure pretends that none was found."""
    def rows(*references: Any) -> Path:
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        return saved(place, [picture(seed) for seed in (3, 99)], [{"reference": one} for one in references])

    def searched(queries: Path) -> dict[str, Any]:
        out = found(made, tmp_path / f"out_{queries.name}", queries=str(queries), verify="none")
        figures: dict[str, Any] = json.loads((out / "copies.json").read_text())["figures"]
        return figures

    assert searched(rows("3.png", ""))["copies"] == 1
    assert "micro_ap" not in searched(rows(None, "elsewhere.png"))
    assert "no picture has its original" in capsys.readouterr().err
    assert "'reference' of 0.png is no file name" in message(lambda: searched(rows(["3.png"], None)))
    half = rows("3.png", None)
    (half / "metadata.jsonl").write_text('{"file_name": "0.png", "reference": "3.png"}\n{"file_name": "1.png"}\n')
    assert "1.png has no column 'reference'" in message(lambda: searched(half))


@pytest.mark.parametrize("side", [28, 32])
def test_runs_of_every_kind_describe_pictures_the_same_each_time(made: Path, tmp_path: Path, side: int) -> None:
    """What only training needs is not saved, and drawn anew whenever a run is loaded; digits have 28 px."""
    config, batch = SimCLR.tiny()
    system = SimCLR(replace(config, steps=1, height=side, width=side))

    class Same:
        def batch(self, step: int) -> dict[str, torch.Tensor]:
            return {"image": torch.nn.functional.interpolate(batch["image"], size=(side, side))}

    fit(system, Same(), Run(device="cpu", precision="fp32", sample_every=0), tmp_path / "run", quiet=True)
    first, second = (open_describer(str(tmp_path / "run")) for _ in range(2))
    assert first.identity == second.identity != open_describer(str(made / "run")).identity
    shutil.copytree(made / "originals", tmp_path / "originals")
    index(tmp_path, tmp_path / "index", verify="none")
    out = found(tmp_path, tmp_path / "out", queries="originals", index=tmp_path / "index", verify="none")
    assert len(rows_of(out)) == COUNT * (COUNT - 1)


class Thumbnails(torch.nn.Module):
    """A network that has learned something: it tells pictures apart, and finds those saved again alike."""

    name, size, identity = "thumbnails", 32, "thumbnails"

    def names_of(self, layers: object) -> tuple[str, ...]:
        return ("features",)

    def maps(self, images: torch.Tensor, layers: object) -> dict[str, torch.Tensor]:
        small = torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)
        return {"features": (small - small.mean(1, keepdim=True))[:, :, None, None]}


def test_pictures_that_are_there_in_another_size_are_doubles(made: Path, tmp_path: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    """Most folders hold what was put on the web beside the original: smaller, and encoded again."""
    shutil.copytree(made / "run", tmp_path / "run")
    shutil.copytree(made / "queries", tmp_path / "queries")
    saved(tmp_path / "originals", [picture(seed) for seed in range(COUNT)])
    (tmp_path / "originals" / "metadata.jsonl").unlink()
    for seed in range(COUNT):
        picture(seed).resize((80, 60)).save(tmp_path / "originals" / f"web{seed}.jpg", quality=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy_index, "double_level", lambda rows: 1.1)  # as if they were less alike than doubles are
        patch.setattr(local_match, "SIDE", 160)
        for stage in (copy_index, copy_search):
            patch.setattr(stage, "open_describer", lambda name: Thumbnails())
        index(tmp_path, tmp_path / "index")
        rows = rows_of(found(tmp_path, tmp_path / "out"))
    assert "pictures that were drawn are there more than once" in capsys.readouterr().err
    about = open_index(tmp_path / "index").about
    strangers = [points for points, is_copy in zip(about.support, about.is_copy, strict=True) if not is_copy]
    assert len(strangers) == 20 and max(strangers) < 8
    best = {row["file_name"]: row for row in reversed(rows)}
    assert {best[f"{query}.png"]["original"] for query in (0, 1)} < {"3.png", "web3.jpg", "7.png", "web7.jpg"}
    assert best["0.png"]["is_copy"] and best["1.png"]["is_copy"] and not best["2.png"]["is_copy"]


def test_odd_names_and_pictures_in_shards(made: Path, tmp_path: Path) -> None:
    """Names that are not UTF-8 or break lines for others, and members of a TAR file, are found and shown."""
    shutil.copytree(made / "run", tmp_path / "run")
    names = ["a\u2028b.png", "caf\udce9.png", *(f"{number}.png" for number in range(4))]
    for folder in ("originals", "queries"):
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names):
            picture(number).save(tmp_path / folder / name)
    index(tmp_path, tmp_path / "index", verify="none")
    assert sorted(open_index(tmp_path / "index").names) == sorted(names)
    rows = rows_of(found(tmp_path, tmp_path / "out", verify="none", nearest=1))
    assert {row["file_name"]: row["original"] for row in rows} == {name: name for name in names}
    with tarfile.open(tmp_path / "set-000.tar", "w") as tar:
        for number in range(6):
            tar.add(made / "originals" / f"{number}.png", f"{number:03d}.png")
    shutil.rmtree(tmp_path / "originals")
    (tmp_path / "originals").mkdir()
    shutil.move(tmp_path / "set-000.tar", tmp_path / "originals")
    index(tmp_path, tmp_path / "packed")
    page = found(made, tmp_path / "packed_out", index=tmp_path / "packed") / "copies.html"
    assert "data:image/png" in page.read_text()
    best = {row["file_name"]: row["original"] for row in reversed(rows_of(tmp_path / "packed_out"))}
    assert Path(best["0.png"]).name.endswith("3.png")


def test_a_picture_of_the_index_that_has_gone_is_left_out_of_the_page(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "originals", tmp_path / "originals")
    for number in range(1, COUNT):
        (tmp_path / "originals" / f"{number}.png").unlink()
    (tmp_path / "originals" / "metadata.jsonl").unlink()
    out = found(made, tmp_path / "out", pictures=tmp_path / "originals", verify="none")
    page = (out / "copies.html").read_text()
    assert len(rows_of(out)) == 3 * COUNT and "not all are shown" in page and "data:image/png" in page
    (tmp_path / "originals" / "0.png").unlink()
    out = found(made, tmp_path / "none", pictures=tmp_path / "originals", verify="none")
    assert "none are shown" in (out / "copies.html").read_text() and len(rows_of(out)) == 3 * COUNT


def test_an_index_that_tells_nothing_says_so(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(made / "index", tmp_path / "index")
    about = json.loads((tmp_path / "index" / "index.json").read_text())
    half = len(about["is_copy"]) // 2
    alike = about | {"cosine": [0.5] * 2 * half, "support": [9] * 2 * half, "is_copy": [True, False] * half}
    (tmp_path / "index" / "index.json").write_text(json.dumps(alike))
    out = found(made, tmp_path / "out", index=tmp_path / "index")
    assert "nothing is called one" in capsys.readouterr().err
    assert not any(row["is_copy"] for row in rows_of(out))
