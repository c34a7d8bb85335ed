"""Draws ladder.png from the runs of the arms ladder_* of benchmarks/deraining.py: python docs/images/ladder.py OUT."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

RUNGS = ("direct", "resnet", "neg_mapping", "full")


def main(out: Path) -> None:
    """PSNR of the training patches against updates, each row the mean of those since the row before."""
    figure, axis = plt.subplots(figsize=(7, 3.2), constrained_layout=True)
    for rung in RUNGS:
        lines = (out / f"ladder_{rung}_400_0" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        steps, psnr = (np.array([row[key] for row in rows]) for key in ("step", "net/psnr"))
        axis.plot(steps, psnr, label=rung)
    axis.plot(steps, [row["net/psnr_damaged"] for row in rows], color="grey", linestyle=":", label="in rain, as it is")
    axis.set(xlabel="updates", ylabel="PSNR of training patches, dB")
    figure.legend(loc="outside upper center", ncols=5, frameon=False)
    figure.savefig(Path(__file__).with_name("ladder.png"), dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
