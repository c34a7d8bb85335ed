"""A web server on this machine that misbehaves in every way that servers do, and speaks the sources' APIs."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image


def picture(number: int, side: int = 80, form: str = "JPEG") -> bytes:
    """Coarse noise that differs for each number."""
    grid = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)
    image.save(buffer, form, **({"quality": 90} if form == "JPEG" else {}))
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of few bytes that says it is huge."""
    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")


class Handler(BaseHTTPRequestHandler):
    """Each path is one misbehaviour."""

    server: HostileServer

    def log_message(self, format: str, *args: Any) -> None:
        """Be silent."""

    def do_GET(self) -> None:
        """Answer."""
        parts = urlsplit(self.path)
        place = self.server
        with place.turn:
            place.asked.append(self.path)
            place.headers_seen.append(dict(self.headers))
        with contextlib.suppress(OSError):
            self._answer(parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()})

    def _send(self, content: bytes, kind: str = "image/jpeg", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)),
                            **{name.replace("_", "-"): value for name, value in headers.items()}}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, path: str, query: dict[str, str]) -> None:
        first, _, rest = path.strip("/").partition("/")
        own = getattr(self, f"_{first.replace('.', '_')}", None)
        if own is not None and first != "send":
            own(rest, query)
        elif first in self.server.fixed:
            self._send(*self.server.fixed[first])
        else:
            self._send(b"nothing here", "text/plain", 404)

    def _ok(self, rest: str, query: dict[str, str]) -> None:
        with self.server.turn:
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        time.sleep(self.server.pause)
        with self.server.turn:
            self.server.now -= 1
        self._send(picture(int(rest.split(".")[0])))

    def _flaky(self, rest: str, query: dict[str, str]) -> None:
        self.server.tries[rest] += 1
        is_first = self.server.tries[rest] == 1
        self._send(picture(900), status=503 if is_first else 200, Retry_After="0")

    def _noai(self, rest: str, query: dict[str, str]) -> None:
        self._send(picture(901), X_Robots_Tag=rest.replace("_", " ") or "noai")

    def _tdm(self, rest: str, query: dict[str, str]) -> None:
        self._send(picture(902), tdm_reservation="1")

    def _drip(self, rest: str, query: dict[str, str]) -> None:
        if rest != "head":
            self.send_response(200)
            self.end_headers()
        for letter in "X-Long: " + "y" * 200:
            self.wfile.write(letter.encode())
            self.wfile.flush()
            time.sleep(0.05)

    def _endless(self, rest: str, query: dict[str, str]) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(bytes(2**16))

    def _huge(self, rest: str, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(10**11))
        self.end_headers()

    def _broken(self, rest: str, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(picture(903))

    def _redirect(self, rest: str, query: dict[str, str]) -> None:
        """redirect/N: N more hops, then a picture."""
        left = int(rest)
        self._moved(f"/redirect/{left - 1}" if left else "/ok/904.jpg")

    def _elsewhere(self, rest: str, query: dict[str, str]) -> None:
        self._moved(query["to"])

    def _moved(self, place: str) -> None:
        self.send_response(302)
        self.send_header("Location", place)
        self.send_header("Content-Length", "0")
        self.end_headers()

    # ---------------------------------------------------------------- the sources' APIs

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", status, X_Robots_Tag="noindex")

    def _v1(self, rest: str, query: dict[str, str]) -> None:
        """Openverse's `GET /v1/images/`."""
        size, page, total = int(query["page_size"]), int(query["page"]), 45
        numbers = range((page - 1) * size, min(page * size, total))
        found = {"result_count": total, "page_count": -(-total // size), "page_size": size, "page": page}
        self._json(found | {"results": [
            {"id": str(k), "title": f"{query['q']} {k}", "url": f"{self.server.url}ok/{k}.jpg", "creator": "An Author",
             "foreign_landing_url": f"https://example.org/{k}", "license": "by-sa", "license_version": "4.0",
             "license_url": "https://creativecommons.org/licenses/by-sa/4.0/", "mature": False} for k in numbers]})

    def _w(self, rest: str, query: dict[str, str]) -> None:
        """MediaWiki's Action API: `generator=search` with image information in parts."""
        start = int(query.get("gsroffset", 0))
        limit = int(query["gsrlimit"])
        pages = [{"pageid": k, "ns": 6, "title": f"File:Picture {k}.jpg", "index": k + 1, "imageinfo": [{
            "url": f"{self.server.url}ok/{k}.jpg", "thumburl": f"{self.server.url}ok/{k}.jpg?w={query['iiurlwidth']}",
            "descriptionurl": f"https://commons.example/{k}", "extmetadata": {
                "Artist": {"value": '<a href="//x.example">Ada <b>L.</b></a>'},
                "LicenseShortName": {"value": "CC BY 4.0"},
                "LicenseUrl": {"value": "https://creativecommons.org/licenses/by/4.0"}}}]}
                 for k in range(start, min(start + limit, 70))]
        answer: dict[str, Any] = {"batchcomplete": True, "query": {"pages": pages[::-1]}}
        if start + limit < 70:
            answer["continue"] = {"gsroffset": start + limit, "continue": "gsroffset||"}
        self._json(answer)

    def _engine(self, rest: str, query: dict[str, str]) -> None:
        """An engine that wants a key."""
        if self.headers.get("X-Key") != "a-secret-key":
            self._json({"error": "no key"}, 401)
            return
        start = int(query.get("offset", 0))
        self._json({"data": {"items": [{"contentUrl": f"{self.server.url}ok/{k}.jpg", "name": query["q"],
                                        "host": {"page": f"https://example.org/{k}"}}
                                       for k in range(start, min(start + 50, 60))]}})


class HostileServer(ThreadingHTTPServer):
    """The server; `url` ends with a slash."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.turn = threading.Lock()
        self.asked: list[str] = []
        self.headers_seen: list[dict[str, str]] = []
        self.tries = Counter[str]()
        self.now = self.most = 0
        self.pause = 0.0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        self.fixed: dict[str, tuple[bytes, str]] = {
            "html.jpg": (b"<!doctype html><p>Not found", "image/jpeg"), "page.html": (b"<html>", "text/html"),
            "empty.jpg": (b"", "image/jpeg"), "bomb.png": (bomb(60_000), "image/png"),
            "large.png": (bomb(6_000), "image/png"), "tiny.png": (picture(1, 8, "PNG"), "image/png"),
            "cut.jpg": (picture(2)[:300], "image/jpeg"), "palette.gif": (picture(3, form="GIF"), "image/gif"),
            "lossless.webp": (picture(4, form="WEBP"), "image/webp"), "wide.jpg": (picture(5, 700), "image/jpeg"),
            "svg.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
            "copy.jpg": (picture(0), "image/jpeg"), "half.jpg": (picture(0, 64), "image/jpeg"),
            "nojson": (b"<html>", "application/json")}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent: clients hang up on purpose."""


@contextlib.contextmanager
def hostile_server() -> Iterator[HostileServer]:
    """A running server."""
    server = HostileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
