"""Installs migaki without constraints into a new environment, and uses it: what somebody gets who installs it today.

    python .ci/clean_install.py [--seconds 600]

A report: the newest versions of the dependencies may break what passes with those of constraints.txt. Exit code 0 if it
works, or if nothing could be fetched (which is said); 1 if the installation or the installed program fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

NO_NETWORK = ("name resolution", "connection refused", "network is unreachable", "timed out", "newconnectionerror",
              "no matching distribution", "proxyerror", "connection aborted", "connection broken")
"""What pip says where it reaches no index, in lower case."""


def main(words: list[str]) -> int:
    """Report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="for all steps together")
    seconds = parser.parse_args(words).seconds
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        bin_ = Path(folder) / "venv" / "bin"
        for command in steps(bin_, Path(folder)):
            print("$", *command, flush=True)
            try:
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True,
                                      timeout=max(1.0, end - time.monotonic()))
                said, code = done.stdout + done.stderr, done.returncode
            except subprocess.TimeoutExpired:
                said, code = f"timed out: {seconds:g} s are over", 1
            if code:
                return verdict(command, said)
    print("CLEAN INSTALLATION: works without constraints")
    return 0


def steps(bin_: Path, folder: Path) -> list[list[str]]:
    """The commands, in order: a new environment, the installation, four uses of the program."""
    migaki = str(bin_ / "migaki")
    return [
        [sys.executable, "-m", "venv", str(bin_.parent)],
        [str(bin_ / "pip"), "install", "--quiet", "--disable-pip-version-check", str(ROOT)],
        [migaki, "--help"],
        [migaki, "list"],
        [migaki, "simulate", "signs", "--count", "8", "--size", "24", "--out", str(folder / "signs")],
        [migaki, "train", "classifier", "--data", str(folder / "signs"), "--steps", "2", "--batch-size", "4", "--out",
         str(folder / "run")],
        [str(bin_ / "pip"), "freeze"],
    ]


def verdict(command: list[str], said: str) -> int:
    """Say why a step failed; 0 where nothing could be fetched, which says nothing about migaki."""
    tail = "\n".join(said.strip().splitlines()[-15:])
    print(tail, file=sys.stderr)
    if "install" in command and any(sign in said.lower() for sign in NO_NETWORK):
        print("CLEAN INSTALLATION: NOT TRIED, nothing could be fetched in time", file=sys.stderr)
        return 0
    print(f"CLEAN INSTALLATION: FAILED at `{' '.join(command)}`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
