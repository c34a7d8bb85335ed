"""The sets of the study of materials: photographs parted into those that lend their style and those that judges see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from migaki.changes.parts.style_pictures import read_picture
from migaki.core.errors import UserError
from migaki.core.files import make_folder, show, write_json
from migaki.data.files.image_file import read_image
from migaki.data.files.member import FilePath, stream
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_names import listed, places_of
from migaki.lab.chain import Step
from migaki.metrics.materials import inner_square
from migaki.ops.perceptual import difference_hash, duplicate_groups
from migaki.report.sheets import image_png

STYLE, JUDGED = "style", "judged"
"""Every second picture of a material lends its style; the others teach the models that judge. Near-duplicates stay
together."""

_LEAST = 8  # pictures of a material
_LEAST_PIECE = 24  # px
_TWINS = 26  # bits of 256 in which near-duplicates differ at most


def known_materials(folder: ImageFolder, wanted: Sequence[str]) -> tuple[str, ...]:
    """Returns the materials of a labelled set, or those that are wanted; UserError for others and for few pictures."""
    names = folder.class_names("label")
    folder.require("label")
    if not names:
        raise UserError(f"{show(folder.path)}: its classes have no names: give a folder with a folder of pictures for "
                        "each material as --words")
    strange = [name for name, place in zip(wanted, places_of(wanted, names), strict=True) if place < 0]
    if strange:
        raise UserError(f"{show(folder.path)}: has no picture of {listed(strange)} (it has {listed(names)}): correct "
                        "--materials")
    chosen = tuple(wanted) or names
    for name in chosen:
        count = int((folder.labels["label"] == names.index(name)).sum())
        if count < _LEAST:
            raise UserError(f"{show(folder.path)}: has {count} pictures of '{show(name)}', and the study needs {_LEAST}"
                            " or more of each: add some, or leave it out of --materials")
    if len(chosen) < 2:
        raise UserError(f"{show(folder.path)}: has one material: the study needs two or more")
    return chosen


def split_step(words: Path, materials: Sequence[str], out: Path) -> Step:
    """Part the pictures of each material into `out`/style and `out`/judged, one folder a material.

    Of a set with masks the square inside what a mask shows is taken, where it has `_LEAST_PIECE` px or more: the rest
    of the picture, such as the board below a thing, is no material.
    """
    about = f"part the pictures of {', '.join(materials) or 'all materials'} in {words}"

    def work(command: str) -> object:
        folder = ImageFolder(words)
        names = folder.class_names("label")
        counts = {}
        for name in known_materials(folder, materials):
            own = np.flatnonzero(folder.labels["label"] == names.index(name)).tolist()
            sources = [folder.file(row) for row in own]
            for number, (row, source, side) in enumerate(zip(own, sources, _sides(sources), strict=True)):
                place = out / (STYLE, JUDGED)[side] / name
                make_folder(place)
                picture = read_picture(folder, row)
                if picture.mask is not None:
                    rows, columns = inner_square(picture.mask[0, 0] > 0)
                    if rows.stop - rows.start >= _LEAST_PIECE:
                        piece = image_png(picture.image[0, :, rows, columns], min_side=1)
                        (place / f"{number:05d}.png").write_bytes(piece)
                    continue
                with stream(source) as file:
                    (place / f"{number:05d}{Path(source.name).suffix.lower()}").write_bytes(file.read())
            counts[name] = [len(list((out / part / name).glob("*"))) for part in (STYLE, JUDGED)]
            if min(counts[name]) < _LEAST // 2:
                raise UserError(f"{show(words)}: the masks of '{show(name)}' leave {sum(counts[name])} squares of "
                                f"{_LEAST_PIECE} px or more, and the study needs {_LEAST // 2} on either side: give "
                                "larger pictures, or leave it out of --materials")
        write_json(out / "split.json", {"command": command, "pictures": counts})
        return counts

    return Step(work=work, proof=out / "split.json", about=about, needs=(words,))


def _sides(sources: Sequence[FilePath]) -> list[int]:
    """0 or 1 for each picture: in turn, and near-duplicates, such as two shots of one thing, on the side of the first.

    A damaged file is named before anything is copied.
    """
    codes = [difference_hash(torch.from_numpy(np.ascontiguousarray(read_image(source)))) for source in sources]
    groups = duplicate_groups(codes, _TWINS)
    turns = {first: number % 2 for number, first in enumerate(dict.fromkeys(groups))}
    return [turns[group] for group in groups]


def select_step(scenes: Path, material: str, out: Path) -> Step:
    """Copy the scenes whose thing is of another material, with their masks."""
    about = f"the scenes of {scenes} without {material}"

    def work(command: str) -> object:
        folder = ImageFolder(scenes)
        number = list(folder.class_names("label")).index(material)
        kept = [row for row, label in zip(folder.rows, folder.labels["label"], strict=True) if label != number]
        for row in kept:
            for column in ("file_name", "mask_file_name"):
                make_folder((out / row[column]).parent)
                (out / row[column]).write_bytes((scenes / row[column]).read_bytes())
        (out / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
        write_json(out / "dataset.json", {"command": command, **{
            key: folder.made[key] for key in ("classes", "mask_classes") if key in folder.made}})
        return len(kept)

    return Step(work=work, proof=out / "dataset.json", about=about, needs=(scenes,))
