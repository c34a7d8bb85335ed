"""UnityEyes' assets come from an archive like GitHub's, only after the licence is accepted, and whole or not at all."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from refusals import message

from migaki.importers.assets import UNITYEYES_LICENCE, UNITYEYES_URL, fetch_unityeyes

PNG = b"\x89PNG\r\n\x1a\n and so on"
FILES = {
    "LICENSE": b"MIT License",
    "README.md": b"not an asset",
    "Assets/eye_region.3ds": b"3ds",
    "Assets/Script.cs": b"code",
    "Assets/Resources/ShapePCA/pca_model.txt": b"1 2",
    "Assets/Resources/SkinTextures/f01_color.png": PNG,
    "Assets/Resources/IrisTextures/eyeball_brown.png": PNG,
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "served"
    root.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/main.zip"
        running.shutdown()


def serve(tmp_path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(tmp_path / "served" / "main.zip", "w") as zipped:
        zipped.writestr("UnityEyes2-main/", b"")
        for name, data in files.items():
            zipped.writestr(f"UnityEyes2-main/{name}", data)


def test_fetch(tmp_path: Path, server: str) -> None:
    serve(tmp_path, FILES)
    out = tmp_path / "out"
    assert fetch_unityeyes(out, server, accept_licence=True) == out / "Assets"
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {name for name in FILES if not name.endswith((".md", ".cs"))} | {"assets.json"}
    assert json.loads((out / "assets.json").read_text())["url"] == server
    assert "exists already" in message(lambda: fetch_unityeyes(out, server, accept_licence=True))


def test_the_licence_comes_first(tmp_path: Path, server: str) -> None:
    assert "not accepted" in message(lambda: fetch_unityeyes(tmp_path / "out", server))
    assert not (tmp_path / "out").exists()
    assert "MIT" in UNITYEYES_LICENCE and "Erroll Wood" in UNITYEYES_LICENCE and UNITYEYES_URL.startswith("https://")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"Assets/Resources/ShapePCA/pca_model.txt": None}, "holds no Assets/Resources/ShapePCA"),
        ({"Assets/Resources/IrisTextures/eyeball_brown.png": b"version https://git-lfs"}, "is no PNG"),
        ({"Assets/../../../evil.png": PNG}, "leads out of the folder"),
    ],
)
def test_other_archives(tmp_path: Path, server: str, change: dict[str, bytes | None], expected: str) -> None:
    serve(tmp_path, {name: data for name, data in {**FILES, **change}.items() if data is not None})
    assert expected in message(lambda: fetch_unityeyes(tmp_path / "out", server, accept_licence=True))
    assert list((tmp_path / "out").iterdir()) == []


def test_no_archive(tmp_path: Path, server: str) -> None:
    assert "answered 404" in message(lambda: fetch_unityeyes(tmp_path / "out", server, accept_licence=True))
    (tmp_path / "served" / "main.zip").write_bytes(b"hello")
    assert "not a whole zip" in message(lambda: fetch_unityeyes(tmp_path / "out", server, accept_licence=True))
