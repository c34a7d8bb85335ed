"""`migaki serve run | folder | try`: what they answer, what they refuse, and the pages in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import CHROMIUM
from fastapi.testclient import TestClient
from page_server import served
from PIL import Image
from toy_folders import write_folder

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.core.files import FolderLock
from migaki.core.fit import Run
from migaki.stages.predict import Predictor
from migaki.stages.train import train
from migaki.systems.classifier import Classifier
from migaki.web import folder_app, run_app, try_app
from migaki.web.folder_table import FolderTable, Query

PHONE: Any = {"width": 390, "height": 844}
DESK: Any = {"width": 1280, "height": 900}
Serve = Callable[..., str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with boxes, and a run."""
    place = tmp_path_factory.mktemp("served")
    write_folder(place / "data", 30, (24, 32))
    rows = [json.loads(line) for line in (place / "data" / "metadata.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"boxes": [[2, 3, 10, 8]] * (number % 3), "classes": ["<b>disc"] * (number % 3), "speed": 100.0 - number}
        row |= {"weather": ["sun", "rain"][number % 2]} if number else {}
    (place / "data" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "errors.csv").write_text("file_name,error_px\n" + "".join(f"{k:03d}.png,{k % 7}\n" for k in range(29)))
    train(Classifier, Classifier.Data(data=(place / "data",)), Classifier.Config(steps=4, batch_size=4, features=4),
          Run(device="cpu", log_every=1, sample_every=0), place / "run", quiet=True)
    return place


def client_of(app: Any) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


# --------------------------------------------------------------------------------------------- a set


@pytest.fixture
def table(root: Path) -> FolderTable:
    return FolderTable(root / "data", root / "errors.csv")


def test_rows_are_sorted_and_filtered(table: FolderTable) -> None:
    assert table.worst == "error_px" and table.find(Query()) == list(range(30))
    worst = table.find(Query(sort="error_px", is_descending=True))
    assert worst[:4] == [6, 13, 20, 27] and worst[-1] == 29  # which has no error
    assert table.find(Query(sort="speed"))[0] == 29
    assert table.find(Query(column="weather", equal="rain")) == list(range(1, 30, 2))
    assert table.find(Query(column="file_name", text="01")) == [1, *range(10, 20)]
    assert table.find(Query(column="speed", low=95, high=97)) == [3, 4, 5]
    assert table.find(Query(column="number of boxes", equal="2")) == list(range(2, 30, 3))
    with pytest.raises(UserError, match="no column of single values called 'boxes'"):
        table.find(Query(sort="boxes"))


def test_errors_that_are_none(root: Path, tmp_path: Path) -> None:
    for text, message in (("file_name,error\n000.png,many\n", "not the errors"), ("a,b\n1,2\n", "not the errors"),
                          ("file_name\n000.png\n", "no column"), ("file_name,e\nother.png,1\n", "names no picture"),
                          ("\x00\xff", "no column|not the errors")):
        (tmp_path / "errors.csv").write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError, match=message):
            FolderTable(root / "data", tmp_path)
    with pytest.raises(UserError, match="no such file"):
        FolderTable(root / "data", tmp_path / "none.csv")


def test_a_set_over_http(table: FolderTable) -> None:
    client = client_of(folder_app.build_app(table, host="127.0.0.1"))
    about = client.get("/api/about").json()
    assert about["worst"] == "error_px" and "speed" in [column["name"] for column in about["columns"]]
    found = client.get("/api/rows", params={"sort": "speed", "page": 1}).json()
    assert found["total"] == 30 and [row["index"] for row in found["rows"]] == list(range(5, -1, -1))
    picture = client.get("/api/picture/2")
    assert picture.status_code == 200 and Image.open(io.BytesIO(picture.content)).size == (352, 264)
    assert "script-src 'sha256-" in client.get("/").headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/api/picture/30", "/api/picture/-1", "/api/picture/..%2f..%2fetc%2fpasswd",
                                  "/api/picture/000.png", "/api/rows?page=-1", "/api/rows?page=x", "/data/000.png",
                                  "/api/rows?sort=../x", "/api/rows?low=nan&column=speed", "/../errors.csv",
                                  "/api/rows?sort=" + "x" * 300])
