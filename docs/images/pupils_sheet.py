"""Draw docs/images/pupils_sheet.jpg: eyes of `migaki simulate infrared_eyes`, with their pupils."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from migaki.ops.landmarks import mark
from migaki.simulate.infrared_eyes import InfraredEyes

COLUMNS, ROWS, SIDE = 10, 4, 96


def main() -> None:
    """Write the sheet beside this file; in the lower half the labels are marked."""
    batch = InfraredEyes(InfraredEyes.Config(size=SIDE)).render(3, range(COLUMNS * ROWS))
    images = batch["image"].expand(-1, 3, -1, -1) ** 0.7  # brighter than they are, to be seen on a page
    half = len(images) // 2
    marked = mark(images[half:], batch["pupil_centre"][half:, None], (0.1, 0.9, 0.2))
    tiles = np.concatenate([images[:half].numpy(), marked.numpy()]).transpose(0, 2, 3, 1)
    sheet = np.concatenate([np.concatenate(list(tiles[row * COLUMNS : (row + 1) * COLUMNS]), 1) for row in range(ROWS)])
    Image.fromarray(np.uint8(np.round(sheet.clip(0, 1) * 255))).save(Path(__file__).with_suffix(".jpg"), quality=80)


if __name__ == "__main__":
    main()
