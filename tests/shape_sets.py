"""Small sets whose classes are shapes, of any colour anywhere: neighbours in pixels share the ground, not the class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def shapes(folder: Path, count: int, seed: int = 0, *, labels: bool = True, side: int = 16,
           plain: bool = False) -> Path:
    """Discs, bars and crosses of any colour on any ground, anywhere; `plain` ones are light on a dark ground."""
    folder.mkdir()
    random, lines = np.random.default_rng(seed), []
    for number in range(count):
        ranges = ((0, 60), (150, 256)) if plain else ((0, 256), (0, 256))
        ground, colour = (tuple(map(int, random.integers(*span, 3))) for span in ranges)
        picture = Image.new("RGB", (side, side), ground)
        pen, (x, y) = ImageDraw.Draw(picture), random.integers(2, side - 9, 2)
        kind = number % 3
        if kind == 0:
            pen.ellipse([x, y, x + 7, y + 7], fill=colour)
        elif kind == 1:
            pen.rectangle([x, y + 2, x + 7, y + 5], fill=colour)
        else:
            pen.line([x, y, x + 7, y + 7], fill=colour, width=2)
            pen.line([x, y + 7, x + 7, y], fill=colour, width=2)
        picture.save(folder / f"{number}.png")
        lines.append({"file_name": f"{number}.png"} | ({"label": ("disc", "bar", "cross")[kind]} if labels else {}))
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