def test_what_a_set_refuses(table: FolderTable, path: str) -> None:
    reply = client_of(folder_app.build_app(table, host="127.0.0.1")).get(path)
    assert reply.status_code in (404, 422) and "error" in reply.json()


def test_a_token_keeps_strangers_out(table: FolderTable, root: Path) -> None:
    secret = "s" * 20
    apps = {"/api/about": folder_app.build_app(table, host="127.0.0.1", token=secret),
            "/api/report": run_app.build_app(root / "run", host="127.0.0.1", token=secret)}
    for path, app in apps.items():
        client = client_of(app)
        assert client.get("/").status_code == 200 and secret not in client.get("/").text
        assert client.get(path).status_code == client.get(path, headers={"x-access": "x"}).status_code == 401
        assert client.get(path, headers={"x-access": secret}).status_code == 200
        assert client.get(path, headers={"x-access": secret, "host": "evil.example"}).status_code == 421


def test_others_are_let_in_only_with_a_token(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["folder", str(root / "data")], ["run", str(root / "run")], ["try", str(root / "run")]):
        assert main(["serve", *words, "--host", "0.0.0.0", "--port", "0"]) == 2
        assert "give a --token" in capsys.readouterr().err
    assert main(["serve", "run", str(root / "data")]) == 2
    assert "no config.json" in capsys.readouterr().err
    assert main(["serve", "foldr", "x"]) == 2 and "did you mean 'folder'" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------- a run


def test_the_state_of_a_run(root: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(root / "run", tmp_path / "run"))
    whole = run_app.state_of(run)
    assert (whole.state, whole.step, whole.steps) == ("finished", 4, 4) and whole.seconds_left is None
    (run / "model.safetensors").unlink()
    assert run_app.state_of(run).state == "stopped"
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:2]))
    (run / "timing.jsonl").write_text('{"step": 0, "seconds": 9}\n{"step": 1, "seconds": 0.5}\n'
                                      '{"step": 2, "seconds": 0.5}\n{"step": 3, "sec')
    lock = FolderLock(run)
    state = run_app.state_of(run)
    assert (state.state, state.step, state.per_second, state.seconds_left) == ("training", 2, 2.0, 1.0)
    assert state.version != whole.version
    changed = (run / "metrics.jsonl").stat().st_mtime
    assert run_app.state_of(run, now=lambda: changed + 3600).state == "stopped"
    lock.close()


