"""Speed of the eye simulator: images/s at 60x36 and 640x480, one thread and two.

The baseline in the same run is a program that only reads stored patches: it decodes one 60x36 PNG per
image. Usage: python benchmarks/eyes.py [UnityEyes' Assets folder]
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from migaki.simulate.eyes import EyeSimulator


def rate(work: object, count: int, repeats: int = 3) -> float:
    """Best of `repeats` in images/s."""
    assert callable(work)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return count / best


def main() -> None:
    """Print one line a case."""
    sources = {"built-in": None} | ({"assets": Path(sys.argv[1])} if len(sys.argv) > 1 else {})
    for name, assets in sources.items():
        for threads in (1, 2):
            for width, height, count in ((60, 36, 1000), (640, 480, 8)):
                config = EyeSimulator.Config(assets=assets, width=width, height=height, threads=threads, equalise=True)
                eyes = EyeSimulator(config)
                eyes.render(0, [0])  # compile, read the files
                print(f"{name:9s} {width}x{height} {threads} threads "
                      f"{rate(lambda e=eyes, n=count: e.render(0, range(n)), count):8.0f} images/s")
    stored = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (36, 60), np.uint8)).save(stored, "PNG")

    def decode() -> None:
        for _ in range(1000):
            stored.seek(0)
            np.asarray(Image.open(stored))

    print(f"baseline: decoding stored 60x36 PNGs, 1 thread {rate(decode, 1000):8.0f} images/s")


if __name__ == "__main__":
    main()
