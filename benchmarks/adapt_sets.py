"""Lays the sets of docs/adapt.md out: simulated pictures, photographs without labels, photographs with labels.

    MIGAKI_DATA=DIR python benchmarks/adapt_sets.py signs|open|clothes|toy OUT [--count N] [--seed N]

writes OUT/sim, OUT/photos and OUT/real, for `migaki adapt OUT/sim OUT/photos --labelled OUT/real --out OUT/out`. Signs
are cut in blocks of ten rows, by turns; eyes by person, by turns. `clothes` draws paper dolls, `toy` crates and balls
whose "photographs" are drawn under another light, with blur and grain.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Row = dict[str, Any]
CLOTHES = ("background", "bag", "dress", "skirt", "trousers", "shorts", "coat", "hat", "glasses", "scarf", "boots",
           "tights")


def rows_of(folder: Path) -> list[Row]:
    """Returns the rows of a set's metadata.jsonl."""
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def write(folder: Path, source: Path, rows: Sequence[Row], names: dict[str, Any] | None = None) -> None:
    """Copies the files of `rows` (keys that end in file_name) into a set of its own."""
    folder.mkdir(parents=True)
    for row in rows:
        for key, value in row.items():
            if key.endswith("file_name"):
                (folder / value).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / value, folder / value)
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if names:
        (folder / "dataset.json").write_text(json.dumps(names))


def simulated(out: Path, *arguments: str) -> None:
    """Runs `migaki simulate`."""
    subprocess.run([sys.executable, "-m", "migaki", "simulate", *arguments, "--out", str(out)], check=True)


