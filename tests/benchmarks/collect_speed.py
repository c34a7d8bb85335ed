"""How long 1,000 pictures take from their URLs to an ordered set, and what threads and workers bring.

    MIGAKI_DATA=DATA python tests/benchmarks/collect_speed.py [--features NAME=FILE.safetensors] [--layer L] [--count N]

A server on this machine sends the photographs of `texture/random_pool` after a pause of 0.2 s, as servers far away do,
and one in twenty of its addresses is dead. The folder of random pictures is another part of the same photographs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from migaki.data.walk import OutputJob
from migaki.importers.pictures_by_word import PicturesByWord


class _Handler(BaseHTTPRequestHandler):
    pictures: tuple[bytes, ...] = ()
    pause = 0.2  # s

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""

    def do_GET(self) -> None:
        """Send a picture, or nothing for a dead address."""
        number = int(self.path.strip("/").split(".")[0])
        time.sleep(self.pause)
        is_dead = number % 20 == 7
        content = b"" if is_dead else self.pictures[number % len(self.pictures)]
        self.send_response(404 if is_dead else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", default="random")
    parser.add_argument("--layer", default="")
    parser.add_argument("--pooling", default="mean")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--random", type=int, default=500)
    asked = parser.parse_args()
    pool = sorted((Path(os.environ["MIGAKI_DATA"]) / "texture" / "random_pool").rglob("*.jpg"))
    _Handler.pictures = tuple(path.read_bytes() for path in pool[::4][: asked.count])
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = Path(tempfile.mkdtemp())
    try:
        (place / "urls.txt").write_text("".join(
            f"http://127.0.0.1:{server.server_address[1]}/{k}.jpg\n" for k in range(asked.count)))
        (place / "random").mkdir()
        for number, path in enumerate(pool[1::4][: asked.random]):
            shutil.copy(path, place / "random" / f"{number:04d}.jpg")
        os.environ["XDG_CACHE_HOME"] = str(place / "cache")
        for threads, workers in ((1, 1), (4, 1), (16, 1), (64, 1), (16, 2)):
            count = asked.count // 10 if threads == 1 else asked.count
            config = PicturesByWord.Config(count=count, threads=threads, per_host=threads, allow_host=("127.0.0.1",))
            out = place / f"out_{threads}_{workers}"
            began = time.perf_counter()
            made = PicturesByWord(config).run(place / "urls.txt", out, job=OutputJob(out=out, workers=workers))
            seconds = time.perf_counter() - began
            print(f"{threads} threads, {workers} processes: {made} of {count} URLs in {seconds:.1f} s, "
                  f"{count / seconds:.0f} URLs/s", flush=True)
        config = PicturesByWord.Config(count=asked.count, allow_host=("127.0.0.1",), negatives=place / "random",
                                       features=asked.features, layer=asked.layer, pooling=asked.pooling)
        for about in ("features and order", "order again, features kept"):
            began = time.perf_counter()
            PicturesByWord(config).run(place / "urls.txt", place / "out_16_1")
            print(f"{about}: {time.perf_counter() - began:.1f} s", flush=True)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
