"""Non-local means (OpenCV) on the pairs of noise and JPEG on which the networks are judged.

    MIGAKI_DATA=DIR python benchmarks/classical.py OUT      # OUT as in benchmarks/deraining.py

Its strength is chosen for each level by PSNR on four of the held-out photographs, with the same damage.
(BM3D's published code may not be used commercially; it is left out.)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from deraining import arms, pairs_of, prepare
from PIL import Image

from migaki.core.seeds import fold
from migaki.metrics.restoration import Restoration

STRENGTHS = (2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 48)  # of the filter, in levels of 255


def denoise(image: np.ndarray[Any, Any], strength: float) -> np.ndarray[Any, Any]:
    """Non-local means of (H, W, 3) uint8, brightness and colour filtered alike."""
    found: np.ndarray[Any, Any] = cv2.fastNlMeansDenoisingColored(image, None, strength, strength, 5, 15)
    return found


def psnr(image: np.ndarray[Any, Any], target: np.ndarray[Any, Any]) -> float:
    """Of 8-bit images, over all channels."""
    return float(10 * np.log10(255**2 / np.mean((image.astype(float) - target) ** 2)))


def main() -> None:
    """One line for each level."""
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    prepare(out)
    held = [np.asarray(Image.open(path).convert("RGB"))[:200, :200] for path in sorted((out / "held").iterdir())[::8]]
    for arm in ("noise", "jpeg"):
        config = arms()[arm]
        for name, pairs in pairs_of(out, config).items():
            metric, best = Restoration(), choose(config, int(name[len(arm):]), held)
            for path in sorted((pairs / "input").glob("*.png")):
                made, wanted = (np.asarray(Image.open(file).convert("RGB")) for file in
                                (path, pairs / "target" / path.name))
                made = denoise(made, best)
                batch = [torch.from_numpy(x.astype(np.float32) / 255).permute(2, 0, 1)[None] for x in (made, wanted)]
                metric.update({"target": batch[0]}, {"target": batch[1]})
            print(json.dumps({"method": "non-local means", "pairs": name, "strength": best, **metric.compute()}),
                  flush=True)


def choose(config: Any, level: int, held: list[np.ndarray[Any, Any]]) -> float:
    """The strength that does best on held-out photographs damaged at that level."""
    from migaki.simulate.jpeg import Jpeg
    from migaki.simulate.noise import Noise

    damage = (Noise(Noise.Config(sigma=(level / 255, level / 255))) if config.damage == "noise"
              else Jpeg(Jpeg.Config(quality=(level, level))))
    scores = np.zeros(len(STRENGTHS))
    for number, clean in enumerate(held):
        image = torch.from_numpy(clean.astype(np.float32) / 255).permute(2, 0, 1)[None]
        damaged = damage.damage(image, torch.tensor([fold(7, number)]))[0][0].permute(1, 2, 0).numpy()
        eight = np.ascontiguousarray((damaged * 255).round().astype(np.uint8))
        scores += [psnr(denoise(eight, strength), clean) for strength in STRENGTHS]
    return float(STRENGTHS[int(scores.argmax())])


if __name__ == "__main__":
    main()
