"""`migaki serve words`: a word is collected, clicked, ordered anew and taken as a ZIP; and the page in a browser."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import CHROMIUM
from fastapi.testclient import TestClient
from page_server import served
from PIL import Image

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.importers.collecting.ranking import Ranker
from migaki.importers.pictures_by_word import PicturesByWord
from migaki.web import words_app
from migaki.web.word_sets import WordSet, WordSets
from migaki.web.words_page import WordsPage

SMOOTH = (1, 2, 3, 4, 6, 8, 11, 12)
"""Given ranks of the pictures that are smooth; the others are noise, like all random ones."""

DESK: Any = {"width": 1280, "height": 900}
PHONE: Any = {"width": 390, "height": 844}


def write_pictures(folder: Path, smooth: list[bool], start: int) -> None:
    folder.mkdir(parents=True)
    for number, is_smooth in enumerate(smooth):
        side = 3 if is_smooth else 80
        grid = np.random.default_rng(start + number).integers(0, 255, (side, side, 3), dtype=np.uint8)
        Image.fromarray(grid).resize((80, 80), Image.Resampling.BICUBIC).save(folder / f"{number:03d}.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("words")
    write_pictures(place / "found", [rank in SMOOTH for rank in range(1, 13)], 0)
    write_pictures(place / "random", [False] * 30, 100)
    return place


@pytest.fixture
def open_words(root: Path, tmp_path: Path) -> Iterator[Callable[..., WordSets]]:
    opened: list[WordSets] = []

    def make(random: bool = True, **config: Any) -> WordSets:
        wanted = PicturesByWord.Config(word="x", feature_size=64, layer="size_3", first=3, second=5,
                                       duplicates=4, **config)
        ranker = Ranker(PicturesByWord(wanted).rank_settings(), root / "random" if random else None)
        opened.append(WordSets(tmp_path / "words", root / "found", wanted, ranker))
        return opened[-1]

    yield make
    for words in opened:
        words.close()


def ready(found: WordSet, state: str = "ready") -> WordSet:
    deadline = time.monotonic() + 60
    while found.state not in ("ready", "failed") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found.state == state, found.problem
    return found


def client_of(words: WordSets, token: str | None = None) -> TestClient:
    app: Any = words_app.build_app(words, host="127.0.0.1", token=token)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def test_a_word_becomes_an_ordered_set(open_words: Callable[..., WordSets]) -> None:
    words = open_words()
    found = ready(words.start("  もふ /\u00e9  "))
    assert found.word == "もふ /é" and found.out.name == "もふ %2Fé"
    order = [one["rank"] for one in found.pictures()]
    assert set(order[:8]) == set(SMOOTH) and [one["new"] for one in found.pictures()] == list(range(1, 13))
    assert words.start("もふ /é") is found and found.seconds < 1


def test_clicks_are_kept_and_order_the_set(open_words: Callable[..., WordSets]) -> None:
    words = open_words()
    found = ready(words.start("noise"))
    for rank in (5, 7, 9):
        found.click(rank, "right")
    for rank in (1, 2):
        found.click(rank, "wrong")
    found.click(10, "wrong")
    found.click(10, "none")
    words.order(found)
    order = [one["rank"] for one in found.pictures()]
    assert set(order[:3]) == {5, 7, 9} and set(order[-2:]) == {1, 2}
    rows = [json.loads(line) for line in (found.out / "metadata.jsonl").read_text().splitlines()]
    assert [row["rank_given"] for row in rows] == order
    with (found.out / "clicks.jsonl").open("ab") as file:
        file.write(b'{"rank_given": 3, "ma')  # a crash in the middle of a line
    again = open_words()
    kept = next(one for one in again.all() if one.word == "noise")
    assert kept.about()["state"] == "kept"
    ready(again.start("noise"))
    assert kept.marks == {5: "right", 7: "right", 9: "right", 1: "wrong", 2: "wrong"}
    assert [one["rank"] for one in kept.pictures()] == order


def test_without_random_pictures_the_other_words_serve(open_words: Callable[..., WordSets]) -> None:
    words = open_words(random=False)
    first = ready(words.start("first"))
    assert len(first.pictures()) == 12  # by the cosine to the mean alone
    second = ready(words.start("second"))
    assert len(words._others(second)) == 1 or len(words._others(second)) == 0  # 12 are too few
    third = ready(words.start("third"))
    assert len(words._others(third)) == 24


def test_the_best_as_a_zip(open_words: Callable[..., WordSets]) -> None:
    words = open_words()
    found = ready(words.start("a/b"))
    found.click(found.pictures()[0]["rank"], "wrong")
    with zipfile.ZipFile(io.BytesIO(found.zipped(5))) as packed:
        assert [name.split("/")[0] for name in packed.namelist()[:5]] == ["a%2Fb"] * 5
        rows = [json.loads(line) for line in packed.read("metadata.jsonl").decode().splitlines()]
        assert [row["rank_2"] for row in rows] == [2, 3, 4, 5, 6] and rows[0]["label"] == "a/b"
        assert all(Image.open(io.BytesIO(packed.read(row["file_name"]))).size == (80, 80) for row in rows)
        assert rows[0]["file_name"] in packed.read("ATTRIBUTION.md").decode()
    assert found.zipped(5) == found.zipped(5)


def test_over_http(open_words: Callable[..., WordSets], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words_app, "STREAM_SECONDS", 0.5)
    words = open_words()
    client = client_of(words)
    about = client.post("/api/words", json={"word": "wool"}).json()
    place = f"/api/words/{about['id']}"
    ready(words.get(about["id"]))
    with client.stream("GET", f"{place}/events") as stream:
        event = "".join(stream.iter_text()).split("\n\n")[0]
    assert json.loads(event.split("\ndata: ")[1])["state"] == "ready"
    found = client.get(f"{place}/pictures").json()
    assert len(found["pictures"]) == 12 and found["pictures"][0]["page"] == ""
    assert client.post(f"{place}/click", json={"rank": 5, "mark": "right"}).json()["right"] == 1
    assert client.post(f"{place}/order", json={}).json()["pictures"][0]["rank"] == 5
    picture = client.get(f"{place}/picture/5")
    assert picture.headers["content-type"] == "image/jpeg" and Image.open(io.BytesIO(picture.content)).size == (80, 80)
    assert zipfile.ZipFile(io.BytesIO(client.get(f"{place}/zip?best=3").content)).testzip() is None
    assert [one["word"] for one in client.get("/api/words").json()] == ["wool"]


@pytest.mark.parametrize(("method", "path", "body"), [
    ("POST", "/api/words", {"word": ""}), ("POST", "/api/words", {"word": "x" * 301}),
    ("POST", "/api/words", {"word": "a\0"}), ("POST", "/api/words", {"word": "x", "source": "/etc"}),
    ("POST", "/api/words", {"word": 3}), ("GET", "/api/words/x", None),
    ("GET", "/api/words/0123456789abcdef/pictures", None), ("GET", "/api/words/../pictures", None),
    ("POST", "ID/click", {"rank": 99, "mark": "right"}), ("POST", "ID/click", {"rank": 1, "mark": "maybe"}),
    ("POST", "ID/click", {"rank": -1, "mark": "right"}), ("POST", "ID/click", {"rank": 1, "mark": "right", "x": 1}),
    ("GET", "ID/picture/99", None), ("GET", "ID/picture/..%2f..%2fx", None), ("GET", "ID/zip?best=0", None),
    ("GET", "ID/zip?best=1e9", None), ("POST", "ID/order", {"x": 1})])
def test_what_is_refused(shared_words: WordSets, method: str, path: str, body: Any) -> None:
    client, (found,) = client_of(shared_words), shared_words.all()
    reply = client.request(method, path.replace("ID", f"/api/words/{found.id}"), json=body)
    assert reply.status_code in (404, 405, 422) and "error" in reply.json(), reply.text
    assert len(shared_words.all()) == 1


@pytest.fixture(scope="module")
def shared_words(root: Path) -> Iterator[WordSets]:
    wanted = PicturesByWord.Config(word="x", feature_size=64, layer="size_3", first=3, second=5,
                                   duplicates=4)
    words = WordSets(root / "shared", root / "found", wanted,
                     Ranker(PicturesByWord(wanted).rank_settings(), root / "random"))
    ready(words.start("shared"))
    yield words
    words.close()


def test_a_token_keeps_strangers_out(shared_words: WordSets, capsys: pytest.CaptureFixture[str], root: Path) -> None:
    client = client_of(shared_words, "s" * 20)
    assert client.get("/").status_code == 200 and "s" * 20 not in client.get("/").text
    for path in ("/api/words", f"/api/words/{shared_words.all()[0].id}/pictures"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"x-access": "s" * 20}).status_code == 200
    assert client.post("/api/words", json={"word": "x"}, headers={"x-access": "s" * 20,
                                                                  "origin": "http://evil.example"}).status_code == 403
    assert main(["serve", "words", str(root / "w"), "--source", str(root / "found"), "--host", "0.0.0.0"]) == 2
    assert "give a --token" in capsys.readouterr().err
    assert main(["serve", "words", str(root / "w"), "--source", "nowhere"]) == 2
    assert "no such folder or list" in capsys.readouterr().err


def test_what_fails_is_told_and_can_be_tried_again(root: Path, tmp_path: Path,
                                                   open_words: Callable[..., WordSets]) -> None:
    words = open_words()
    words.source = tmp_path / "urls.txt"
    words.source.write_text("http://127.0.0.1:9/x.jpg\n")
    found = ready(words.start("dead"), "failed")
    assert "refused_private" in found.problem and "\n" not in found.problem
    words.source = root / "found"
    assert ready(words.start("other")).state == "ready"


def test_a_strangers_folder(root: Path, tmp_path: Path, open_words: Callable[..., WordSets]) -> None:
    for name, text in (("a", "{"), ("b", '{"word": 3}\n'), ("c", '{"word": "../../x"}\n'), ("d", "")):
        (tmp_path / "words" / name).mkdir(parents=True)
        (tmp_path / "words" / name / "search.jsonl").write_text(text)
    (tmp_path / "words" / "link").symlink_to(root)
    assert open_words().all() == []


# --------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.mark.browser
@pytest.mark.parametrize("size", [DESK, pytest.param(PHONE, marks=pytest.mark.long)], ids=["desk", "phone"])
def test_a_word_in_a_browser(browser: Any, open_words: Callable[..., WordSets], size: Any) -> None:
    words, secret, complaints = open_words(), "t" * 20, list[str]()
    with served(words_app.build_app(words, host="127.0.0.1", token=secret), words_app.CONNECTIONS) as url:
        page = browser.new_context(viewport=size, accept_downloads=True).new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{url}#{secret}")
        page.fill("#word", "<b>ふわ</b>")
        page.click("text=Collect")
        page.wait_for_selector('body[data-state="ready"] #grid img[src^=blob]')
        assert page.text_content("#name") == "<b>ふわ</b>" and page.locator("#grid .card").count() == 12
        for rank in (5, 7):
            page.click(f'.card[data-rank="{rank}"] [data-answer=right]')
        page.click('.card[data-rank="1"] [data-answer=wrong]')
        page.wait_for_selector("text=2 right, 1 wrong")
        page.click("#order")
        page.wait_for_selector('.card:first-child[data-rank="5"], .card:first-child[data-rank="7"]')
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        page.reload()  # nothing is lost
        page.wait_for_selector('.card[data-rank="7"][data-mark="right"]')
        assert page.locator('[data-mark="wrong"]').count() == 1
        with page.expect_download() as download:
            page.click("text=Best 50 as ZIP")
        with zipfile.ZipFile(download.value.path()) as packed:
            assert "ATTRIBUTION.md" in packed.namelist() and len(packed.namelist()) == 13
        assert len({(one.word, one.state) for one in words.all()}) == 1
        other = browser.new_context(viewport=size).new_page()  # a second person sees the first one's clicks, and clicks
        other.goto(f"{url}#{secret}")
        other.click("#words .button")
        other.click('.card[data-rank="9"] [data-answer=right]')
        page.wait_for_selector('.card[data-rank="9"][data-mark="right"]')
    assert complaints == []


def test_the_folder_of_words_is_not_among_the_pictures_it_reads(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (80, 80)).save(tmp_path / "in" / "a.png")
    for config in (WordsPage.Config(folder=tmp_path / "in" / "words", source=tmp_path / "in"),
                   WordsPage.Config(folder=tmp_path / "in", source=Path("openverse"), negatives=tmp_path / "in")):
        with pytest.raises(UserError, match="is an input"):
            WordsPage(config).serve()
    assert not (tmp_path / "in" / "words").exists()
