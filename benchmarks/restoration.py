"""Restorers on this machine: megapixels a second of each network, and the peak memory of one large photograph.

    python benchmarks/restoration.py                      # speed, against non-local means of OpenCV in the same run
    python benchmarks/restoration.py --memory 6000 4000   # peak memory of `migaki apply` on a photograph of this size

Networks are untrained: their values do not change their speed. Each figure is the best of three.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from speed_row import best

from migaki.core.fit import Run, fit
from migaki.core.source import Source
from migaki.core.system import System
from migaki.data.whole import restorer
from migaki.stages.apply import ApplyJob, apply
from migaki.systems.colourisation import Colourisation
from migaki.systems.deep_detail import DeepDetail
from migaki.systems.pix2pix import Pix2Pix
from migaki.systems.super_resolution import SuperResolution

SIDE = 1024  # px


def systems() -> dict[str, System]:
    """What is timed."""
    return {
        "deep_detail 26 x 16 (paper)": DeepDetail(DeepDetail.Config.paper()),
        "deep_detail 16 x 64, fold 2": DeepDetail(DeepDetail.Config(depth=16, features=64, fold=2, final_norm=False)),
        "deep_detail 12 x 48, fold 2": DeepDetail(DeepDetail.Config(depth=12, features=48, fold=2, final_norm=False)),
        "pix2pix": Pix2Pix(Pix2Pix.Config()),
        "super_resolution x2": SuperResolution(SuperResolution.Config()),
        "colourisation": Colourisation(Colourisation.Config()),
    }


def speed() -> None:
    """Megapixels of input a second, 8-bit photograph in, 8-bit photograph out."""
    random = np.random.default_rng(0)
    photo = random.integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)
    print(f"{SIDE} x {SIDE} px, {torch.get_num_threads()} threads")
    for name, system in systems().items():
        pixels = photo[: system.config.channels]
        for precision in ("fp32", "bf16"):
            work = restorer(system, None, "auto", precision)
            took = best(lambda work=work, pixels=pixels: work(pixels))
            print(f"{name:<30} {precision}  {SIDE * SIDE / took / 1e6:6.2f} Mpx/s", flush=True)
    upright = np.ascontiguousarray(photo.transpose(1, 2, 0))
    took = best(lambda: cv2.fastNlMeansDenoisingColored(upright, None, 10, 10, 7, 21), repeats=1)
    print(f"{'non-local means (OpenCV)':<30} uint8 {SIDE * SIDE / took / 1e6:6.2f} Mpx/s")


def memory(width: int, height: int) -> None:
    """Peak memory of this process before and after restoring one PNG of width x height px."""
    config, batch = DeepDetail.tiny()
    config = DeepDetail.Config(steps=1, depth=16, features=64, fold=2, final_norm=False, patch=16, batch_size=4)

    class Same(Source):
        def batch(self, step: int) -> dict[str, torch.Tensor]:
            return batch

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fit(DeepDetail(config), Same(), Run(log_every=1, sample_every=0), folder / "run", quiet=True)
        small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((256, 256)).save(folder / "small.png")
        apply(folder / "run", ApplyJob(input=folder / "small.png", out=folder / "a"), quiet=True)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        tall = np.repeat(np.repeat(small, 8, axis=0), 8, axis=1)
        Image.fromarray(tall).save(folder / "large.png", compress_level=1)
        del tall
        written = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        apply(folder / "run", ApplyJob(input=folder / "large.png", out=folder / "b"), quiet=True)
        took = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{width} x {height} px: peak {before / 1024:.0f} MiB after a small picture, {written / 1024:.0f} MiB while "
          f"the large one was made, {after / 1024:.0f} MiB after restoring it, {took:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"))
    options = parser.parse_args()
    if options.memory:
        memory(*options.memory)
    else:
        speed()
