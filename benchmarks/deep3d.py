"""Renders stereo pairs for Deep3D, trains it, and judges it on pairs of other scenes.

    python benchmarks/deep3d.py OUT [--train 400] [--test 60] [--side 96] [--steps 3000] [--seed 0]

writes OUT/train and OUT/test (left views with `right_file_name` and the true `disparity`) and OUT/run_SEED. It prints
the mean absolute error of the right view beside the left view itself and its best shift, and the rank correlation of
the parallax with the truth. A finished set or run is not made again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr

from migaki.core.fit import Run, fit
from migaki.data.folder import ImageFolder
from migaki.simulate.scene import SceneSimulator
from migaki.systems.deep3d import Deep3d


def render(out: Path, first: int, count: int, side: int, seed: int) -> None:
    """Write `count` pairs of scenes from number `first` on."""
    if (out / "metadata.jsonl").exists():
        return
    (out / "rights").mkdir(parents=True, exist_ok=True)
    (out / "disparitys").mkdir(exist_ok=True)
    simulator = SceneSimulator(SceneSimulator.Config(kind="stereo", height=side, width=side, supersample=2,
                                                     truth="depth"))
    rows: list[dict[str, Any]] = []
    for number in range(first, first + count):
        made = simulator.render(seed, [2 * number, 2 * number + 1])
        left, right = ((255 * view.permute(1, 2, 0)).round().to(torch.uint8).numpy() for view in made["image"])
        apart = float((made["camera_to_world"][0, :, 3] - made["camera_to_world"][1, :, 3]).norm())
        depth = made["depth"][0].numpy()
        disparity = np.where(depth > 0, float(made["intrinsics"][0, 0]) * apart / np.maximum(depth, 1e-6), 0)
        name = f"{number:05d}"
        Image.fromarray(left).save(out / f"{name}.png", compress_level=1)
        Image.fromarray(right).save(out / "rights" / f"{name}.png", compress_level=1)
        Image.fromarray(disparity.astype(np.float32)).save(out / "disparitys" / f"{name}.tif")
        rows.append({"file_name": f"{name}.png", "right_file_name": f"rights/{name}.png",
                     "disparity_file_name": f"disparitys/{name}.tif"})
    (out / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    for name, value in (("train", 400), ("test", 60), ("side", 96), ("steps", 3000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    render(options.out / "train", 0, options.train, options.side, seed=1)
    render(options.out / "test", options.train, options.test, options.side, seed=1)
    config, source = Deep3d.open(Deep3d.Data(data=options.out / "train"), Deep3d.Config(steps=options.steps),
                                 options.seed)
    torch.manual_seed(options.seed)
    run = Run(seed=options.seed, device="cpu", precision="fp32")
    system = fit(Deep3d(config), source, run, options.out / f"run_{options.seed}").eval()
    test, metric, ranks = ImageFolder(options.out / "test"), system.metric(), []
    assert metric is not None
    for index in range(len(test)):
        batch = test.read([index], ("image", "right"))
        with torch.inference_mode():
            made = system.predict(batch)
        metric.update(made, batch)
        truth = test.plane("disparity", index)
        known = truth > 0
        ranks.append(float(spearmanr(made["parallax"][0].numpy()[known], truth[known]).statistic))
    print({"made": metric.compute(), metric.baseline().name: metric.baseline().figures,
           "rank correlation of parallax": round(float(np.nanmean(ranks)), 3)})


if __name__ == "__main__":
    main()
