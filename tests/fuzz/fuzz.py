"""Fuzz a reader for a stated number of cases; a case that crashes it is kept in crashes/ as a test.

    python tests/fuzz/fuzz.py metadata --cases 200000
    python tests/fuzz/fuzz.py image --cases 200000
    python tests/fuzz/fuzz.py model --cases 20000
    python tests/fuzz/fuzz.py import --cases 20000  # label files of importers; also shards, values, names, mask, video
    python tests/fuzz/fuzz.py set --cases 20000       # and shards, run, study, sittings: state files

With atheris (`pip install 'migaki[fuzz]'`) cases are bred for the lines of Python that they reach in migaki, Pillow,
tifffile and the csv and JSON readers; without it they are random mutations of valid files. Each process may take 6 GB
of memory and a case ten seconds; more is a crash, too.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CRASHES = HERE / "crashes"
TARGET_NAMES = ("metadata", "image", "model", "import", "shards", "values", "names", "mask", "video",
                "set", "sharded", "run", "study", "sittings")
_MEMORY = 6 << 30  # bytes
_PATIENCE = 10  # s


def mutate(case: bytes, draw: random.Random) -> bytes:
    """A few random changes: bits, bytes, pieces doubled, cut out, swapped with odd numbers or with each other."""
    data = bytearray(case)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        place = draw.randrange(1, len(data)) if len(data) > 1 else 0
        length = min(draw.choice((1, 1, 2, 4, 8, 64)), len(data) - place)
        how = draw.randrange(7)
        if how == 0 and data:
            data[place] ^= 1 << draw.randrange(8)
        elif how == 1:
            data[place : place + length] = draw.randbytes(length)
        elif how == 2:
            del data[place : place + length]
        elif how == 3:
            data[place:place] = data[place : place + length] * draw.choice((1, 2, 50))
        elif how == 4:
            odd = draw.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**16 - 1, 2**63, 255, 127, 10**6))
            data[place : place + length] = odd.to_bytes(8, draw.choice(("big", "little")))[-length:]
        elif how == 5:
            del data[place:]
        else:
            other = draw.randrange(len(data)) if data else 0
            data[place : place + length] = data[other : other + length]
    return bytes(data)


def mutations(target: str, cases: int, seed: int) -> None:
    """Without guidance: random changes of valid files. Ends with the exception of a case that crashes."""
    from all_targets import TARGETS, seeds

    draw, valid, read = random.Random(seed), seeds(target), TARGETS[target]
    for number in range(cases):
        case = valid[number] if number < len(valid) else mutate(draw.choice(valid), draw)
        began = time.monotonic()
        try:
            read(case)
            assert time.monotonic() - began < _PATIENCE, "slow"
        except BaseException:
            print(f"case kept: {keep(target, case)}", file=sys.stderr)
            raise


def guided(target: str, cases: int, seed: int) -> None:
    """With atheris: does not return."""
    import atheris

    with atheris.instrument_imports(include=["migaki", "PIL", "tifffile", "csv", "json"]):
        import csv  # noqa: F401
        import json  # noqa: F401

        import PIL.Image
        import tifffile  # noqa: F401

        PIL.Image.init()
        from all_targets import TARGETS, seeds

    corpus = Path(tempfile.mkdtemp())
    for number, case in enumerate(seeds(target)):
        (corpus / f"{number:03d}").write_bytes(case)
    atheris.Setup([sys.argv[0], f"-runs={cases}", f"-seed={seed + 1}", f"-rss_limit_mb={_MEMORY >> 20}",
                   f"-timeout={_PATIENCE}", "-max_len=8192", "-print_final_stats=1", "-verbosity=0",
                   f"-artifact_prefix={corpus}/", str(corpus)], TARGETS[target])
    os.environ["FUZZ_CORPUS"] = str(corpus)
    atheris.Fuzz()


def keep(target: str, case: bytes) -> Path:
    """Put a case into crashes/."""
    CRASHES.mkdir(exist_ok=True)
    path = CRASHES / f"{target}_{hashlib.sha256(case).hexdigest()[:12]}.bin"
    path.write_bytes(case)
    return path


def main() -> int:
    """The command line of this file."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("target", choices=TARGET_NAMES)
    options.add_argument("--cases", type=int, default=200_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--engine", choices=["auto", "atheris", "mutations"], default="auto")
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    engine = given.engine
    if engine == "auto":
        engine = "atheris" if importlib.util.find_spec("atheris") else "mutations"
    if given.inside:
        sys.path.insert(0, str(HERE))
        if engine == "atheris":
            guided(given.target, given.cases, given.seed)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        mutations(given.target, given.cases, given.seed)
        return 0
    # A hard crash ends the process that it happens in: the work is done in a child.
    began = time.monotonic()
    words = [sys.executable, __file__, given.target, "--cases", str(given.cases), "--seed", str(given.seed),
             "--engine", engine, "--inside"]
    done = subprocess.run(words, capture_output=True, text=True)
    for name in re.findall(r"Test unit written to (\S+)", done.stderr):
        print(f"case kept: {keep(given.target, Path(name).read_bytes())}")
    if done.returncode:
        print(done.stderr[-3000:], file=sys.stderr)
    shown = [line for line in done.stderr.splitlines() if line.startswith("stat::")]
    outcome = "none crashed" if done.returncode == 0 else "CRASHED"
    print(f"{given.target}: {given.cases} cases, {engine}, seed {given.seed}, {time.monotonic() - began:.0f} s: "
          f"{outcome}  {'; '.join(shown)}")
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
