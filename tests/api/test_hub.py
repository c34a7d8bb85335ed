"""push_to_hub and `hf://`: against a stand-in for the hub on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from toy_folders import write_folder

import migaki as mg
from migaki.api.hub import FILES, package

pytest.importorskip("huggingface_hub", reason="needs the extra migaki[hub]")

COMMIT = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a client asks for: repositories are dictionaries of files."""

    files: ClassVar[dict[str, dict[str, bytes]]] = {}
    private: ClassVar[dict[str, bool]] = {}

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, value: Any, code: int = 200, headers: dict[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        for name, text in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.files.setdefault(name, {})
            self.private[name] = asked.get("private", asked.get("visibility") == "private")
            return self.reply({"url": f"http://{self.headers['Host']}/{name}"})
        if self.path == "/api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        name = "/".join(self.path.split("/")[3:5])
        if "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            return self.reply({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False,
                                          "oid": None} for path in names]})
        if "/commit/" in self.path:
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    self.files[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            address = f"http://{self.headers['Host']}/{name}/commit/{COMMIT}"
            return self.reply({"commitUrl": address, "commitOid": COMMIT, "success": True, "hookOutput": ""})
        return self.reply({"error": "unknown"}, 404)

    def do_GET(self) -> None:
        name = "/".join(self.path.split("/")[3:5])
        if self.path.startswith("/api/models/"):
            if name not in self.files:
                return self.reply({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            if "/tree/" in self.path:
                return self.reply([{"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
                                   for path, content in self.files[name].items()])
            return self.reply({"id": name, "sha": COMMIT, "private": True, "tags": [], "downloads": 0,
                               "siblings": [{"rfilename": path} for path in self.files[name]]})
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path)
        content = self.files.get(found[1], {}).get(found[2]) if found else None
        if content is None:
            return self.reply({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        return self.reply(content, headers={"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # others set it; the stand-in is local
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> mg.Run:
    root = tmp_path_factory.mktemp("hub")
    data = write_folder(root / "secret place" / "data", 6, (12, 16))
    made = mg.train("classifier", data, out=root / "run", steps=2, batch_size=4, features=4, device="cpu",
                    sample_every=0, quiet=True)
    made.evaluate(data, quiet=True)
    return made


def test_a_run_goes_to_the_hub_and_comes_back(run: mg.Run, hub: str, tmp_path: Path) -> None:
    run.push_to_hub("people/discs", token="hf_secret", endpoint=hub)
    held = Hub.files["people/discs"]
    assert {"config.json", "model.safetensors", "README.md", "metrics.jsonl", "report.html"} <= set(held)
    assert Hub.private["people/discs"] and "checkpoint" not in held
    assert not [name for name, content in held.items() if b"secret place" in content]  # no path of this machine
    assert b"model-index" in held["README.md"] and b"balanced accuracy" in held["README.md"]
    held["evil.py"] = b"raise SystemExit"
    back = mg.load("hf://people/discs", token="hf_secret", endpoint=hub)
    assert not (back.path / "evil.py").exists()
    picture = Path(run.record["data"]["data"][0]) / "000.png"
    assert back.predict(picture).values == run.predict(picture).values
    with pytest.raises(mg.UserError, match="the hub refused 'people/none'"):
        mg.load("hf://people/none", endpoint=hub)
    for bad in ("discs", "a/b/c", "../x", "a/ b"):
        with pytest.raises(mg.UserError, match="no name on the hub"):
            run.push_to_hub(bad, endpoint=hub)


def test_pictures_go_there_only_when_they_are_asked_for(run: mg.Run, tmp_path: Path) -> None:
    (run.path / "samples").mkdir(exist_ok=True)
    sheet = run.path / "samples" / "000002.png"
    sheet.write_bytes((Path(run.record["data"]["data"][0]) / "000.png").read_bytes())
    for wanted in (False, True):
        place = tmp_path / str(wanted)
        place.mkdir()
        package(run.path, place, pictures=wanted)
        assert (place / "samples" / sheet.name).exists() == wanted
    assert "checkpoint" not in FILES