def signs(data: Path, out: Path, count: int, seed: int) -> None:
    """Signs drawn by rule; photographs of 23 signs."""
    source = data / "adapt" / "traffic_signs"
    rows = rows_of(source)
    write(out / "photos", source, [{"file_name": row["file_name"]}
                                   for place, row in enumerate(rows) if place // 10 % 2])
    write(out / "real", source, [{"file_name": row["file_name"], "label": row["class"]}
                                 for place, row in enumerate(rows) if not place // 10 % 2])
    simulated(out / "sim", "signs", "--size", "32", "--count", str(count), "--seed", str(seed))


def open_or_closed(data: Path, out: Path, count: int, seed: int) -> None:
    """Infrared eyes, half of them closed; photographs of 10 people without and of 9 others with labels."""
    source = data / "adapt" / "mrl_open_closed"
    rows = rows_of(source)
    people = sorted({row["person"] for row in rows})
    write(out / "photos", source, [{"file_name": row["file_name"]} for row in rows if row["person"] in people[0::2]])
    write(out / "real", source, [{"file_name": row["file_name"], "label": "open" if row["open"] else "closed",
                                  "person": row["person"]} for row in rows if row["person"] in people[1::2]])
    simulated(out / "sim", "infrared_eyes", "--count", str(count), "--seed", str(seed), "--closed-share", "0.5")


def cloth(draw: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Returns a cloth (W, H): plain, striped, checked or mottled, with folds."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    first, second = draw.uniform(10, 245, (2, 3))
    if draw.random() < 0.4:
        first[:] = first.mean()  # much of what people wear is grey, black or white
    kind, period = draw.integers(4), draw.uniform(4, 14)
    where = {0: np.zeros_like(x), 1: (y // period) % 2, 2: ((x // period) + (y // period)) % 2}.get(
        int(kind), np.asarray(Image.fromarray(draw.integers(0, 2, (height // 5 + 1, width // 5 + 1)).astype(np.uint8))
                              .resize(size)))
    folds = 1 + 0.2 * np.sin(x / draw.uniform(4, 12) + draw.uniform(0, 6) + y / draw.uniform(15, 60))
    colour = np.where(where[..., None] > 0, second if draw.random() < 0.5 else first * 0.8, first)
    return Image.fromarray(np.clip(colour * folds[..., None], 0, 255).astype(np.uint8))


def street(draw: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Returns a street out of focus: a wall, windows or cars as boxes, a pavement."""
    width, height = size
    def colour() -> tuple[int, ...]:
        return tuple(int(value) for value in np.clip(draw.integers(20, 230) + draw.normal(0, 20, 3), 0, 255))

    picture = Image.new("RGB", size, colour())
    pen, horizon = ImageDraw.Draw(picture), int(height * draw.uniform(0.5, 0.85))
    for _ in range(draw.integers(5, 40)):
        w, h = draw.integers(4, 40), draw.integers(4, 60)
        left, top = draw.integers(-10, width), draw.integers(-10, horizon)
        pen.rectangle([left, top, left + w, top + h], fill=colour())
    grey = int(draw.integers(70, 190))
    pen.rectangle([0, horizon, width, height], fill=(grey, grey, grey + int(draw.integers(-10, 10))))
    return picture.filter(ImageFilter.GaussianBlur(draw.uniform(0.5, 3)))


class Doll:
    """A person in a street, drawn from below: legs, torso, what is worn over it, head. Lengths are in body heights."""

    def __init__(self, draw: np.random.Generator, size: tuple[int, int]) -> None:
        width, height = size
        self.draw, self.size = draw, size
        self.picture, self.mask = street(draw, size), Image.new("L", size, 0)
        self.tall = height * draw.uniform(0.62, 0.85)
        self.top, self.middle = height * draw.uniform(0.04, 0.14), width * draw.uniform(0.4, 0.6)
        self.half = self.tall * draw.uniform(0.085, 0.12)  # of the shoulders
        self.skin = tuple(int(value) for value in np.array((225, 180, 150)) * draw.uniform(0.4, 1.1))
        self.hair = tuple(map(int, draw.integers(10, 160) * np.array((1, 0.75, 0.5))))
        self.worn: list[str] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of a place: x in shoulder halves from the middle, y from the top of the head."""
        return self.middle + x * self.half, self.top + y * self.tall

    def body(self, points: Sequence[tuple[float, float]]) -> None:
        """A part of the body."""
        ImageDraw.Draw(self.picture).polygon([self.at(*point) for point in points], fill=self.skin)

    def wear(self, name: str, *shapes: Sequence[tuple[float, float]], is_round: bool = False) -> None:
        """One cloth within all shapes; a name that no mask has (a shirt) hides what is below it."""
        shape = Image.new("L", self.size, 0)
        pen = ImageDraw.Draw(shape)
        for points in shapes:
            (pen.ellipse if is_round else pen.polygon)([self.at(*point) for point in points], fill=255)
        self.picture.paste(cloth(self.draw, self.size), (0, 0), shape)
        self.mask.paste(CLOTHES.index(name) if name in CLOTHES else 0, (0, 0), shape)
        if name in CLOTHES:
            self.worn.append(name)

    def below(self) -> None:
        """Legs, and what is worn on them."""
        draw = self.draw
        apart, hip = draw.uniform(0.1, 0.35), draw.uniform(0.75, 0.95)
        legs = [[(side * 0.08, 0.48), (side * hip, 0.48), (side * (apart + 0.45), 0.97), (side * apart, 0.97)]
                for side in (-1, 1)]
        for leg in legs:
            self.body(leg)
        lower = draw.choice(["trousers", "tights", "none"], p=[0.45, 0.25, 0.3])
        if lower != "none":
            self.wear(lower, *legs)
        start = 0.78 if draw.random() < 0.3 else 0.95
        self.wear("boots" if start < 0.9 else "shoes", *(
            [(side * apart, start), (side * (apart + 0.5), start), (side * (apart + 0.6), 1.0), (side * apart, 1.0)]
            for side in (-1, 1)))

    def above(self) -> None:
        """Arms and torso, and what is worn over them."""
        draw = self.draw
        for side in (-1, 1):
            self.body([(side * 0.8, 0.17), (side * 1.1, 0.19), (side * 1.4, 0.5), (side * 1.1, 0.5)])
        self.body([(-0.25, 0.1), (0.25, 0.1), (0.3, 0.2), (-0.3, 0.2)])
        torso = [(-0.95, 0.17), (0.95, 0.17), (0.75, 0.36), (0.85, 0.5), (-0.85, 0.5), (-0.75, 0.36)]
        self.wear("shirt", torso)
        over = draw.choice(["dress", "skirt", "shorts", "none"], p=[0.3, 0.3, 0.15, 0.25])
        hem = draw.uniform(0.58, 0.85)
        if over == "dress":
            self.wear("dress", [*torso[:3], (draw.uniform(0.9, 1.5), hem), (-draw.uniform(0.9, 1.5), hem), torso[-1]])
        elif over == "skirt":
            self.wear("skirt", [(-0.75, 0.38), (0.75, 0.38), (draw.uniform(0.9, 1.6), hem),
                                (-draw.uniform(0.9, 1.6), hem)])
        elif over == "shorts":
            self.wear("shorts", [(-0.8, 0.42), (0.8, 0.42), (0.95, 0.6), (0.1, 0.6), (0, 0.55), (-0.1, 0.6),
                                 (-0.95, 0.6)])
        if draw.random() < 0.5:  # a coat, open in front
            end, gap = draw.uniform(0.5, 0.75), draw.uniform(0.05, 0.4)
            self.wear("coat", *([(side * 0.2, 0.16), (side * 1.1, 0.18), (side * 1.45, 0.5), (side * 1.05, 0.5),
                                 (side * 1.0, end), (side * gap, end)] for side in (-1, 1)))

    def head(self) -> None:
        """Hair and face, and what is worn there or carried."""
        draw, pen = self.draw, ImageDraw.Draw(self.picture)
        pen.ellipse([self.at(-0.65, -0.02), self.at(0.65, draw.uniform(0.14, 0.24))], fill=self.hair)
        pen.ellipse([self.at(-0.5, 0.0), self.at(0.5, 0.13)], fill=self.skin)
        pen.pieslice([self.at(-0.6, -0.03), self.at(0.6, 0.11)], 180, 360, fill=self.hair)
        if draw.random() < 0.3:
            self.wear("hat", [(-0.75, -0.06), (0.75, 0.035)], is_round=True)
        if draw.random() < 0.4:
            self.wear("glasses", [(-0.42, 0.05), (0.42, 0.05), (0.4, 0.075), (-0.4, 0.075)])
        if draw.random() < 0.2:
            self.wear("scarf", [(-0.5, 0.13), (0.5, 0.13), (0.55, 0.2), (0.2, draw.uniform(0.22, 0.4)), (-0.5, 0.2)])
        if draw.random() < 0.7:
            side, low = draw.choice([-1, 1]), draw.uniform(0.42, 0.6)
            self.wear("bag", [(side * 0.9, low), (side * 1.8, low), (side * 1.9, low + 0.12),
                              (side * 0.85, low + 0.12)])


def doll(draw: np.random.Generator, size: tuple[int, int] = (96, 144)) -> tuple[Image.Image, Image.Image, list[str]]:
    """Returns a person in a street, the mask of what is worn, and its names."""
    drawn = Doll(draw, size)
    drawn.below()
    drawn.above()
    drawn.head()
    return drawn.picture, drawn.mask, sorted(set(drawn.worn))


def clothes(data: Path, out: Path, count: int, seed: int) -> None:
    """Paper dolls with masks; 700 photographs of people in streets without labels, 280 with masks."""
    source = data / "labelfree" / "clothes"
    names = {"mask_classes": list(CLOTHES)}
    write(out / "photos", source / "train", [{"file_name": row["file_name"]} for row in rows_of(source / "train")])
    real = out / "real"
    for part in ("val", "test"):
        write(out / part, source / part, [{key: row[key] for key in ("file_name", "mask_file_name")}
                                          for row in rows_of(source / part)], names)
    shutil.move(out / "val", real)
    more = rows_of(out / "test")
    for row in more:
        for key in row:
            row[key], old = f"test_{row[key].replace('/', '_')}", row[key]
            shutil.move(out / "test" / old, real / row[key])
    (real / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows_of(real), *more]))
    shutil.rmtree(out / "test")
    (out / "sim" / "masks").mkdir(parents=True)
    lines = []
    for place in range(count):
        picture, mask, _ = doll(np.random.default_rng((seed, place)))
        picture.save(out / "sim" / f"{place:05d}.png")
        mask.save(out / "sim" / "masks" / f"{place:05d}.png")
        lines.append(json.dumps({"file_name": f"{place:05d}.png", "mask_file_name": f"masks/{place:05d}.png"}) + "\n")
    (out / "sim" / "metadata.jsonl").write_text("".join(lines))
    (out / "sim" / "dataset.json").write_text(json.dumps(names))


def toy(data: Path, out: Path, count: int, seed: int) -> None:
    """The twenty lines of docs/adapt.md; the "photographs" have another light, blur and grain."""
    def draw_set(folder: Path, number: int, first: int, *, is_photo: bool, has_labels: bool = True) -> None:
        folder.mkdir(parents=True)
        draw, lines = np.random.default_rng(first), []
        for index in range(number):
            picture = Image.new("RGB", (48, 48), tuple(map(int, draw.integers(60, 120, 3))))
            boxes, names = [], []
            for _ in range(draw.integers(1, 3)):
                x, y, w, h = (int(value) for value in (*draw.integers(2, 24, 2), *draw.integers(10, 20, 2)))
                kind = ("crate", "ball")[draw.integers(2)]
                pen = ImageDraw.Draw(picture)
                (pen.rectangle if kind == "crate" else pen.ellipse)(
                    [x, y, x + w - 1, y + h - 1], fill=(200, 150, 60) if kind == "crate" else (60, 160, 220))
                boxes.append([x, y, w, h])
                names.append(kind)
            if is_photo:
                light = np.linspace(draw.uniform(0.3, 1), draw.uniform(0.3, 1), 48)[:, None] * draw.uniform(0.5, 1.2, 3)
                pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(draw.uniform(0.3, 1.5)))) * light[None]
                picture = Image.fromarray(np.clip(pixels + draw.normal(0, 9, pixels.shape), 0, 255).astype(np.uint8))
            picture.save(folder / f"{index:05d}.png")
            lines.append(json.dumps({"file_name": f"{index:05d}.png"} | (
                {"boxes": boxes, "classes": names} if has_labels else {})) + "\n")
        (folder / "metadata.jsonl").write_text("".join(lines))

    draw_set(out / "sim", count, seed, is_photo=False)
    draw_set(out / "photos", 400, seed + 1000, is_photo=True, has_labels=False)
    draw_set(out / "real", 400, seed + 2000, is_photo=True)


SETS: dict[str, tuple[Callable[[Path, Path, int, int], None], int]] = {
    "signs": (signs, 4000), "open": (open_or_closed, 6000), "clothes": (clothes, 3000), "toy": (toy, 2000)}


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(SETS))
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, help="simulated pictures")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    data = Path(os.environ.get("MIGAKI_DATA", ""))
    make, usual = SETS[given.name]
    if given.name != "toy" and not (data / "adapt").is_dir():
        raise SystemExit("set MIGAKI_DATA to the folder of the real data sets")
    if given.out.exists() and any(given.out.iterdir()):
        raise SystemExit(f"{given.out} is not empty: choose another folder")
    make(data, given.out, given.count or usual, given.seed)


if __name__ == "__main__":
    main()
