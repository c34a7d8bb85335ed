"""Draw damage_rain.jpg: three draws of the default ranges over scikit-image's photographs, and the light of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

from migaki.simulate.rain import Rain

SIDE = 280


def main() -> None:
    """Write the sheet beside this file."""
    canvas = Image.new("RGB", (3 * SIDE, 2 * SIDE))
    for number, photo in enumerate((data.astronaut(), data.chelsea(), data.coffee())):
        clean = torch.from_numpy(photo[:SIDE, 60:60 + SIDE].astype(np.float32) / 255).permute(2, 0, 1)[None]
        rainy, parameters = Rain().damage(clean, torch.tensor([number + 3]))
        for row, image in enumerate((rainy[0], parameters["rain"][0].clamp(0, 1).expand(3, -1, -1))):
            pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
            canvas.paste(Image.fromarray(pixels), (number * SIDE, row * SIDE))
    canvas.save(Path(__file__).with_suffix(".jpg"), quality=88)


if __name__ == "__main__":
    main()
