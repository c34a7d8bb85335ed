"""Times the help of each command, list, the first training step of the demo, and opening a large set."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

from speed_row import Row, repeated

import migaki.commands
from migaki.data.folder import ImageFolder
from migaki.data.sets.metadata import write_metadata


def measure(folder: Path, quick: bool) -> list[Row]:
    """Seconds against the seconds that are allowed: ratio = measured / allowed."""
    rows = []
    helped = [[name, "--help"] for name in commands()]
    for words, allowed in ((["--help"], 0.3), (["list"], 1.0), (["train", "simgan", "--help"], 0.3),
                           *((words, 0.3) for words in helped)):
        command = [sys.executable, "-m", "migaki", *words]
        took = repeated(partial(subprocess.run, command, check=True, capture_output=True), 3)
        rows.append(_waited(f"migaki {' '.join(words)}", took, allowed))
    took = [_first_step(folder / f"demo{number}") for number in range(2)]
    rows.append(_waited("migaki demo eyes: until the first training step", took, 10))
    rows.append(_open(folder / "set", 20_000 if quick else 100_000))
    return rows


def commands() -> list[str]:
    """The names of all commands."""
    folder = Path(migaki.commands.__path__[0])
    return sorted(path.stem.removesuffix("_command") for path in folder.glob("*_command.py"))


def _waited(what: str, took: list[float], allowed: float) -> Row:
    return Row(what=what, figure=f"{median(took):.2f} s", baseline=f"allowed {allowed:g} s",
               ratios=tuple(each / allowed for each in took), wanted="<= 1")


def _first_step(out: Path) -> float:
    """Seconds until the demo has taken the first step of its first training.

    A run tells of its steps every so many; the first report is late by those after the first, whose time the second
    tells.
    """
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "migaki", "demo", "eyes", "--out", str(out)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    seen: list[tuple[float, str]] = []
    try:
        while len(seen) < 2 and process.poll() is None and time.perf_counter() - start < 120:
            lines = [line for path in out.rglob("timing.jsonl") for line in path.read_text().splitlines()]
            seen += [(time.perf_counter() - start, line) for line in lines[len(seen) :]]
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if len(seen) < 2:
        raise RuntimeError("the demo has not printed two training steps within two minutes")
    first, second = (json.loads(line) for _, line in seen[:2])
    return seen[0][0] - second["seconds"] * (first["step"] - 1) / (second["step"] - first["step"])


def _open(folder: Path, count: int) -> Row:
    """Opening a folder of `count` images (links to one) and their rows, scaled to a million."""
    folder.mkdir()
    (folder / "image.png").write_bytes(b"-")
    names = [f"{index:07d}.png" for index in range(count)]
    for name in names:
        os.link(folder / "image.png", folder / name) if _room(folder) else (folder / name).touch()
    row = {"gaze_pitch": -0.106013, "gaze_yaw": 0.172298, "side": 1, "light": [0.1, 0.2, 0.3]}
    write_metadata(folder / "metadata.jsonl", ({"file_name": name, **row} for name in names))
    took = [each * 1_000_000 / count for each in repeated(lambda: ImageFolder(folder), 2)]
    return _waited(f"opening a set, from {count:,} rows scaled to a million", took, 10)


def _room(folder: Path) -> bool:
    """Whether one more link to the file may be made: file systems have limits."""
    return os.stat(folder / "image.png").st_nlink < 30_000
