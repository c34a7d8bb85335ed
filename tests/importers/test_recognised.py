"""Each layout is recognised by its own reader alone, and nothing that lies in a folder raises an error there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from strange_files import paint, picture
from test_blender import render, scene
from test_drawn import cvat, kitti, labelme
from test_layers_and_tables import carla, kubric, set_of_masks, table
from test_posed import colmap, llff, middlebury, seven, transforms
from test_replicator import shot
from test_unity import perception, solo

from migaki.core.discovery import find_class, names_in
from migaki.importers.importer import Importer
from migaki.importers.sniff import recognise


def replicator(path: Path) -> Path:
    shot(path)
    return path


def blenderproc(path: Path) -> Path:
    return render(path / "0.hdf5").parent


def bop(path: Path) -> Path:
    return scene(path / "train_pbr" / "000001").parent.parent


def video(path: Path) -> Path:
    (path / "7").mkdir(parents=True)
    return kubric(path / "7").parent


def class_folders(path: Path) -> Path:
    for name in ("cat/1.png", "cat/2.png", "dog/1.jpg"):
        picture(path / name)
    return path


SAMPLES: dict[str, Callable[[Path], Path]] = {
    "blenderproc": blenderproc, "bop": bop, "carla": carla, "class_folders": class_folders, "cvat": cvat,
    "kitti": kitti, "kubric": video, "labelme": labelme, "masks": set_of_masks,
    "perception": perception, "replicator": replicator, "solo": solo, "table": table,
    "colmap": colmap, "llff": llff, "middlebury_views": middlebury, "seven_scenes": seven,
    "transforms": transforms}


@pytest.mark.parametrize("name", SAMPLES)
def test_each_layout_is_recognised_by_its_own_reader(name: str, tmp_path: Path) -> None:
    found = recognise(SAMPLES[name](tmp_path / "in"))
    assert [own for own, _ in found] == [name]
    assert "\n" not in found[0][1] and len(found[0][1]) < 120


def test_pictures_alone_are_no_layout(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "more" / "b.png")
    (tmp_path / "in" / "notes.txt").write_text("a.png is nice, b.png is not")
    assert recognise(tmp_path / "in") == []


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_nothing_raises(name: str, tmp_path: Path) -> None:
    """Broken files under the names that readers look for, and a path that is a file."""
    kind: type[Importer] = find_class("importers", name, Importer)
    root = SAMPLES[name](tmp_path / "in")
    for file in sorted(root.rglob("*")):
        if file.is_file():
            whole = file.read_bytes()
            for content in (b"", b"\xff\xfe\0\0", whole[: len(whole) // 2], b"{" * 1000):
                file.write_bytes(content)
                assert isinstance(kind.recognises(root), str) and isinstance(kind.recognises(file), str)
            file.unlink()
            assert isinstance(kind.recognises(root), str)
            file.mkdir()
            assert isinstance(kind.recognises(root), str)


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A folder that leads elsewhere by a link holds nothing."""
    for name, make in SAMPLES.items():
        inner = make(tmp_path / name)
        outer = tmp_path / f"{name}_links"
        outer.mkdir()
        for entry in inner.iterdir():
            (outer / entry.name).symlink_to(entry)
        kind: type[Importer] = find_class("importers", name, Importer)
        assert kind.recognises(outer) == "", name


def test_all_readers_say_where_from() -> None:
    for name in names_in("importers", "Importer"):
        kind: type[Importer] = find_class("importers", name, Importer)
        assert kind.licence and kind.source, name


def test_grey_masks_in_red_alone_are_no_index_masks(tmp_path: Path) -> None:
    tags = np.zeros((6, 8, 3), np.uint8)
    tags[..., 0] = 5
    picture(tmp_path / "images" / "a.png")
    paint(tmp_path / "masks" / "a.png", tags)
    assert [name for name, _ in recognise(tmp_path)] == ["carla"]