def test_a_run_over_http(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Path(shutil.copytree(root / "run", tmp_path / "run"))
    monkeypatch.setattr(run_app, "STREAM_SECONDS", 0.5)
    client = client_of(run_app.build_app(run, host="127.0.0.1"))
    with client.stream("GET", "/api/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        text = "".join(stream.iter_text())
    event, data = text.strip().split("\n")
    state = json.loads(data.removeprefix("data: "))
    assert event == "event: state" and state["state"] == "finished"
    report = client.get("/api/report").json()
    assert report["version"] == state["version"] and "Training classifier" in report["body"]
    (run / "config.json").write_text("{")
    time.sleep(0.6)
    with client.stream("GET", "/api/events") as stream:
        assert '"state": "gone"' in "".join(stream.iter_text())


# --------------------------------------------------------------------------------------------- trying


def bomb(side: int) -> bytes:
    """A PNG that says it is huge."""
    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + bytes((8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def asked(root: Path) -> TestClient:
    run = root / "run"
    return client_of(try_app.build_app(Predictor(run, "cpu"), run, host="127.0.0.1"))


def ask(client: TestClient, content: bytes) -> Any:
    return client.post("/api/read", json={"picture": base64.b64encode(content).decode()})


def test_a_picture_is_read(asked: TestClient, root: Path) -> None:
    found = ask(asked, (root / "data" / "000.png").read_bytes()).json()
    assert found["words"][0][0] == "label" and found["words"][1][1].endswith("%")
    assert Image.open(io.BytesIO(base64.b64decode(found["pictures"][0]))).size == (480, 360)
    assert "camera=(self)" in asked.get("/").headers["permissions-policy"]


def test_what_is_no_picture_is_refused_in_one_sentence(asked: TestClient) -> None:
    small = io.BytesIO()
    Image.new("RGB", (9, 9)).save(small, "PNG")
    for content, message in ((b"", "not an image"), (b"no picture at all", "not an image"),
                             (bomb(5000), "pixels"), (bomb(60000), "megapixels"),
                             (small.getvalue()[:40], "damaged|not an image"),
                             (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image")):
        reply = ask(asked, content)
        assert reply.status_code == 422 and re.search(message, reply.json()["error"]), (message, reply.text)
    for body in ({"picture": "***"}, {"picture": "é"}, {"picture": 3}, {}, {"picture": "", "path": "/etc/passwd"}):
        assert asked.post("/api/read", json=body).status_code == 422
    huge = asked.post("/api/read", content=b"x" * (try_app.LIMITS.body_bytes + 1),
                      headers={"content-type": "application/json"})
    assert huge.status_code == 413
    assert asked.post("/api/read", json={"picture": ""}, headers={"origin": "http://evil.example"}).status_code == 403


# --------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def open_page() -> Iterator[Callable[..., Any]]:
    """Open a page that may complain of nothing and never gets wider than its window."""
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic",
            "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"])

        def new(url: str, size: Any, ready: str) -> Any:
            page = browser.new_context(viewport=size).new_page()
            page.set_default_timeout(20_000)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda message: complaints.append(message.text)
                        if "Content Security Policy" in message.text else None)
            page.goto(url)
            page.wait_for_selector(ready)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            return page

        yield new
        browser.close()
    assert complaints == []


@pytest.mark.browser
def test_the_grid_in_a_browser(table: FolderTable, open_page: Callable[..., Any]) -> None:
    secret = "t" * 20
    with served(folder_app.build_app(table, host="127.0.0.1", token=secret)) as url:
        for size in (DESK, PHONE):
            page = open_page(f"{url}#{secret}", size, "#grid .card img[src^=blob]")
            assert secret not in page.url and page.locator(".card").count() == 24
            assert page.locator(".card .name").first.text_content() == "006.png"  # the worst
            page.select_option("#column", "weather")
            page.select_option("#equal", "rain")
            page.wait_for_selector("text=15 pictures, page 1 of 1")
            assert page.locator(".card").count() == 15 and page.locator("#next").is_disabled()


@pytest.mark.browser
def test_a_run_in_a_browser_follows_what_is_written(root: Path, tmp_path: Path, open_page: Callable[..., Any]) -> None:
    run = Path(shutil.copytree(root / "run", tmp_path / "run"))
    (run / "model.safetensors").unlink()
    rows = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text(rows[0])
    with served(run_app.build_app(run, host="127.0.0.1")) as url:
        page = open_page(url, PHONE, "#report .charts img")
        assert page.text_content("#state") == "stopped" and "step 1 of 4" in page.text_content("#steps")
        before = page.get_attribute("body", "data-version")
        (run / "metrics.jsonl").write_text("".join(rows))
        page.wait_for_selector("text=step 4 of 4")
        page.wait_for_selector(f'body:not([data-version="{before}"])')
        shutil.copyfile(root / "run" / "model.safetensors", run / "model.safetensors")
        page.wait_for_selector('body[data-state="finished"]')
        page.locator("#report .charts img").first.click()  # pictures are still enlarged after the page was replaced
        page.wait_for_selector("dialog.zoom[open]")


@pytest.mark.browser
def test_pictures_and_the_camera_in_a_browser(root: Path, open_page: Callable[..., Any]) -> None:
    run = root / "run"
    app = try_app.build_app(Predictor(run, "cpu"), run, host="127.0.0.1")
    with served(app, try_app.CONNECTIONS) as url:
        page = open_page(url, DESK, "#camera")
        page.set_input_files("#files", [root / "data" / "000.png", root / "data" / "001.png", root / "errors.csv"])
        page.wait_for_selector('.card[data-done="yes"] >> nth=1')
        page.wait_for_selector('.card[data-done="no"]')  # the table is no picture, and its card says so
        page.click("#camera")
        page.wait_for_selector("body[data-frames] #seen[src^=data]")
        assert "label" in page.text_content("#said")
        page.click("#camera")
        page.wait_for_selector("#live", state="hidden")
