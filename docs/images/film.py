"""Draw docs/images/film.gif: a film of a rendered eye; matched frame by frame; matched as a film. Renders only.

The "photographs" are renders through the stand-in for a camera (`simulate stand_in_camera`).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from migaki.changes.match import Match
from migaki.changes.pan import Pan
from migaki.data.folder import ImageFolder
from migaki.simulate.eyes import EyeSimulator
from migaki.simulate.stand_in_camera import StandInCamera
from migaki.stages.apply import ApplyJob, apply_change
from migaki.stages.simulate import SimulateJob, simulate

FRAMES, ENLARGED, SHOWN = 20, 2, 1  # frames; times; number of the film that is shown
NAMES = ("rendered", "frame by frame", "as a film")


def main(work: Path) -> None:
    """Make the sets below `work`, and write the picture beside this file."""
    stills = simulate("eyes", EyeSimulator(EyeSimulator.Config(width=90, height=54)),
                      SimulateJob(out=work / "stills", count=2))
    films = apply_change("pan", Pan(Pan.Config(window=2 / 3)),
                         ApplyJob(input=stills, out=work / "films", variants=FRAMES))
    photos = simulate("stand_in_camera", StandInCamera(StandInCamera.Config()),
                      SimulateJob(out=work / "photos", count=60))
    match = Match(Match.Config(to=photos))
    sets = [films, *(apply_change("match", match, ApplyJob(input=given, out=work / out)) for given, out in
                     ((_loose(films, work / "loose"), "by_frame"), (films, "as_film")))]
    rows = [slice(SHOWN * FRAMES, (SHOWN + 1) * FRAMES)] * len(sets)
    shown = [ImageFolder(one).read(range(row.start, row.stop), ("image",))["image"] for one, row in
             zip(sets, rows, strict=True)]
    pictures = [_frame([one[number] for one in shown]) for number in range(FRAMES)]
    pictures[0].save(Path(__file__).with_suffix(".gif"), save_all=True, append_images=pictures[1:], duration=90, loop=0,
                     optimize=True)


def _loose(films: Path, out: Path) -> Path:
    """The same frames without a word of films."""
    out.mkdir(exist_ok=True)
    lines = []
    for line in (films / "metadata.jsonl").read_text().splitlines():
        row = json.loads(line)
        (out / row["file_name"]).write_bytes((films / row["file_name"]).read_bytes())
        lines.append(json.dumps({"file_name": row["file_name"]}) + "\n")
    (out / "metadata.jsonl").write_text("".join(lines))
    return out


def _frame(images: list[object]) -> Image.Image:
    """The pictures side by side, each under its name."""
    tiles = []
    for image, name in zip(images, NAMES, strict=True):
        grey = np.uint8(np.round(np.asarray(image)[0] * 255))
        tile = Image.fromarray(grey).resize((ENLARGED * grey.shape[1], ENLARGED * grey.shape[0]),
                                            Image.Resampling.NEAREST)
        whole = Image.new("L", (tile.width + 4, tile.height + 22), 255)
        ImageDraw.Draw(whole).text((4, 2), name, fill=40, font=ImageFont.load_default(14))
        whole.paste(tile, (0, 22))
        tiles.append(whole)
    sheet = Image.new("L", (sum(tile.width for tile in tiles), tiles[0].height), 255)
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number * tile.width, 0))
    return sheet.point([value // 8 * 8 for value in range(256)])  # fewer greys: a smaller file


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
