"""`migaki import pictures_by_word`: good and bad URLs, killed and resumed, tried again, ordered anew."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hostile_server import HostileServer, picture
from PIL import Image

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.data.walk import OutputJob
from migaki.importers.collecting import collect as collecting
from migaki.importers.collecting.picture import Picked
from migaki.importers.pictures_by_word import PicturesByWord

BAD = {"no/such.jpg": "dead", "drip/body": "timeout", "endless": "too_large", "huge": "too_large", "broken": "dead",
       "html.jpg": "not_an_image", "page.html": "not_an_image", "empty.jpg": "not_an_image", "bomb.png": "not_an_image",
       "large.png": "too_large", "tiny.png": "too_small", "cut.jpg": "not_an_image", "svg.svg": "not_an_image",
       "noai": "opted_out", "redirect/9": "too_many_redirects", "elsewhere?to=http://10.0.0.1/": "refused_private",
       "elsewhere?to=file:///etc/passwd": "refused_address", "copy.jpg": "duplicate"}
GOOD = ("ok/0.jpg", "ok/1.jpg", "redirect/2", "palette.gif", "lossless.webp", "wide.jpg", "half.jpg")


def asked(server: HostileServer, tmp_path: Path, paths: tuple[str, ...], **config: Any) -> tuple[PicturesByWord, Path]:
    (tmp_path / "urls.txt").write_text("".join(f"{server.url}{path}\n" for path in paths))
    ours = {"timeout": 3.0, "most_mb_each": 0.25, "allow_host": ("127.0.0.1",), "longest": 256, **config}
    return PicturesByWord(PicturesByWord.Config(**ours)), tmp_path / "urls.txt"


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "urls.jsonl").read_text().splitlines()[1:]]


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_good_and_bad_urls(server: HostileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    importer, urls = asked(server, tmp_path, (*GOOD, *BAD), word="a/b", count=50)
    out = tmp_path / "out"
    assert importer.run(urls, out, quiet=False) == len(GOOD)
    states = {line["rank_given"]: line["status"] for line in lines(out)}
    assert [states[rank] for rank in range(1, 26)] == ["ok"] * len(GOOD) + list(BAD.values())
    rows = {row["rank_given"]: row for row in map(json.loads, (out / "metadata.jsonl").read_text().splitlines())}
    assert len(rows) == len(GOOD) and rows[1]["label"] == "a/b" and rows[1]["url"] == server.url + "ok/0.jpg"
    assert (out / rows[1]["file_name"]).read_bytes() == picture(0)  # a JPEG keeps its bytes
    assert rows[7]["duplicate_group"] == 1 and rows[2]["duplicate_group"] == 2  # scaled down: the same picture
    assert (rows[6]["width"], rows[6]["height"]) == (256, 256)
    folder = ImageFolder(out, size=(32, 32))
    assert folder.classes == ["a/b"] and tuple(folder.read([0, 3])["image"].shape) == (2, 3, 32, 32)
    record = json.loads((out / "dataset.json").read_text())
    assert record["urls"] == dict(Counter(["ok"] * len(GOOD) + list(BAD.values())))
    assert record["num_images"] == len(GOOD)
    told = capsys.readouterr().out
    assert "7 ok" in told and "7 of the 50 pictures" in told and "--retry failed" in told
    assert "7 pictures in 6 groups" in told


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_all_workers_write_the_same(server: HostileServer, tmp_path: Path, engine: Literal["local", "ray"]) -> None:
    if engine == "ray":
        pytest.importorskip("ray", reason="needs the extra migaki[ray]")
    paths = (*GOOD, *(path for path in BAD if not path.startswith(("drip", "endless"))))
    made = []
    for name, job in (("one", OutputJob(out=tmp_path / "one")),
                      ("two", OutputJob(out=tmp_path / "two", workers=2, engine=engine))):
        importer, urls = asked(server, tmp_path, paths, count=99, threads=3)
        importer.run(urls, tmp_path / name, job=job)
        made.append(contents(tmp_path / name))
        made[-1].pop("urls.jsonl")  # in the order of arrival
    assert made[0] == made[1]


def test_killed_and_resumed(server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = tuple(f"ok/{k}.jpg" for k in range(12))
    whole, urls = asked(server, tmp_path, paths)
    whole.run(urls, tmp_path / "whole")
    killed, urls = asked(server, tmp_path, paths, threads=2)

    def stop(line: dict[str, Any]) -> None:
        if line["rank_given"] == 5:
            raise KeyboardInterrupt

    killed.watch = stop
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        killed.run(urls, out)
    before = {line["rank_given"] for line in lines(out)}
    assert 5 in before and len(before) < 12 and not (out / "metadata.jsonl").exists()
    with (out / "urls.jsonl").open("ab") as journal:
        journal.write(b'{"rank_given": 11, "sta')  # half a line
    lost = next(line for line in lines_of(out) if line["rank_given"] == 5)
    (out / lost["file_name"]).write_bytes(b"")  # as after a power cut
    fetched = set[int]()
    again, urls = asked(server, tmp_path, paths)
    again.watch = lambda line: fetched.add(line["rank_given"])
    again.run(urls, out)
    assert fetched == {*range(1, 13)} - before | {5}
    for name, content in contents(tmp_path / "whole").items():
        assert name == "urls.jsonl" or (out / name).read_bytes() == content, name
    fetched.clear()
    again.run(urls, out)
    assert not fetched


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "urls.jsonl").read_bytes().splitlines()[1:] if line.endswith(b"}")]


def test_only_what_failed_is_tried_again(server: HostileServer, tmp_path: Path) -> None:
    paths = ("ok/0.jpg", "flaky/x", "no/such.jpg", "html.jpg", "copy.jpg")
    importer, urls = asked(server, tmp_path, paths)
    out = tmp_path / "out"
    assert importer.run(urls, out) == 1
    server.asked.clear()
    assert importer.run(urls, out) == 1 and server.asked == []
    retrying, urls = asked(server, tmp_path, paths, retry="failed")
    assert retrying.run(urls, out) == 2
    assert sorted(server.asked) == ["/flaky/x", "/no/such.jpg"]
    assert Counter(line["status"] for line in lines(out)) == {"ok": 3, "busy": 1, "dead": 2, "not_an_image": 1,
    "duplicate": 1}


def test_more_pictures_may_be_asked_for_later(server: HostileServer, tmp_path: Path) -> None:
    paths = tuple(f"ok/{k}.jpg" for k in range(8))
    for count in (3, 6):
        importer, urls = asked(server, tmp_path, paths, count=count, word="w")
        assert importer.run(urls, tmp_path / "out") == count
    assert len(server.asked) == 6
    other, urls = asked(server, tmp_path, paths, word="another")
    with pytest.raises(UserError, match="was collected for 'w'"):
        other.run(urls, tmp_path / "out")
    other, urls = asked(server, tmp_path, paths, word="w", min_side=8)
    with pytest.raises(UserError, match="other limits"):
        other.run(urls, tmp_path / "out")
    with pytest.raises(UserError, match="exists already"):
        importer.run(urls, tmp_path / "out", job=OutputJob(out=tmp_path / "out", resume=False))


def test_a_host_gets_few_requests_at_a_time(server: HostileServer, tmp_path: Path) -> None:
    server.pause = 0.02
    importer, urls = asked(server, tmp_path, tuple(f"ok/{k}.jpg" for k in range(20)), threads=12, per_host=3)
    importer.run(urls, tmp_path / "out")
    assert 2 <= server.most <= 3


def test_the_folder_stays_below_its_limit(server: HostileServer, tmp_path: Path) -> None:
    paths = tuple(f"ok/{k}.jpg" for k in range(9))
    importer, urls = asked(server, tmp_path, paths, threads=1, most_mb=3.5 * len(picture(0)) / 2**20)
    assert importer.run(urls, tmp_path / "out") == 3
    assert Counter(line["status"] for line in lines(tmp_path / "out"))["no_room"] == 6
    assert len(server.asked) <= 5  # the one that was too much, and one that a thread had begun
    again, _ = asked(server, tmp_path, paths, threads=1, most_mb=0.001, retry="failed")
    server.asked.clear()
    assert again.run(urls, tmp_path / "out") == 3 and not server.asked


def test_attribution_holds_no_markup(server: HostileServer, tmp_path: Path) -> None:
    row = {"url": server.url + "ok/1.jpg", "page": "https://h.example/a b>c", "title": "<img src=x> [a](javascript:x)",
           "licence": "CC BY 4.0", "author": "A_*B*"}
    (tmp_path / "urls.jsonl").write_text(json.dumps(row) + "\n")
    importer, _ = asked(server, tmp_path, ())
    importer.run(tmp_path / "urls.jsonl", tmp_path / "out")
    text = (tmp_path / "out" / "ATTRIBUTION.md").read_text()
    assert "\\<img" in text and "\\[a\\]\\(javascript" in text and "A\\_\\*B\\*" in text and "CC BY 4.0" in text
    assert "<https://h.example/a%20b%3Ec>" in text


def test_a_folder_is_a_source_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(picture(number))
    (tmp_path / "secret.jpg").write_bytes(picture(9))
    (tmp_path / "in" / "metadata.jsonl").write_text("".join(
        json.dumps({"file_name": f"{k}.jpg", "author": "me"}) + "\n" for k in range(5)))
    assert main(["import", "pictures_by_word", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert [row["url"] for row in rows] == [f"file:{k}.jpg" for k in range(5)] and rows[0]["author"] == "me"
    assert rows[0]["label"] == "in"
    assert main(["import", "pictures_by_word", str(tmp_path / "in"), "--out", str(tmp_path / "in" / "out")]) == 2


def test_a_new_order(tmp_path: Path) -> None:
    """Smooth pictures are found; some are noise of single pixels like all random ones, and end up behind."""
    write_kinds(tmp_path / "in", [1, 1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1])
    write_kinds(tmp_path / "random", [0] * 30, start=100)
    words = ["import", "pictures_by_word", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--negatives",
             str(tmp_path / "random"), "--first", "3", "--second", "5", "--feature-size", "64", "--layer", "size_3"]
    for method in ("two_passes", "label_noise"):
        assert main([*words, "--method", method]) == 0
        rows = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
        assert [row["rank_2"] for row in rows] == list(range(1, 13))
        assert {row["rank_given"] for row in rows[-4:]} == {5, 7, 9, 10}, method
        assert all(first["score"] >= second["score"] for first, second in itertools.pairwise(rows))


def write_kinds(folder: Path, kinds: list[int], start: int = 0) -> None:
    folder.mkdir()
    for number, kind in enumerate(kinds):
        side = 3 if kind else 80
        grid = np.random.default_rng(start + number).integers(0, 255, (side, side, 3), dtype=np.uint8)
        Image.fromarray(grid).resize((80, 80), Image.Resampling.BICUBIC).save(folder / f"{number:03d}.png")


@pytest.mark.parametrize(("words", "message"), [
    (["openverse"], "add --word"), (["commons", "--word", " "], "add --word"), (["engine", "--word", "x"], "--api"),
    (["nowhere", "--word", "x"], "no such folder or list"), (["openverse", "--word", "x" * 301], "at most 300"),
    (["openverse", "--word", "x", "--count", "0"], "--count"),
    (["openverse", "--word", "x", "--format", "parquet"], "leave --format"),
    (["openverse", "--word", "x", "--duplicates", "300"], "--duplicates"),
    (["openverse", "--word", "x", "--base", "http://127.0.0.1:9/"], "not on the public Internet")])
def test_one_line_for_mistakes(words: list[str], message: str, tmp_path: Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "pictures_by_word", *words, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("words", "message"), [
    (["--negatives", "NOWHERE"], "no such folder"), (["--features", "nope"], "no known features"),
    (["--layer", "nope"], "has no layer 'nope'"), (["--pooling", "nope"], "pooling 'nope'"),
    (["--out", "RANDOM/out"], "is an input")])
def test_a_wrong_order_is_refused_before_anything_is_fetched(words: list[str], message: str, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    write_kinds(tmp_path / "in", [1, 0])
    write_kinds(tmp_path / "RANDOM", [0] * 20)
    placed = [str(tmp_path / word) if word.isupper() or "/" in word else word for word in words]
    assert main(["import", "pictures_by_word", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--negatives",
                 str(tmp_path / "RANDOM"), *placed]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not (tmp_path / "out").exists() and not (tmp_path / "RANDOM" / "out").exists()


def test_no_retry_is_advised_where_it_cannot_help(tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text("http://127.0.0.1:9/x.jpg\n")
    importer = PicturesByWord(PicturesByWord.Config(word="x"))
    with pytest.raises(UserError, match="--allow-host NAME"):
        importer.run(tmp_path / "urls.txt", tmp_path / "out")


def test_no_picture_at_all(server: HostileServer, tmp_path: Path) -> None:
    importer, urls = asked(server, tmp_path, ("html.jpg", "no/such.jpg"))
    with pytest.raises(UserError, match=r"none of 2 URLs gave a picture \(1 dead, 1 not_an_image\)"):
        importer.run(urls, tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="holds other files"):
        importer.run(urls, tmp_path / "out")


@pytest.mark.parametrize("line", ['{"rank_given": 1, "status": "ok", "file_name": "../../x.jpg"}', "[1]", "{}", "\x00",
                                  '{"rank_given": 1e99, "url": "x", "status": "ok"}',
                                  '{"rank_given": true, "status": 3}'])
def test_a_strangers_journal(server: HostileServer, tmp_path: Path, line: str) -> None:
    importer, urls = asked(server, tmp_path, ("ok/1.jpg", "ok/2.jpg"))
    out = tmp_path / "out"
    importer.run(urls, out)
    heading = (out / "urls.jsonl").read_text().splitlines()[0]
    (out / "urls.jsonl").write_text(f"{heading}\n{line}\n")
    assert importer.run(urls, out) == 2


def test_a_mistake_of_a_decoder_ends_nothing(server: HostileServer, tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Picked:
        raise ZeroDivisionError

    monkeypatch.setattr("migaki.importers.collecting.picture._decoded", fail)
    importer, urls = asked(server, tmp_path, ("ok/1.jpg",))
    with pytest.raises(UserError, match="1 not_an_image"):
        importer.run(urls, tmp_path / "out")
    monkeypatch.setattr(collecting, "pick", fail)
    importer, urls = asked(server, tmp_path, ("ok/1.jpg",))
    with pytest.raises(ZeroDivisionError):  # our own mistakes do end it
        importer.run(urls, tmp_path / "out2")
