"""Downloads and archives from a server on this machine: limits, checksums, redirects and names that climb."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from refusals import message

from migaki.core.downloads import download, free_bytes, unzip

CONTENT = bytes(range(256)) * 1000


class Server(BaseHTTPRequestHandler):
    """Answers a few paths in the ways in which servers misbehave."""

    def do_GET(self) -> None:
        kind = self.path.strip("/")
        if kind == "missing":
            self.send_error(404)
            return
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/file")
            self.end_headers()
            return
        self.send_response(200)
        if kind != "unannounced":
            self.send_header("Content-Length", str(len(CONTENT) + (100 if kind == "short" else 0)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_whole_file(tmp_path: Path, server: str) -> None:
    seen: list[tuple[int, int | None]] = []
    checksum = hashlib.sha256(CONTENT).hexdigest()
    path = tmp_path / "deep" / "file"
    download(f"{server}/file", path, sha256=checksum, max_bytes=10**6, report=lambda *sizes: seen.append(sizes))
    assert path.read_bytes() == CONTENT and seen[-1] == (len(CONTENT), len(CONTENT))
    download(f"{server}/unannounced", path, sha256=None, max_bytes=len(CONTENT))
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("kind", "limit", "checksum", "expected"),
    [
        ("file", 1000, None, "larger than the limit"),
        ("unannounced", 1000, None, "larger than the limit"),
        ("short", 10**6, None, "broke off after 256000 of 256100"),
        ("file", 10**6, "0" * 64, "another checksum"),
        ("missing", 10**6, None, "answered 404"),
        ("redirect", 10**6, None, "only https"),
    ],
)
def test_refused(tmp_path: Path, server: str, kind: str, limit: int, checksum: str | None, expected: str) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    assert expected in message(lambda: download(f"{server}/{kind}", path, sha256=checksum, max_bytes=limit))
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "url", ["http://example.invalid/a", "file:///etc/passwd", "ftp://127.0.0.1/a", "https:///a", "a"]
)
def test_only_https(tmp_path: Path, url: str) -> None:
    assert "only https" in message(lambda: download(url, tmp_path / "a", sha256=None, max_bytes=1))


def test_nobody_answers(tmp_path: Path) -> None:
    text = message(lambda: download("http://127.0.0.1:9/a", tmp_path / "a", sha256=None, max_bytes=1))
    assert "could not be fetched" in text


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    return path


def test_unzip(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"top/a.txt": b"a", "top/b/c.txt": b"c", "top/d.exe": b"d"})

    def choose(name: str) -> str | None:
        return name.removeprefix("top/") if name.endswith(".txt") else None

    assert unzip(path, tmp_path / "out", max_bytes=100, choose=choose) == 2
    found = {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert found == {"a.txt", "b/c.txt"}


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "a\\..\\b", "C:/a", "a//b", "./a"])
def test_names_that_climb(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "a.zip", {name: b"a"})
    assert "leads out of the folder" in message(lambda: unzip(path, tmp_path / "out", max_bytes=100))
    assert not (tmp_path / "out").exists()


def test_links_bombs_and_damage(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "l.zip", "w") as zipped:
        zipped.writestr(link, "/etc/passwd")
    assert "holds a link" in message(lambda: unzip(tmp_path / "l.zip", tmp_path / "out", max_bytes=100))
    bomb = archive(tmp_path / "b.zip", {"a": bytes(10**6)})
    assert "unpack to more than" in message(lambda: unzip(bomb, tmp_path / "out", max_bytes=1000))
    many = archive(tmp_path / "m.zip", {str(n): b"" for n in range(5)})
    assert "unpack to more than" in message(lambda: unzip(many, tmp_path / "out", max_bytes=1000, max_files=4))
    bomb.write_bytes(bomb.read_bytes()[:-30])
    assert "not a whole zip archive" in message(lambda: unzip(bomb, tmp_path / "out", max_bytes=10**7))


def test_a_forged_list_cannot_write_more(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a", bytes(10**6))
    size = (10**6).to_bytes(4, "little")
    (tmp_path / "f.zip").write_bytes(data.getvalue().replace(size, (10).to_bytes(4, "little")))
    message(lambda: unzip(tmp_path / "f.zip", tmp_path / "out", max_bytes=1000))
    assert not any(file.is_file() for file in (tmp_path / "out").rglob("*"))


def test_free_bytes(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there") > 0
