"""Draw docs/images/eyes_sheet.jpg: three rows from UnityEyes' assets (given as the argument), three built by rule."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from migaki.simulate.eyes import EyeSimulator

COLUMNS, ROWS = 4, 3


def main() -> None:
    """Write the sheet beside this file."""
    sources: list[Path | None] = [*map(Path, sys.argv[1:2]), None]
    rows = []
    for assets in sources:
        config = EyeSimulator.Config(
            assets=assets, width=640, height=384, channels=3, identities=(0, 3, 7, 11), iris_tint_range=(0.7, 1.2),
            sclera_tint_range=(0.6, 0.9), gradient_normal=(0.0, 0.2), exposure_range=(0.18, 0.3),
        )
        image = EyeSimulator(config).render(2, range(COLUMNS * ROWS))["image"]
        tiles = np.uint8(np.round(image.numpy().transpose(0, 2, 3, 1) * 255)).reshape(ROWS, COLUMNS, 384, 640, 3)
        rows.append(tiles.transpose(0, 2, 1, 3, 4).reshape(ROWS * 384, COLUMNS * 640, 3))
    sheet = Image.fromarray(np.concatenate(rows))
    sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS).save(
        Path(__file__).with_suffix(".jpg"), quality=78
    )


if __name__ == "__main__":
    main()
