"""Changed annotation files, 80 of each layout (200 in `make test-long`): read, or refused in one line."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign_sets as sets
import pytest

from migaki.core.errors import UserError
from migaki.importers.coco import Coco
from migaki.importers.importer import Importer
from migaki.importers.small_yaml import read_yaml
from migaki.importers.sniff import recognise
from migaki.importers.voc import Voc
from migaki.importers.yolo import Yolo

ODD: tuple[Any, ...] = (None, True, -1, 0, 2**70, 1e308, -0.5, float("nan"), float("inf"), "", "../../x", "/etc/passwd",
                        "\0", "\ud800", "a" * 5000, [], {}, [[]], [[1, 2]], {"size": [1, 1], "counts": [1]}, [None] * 9)
BYTES = (b"", b"\0", b"\xff", b"<", b"&#0;", b"-", b"e999", b"nan", b"../", b"9" * 400, b"[", b"}",
         b"'", b'"', b"\n", b": ")

some_rounds = pytest.mark.parametrize("rounds", [30, pytest.param(200, marks=pytest.mark.long)])
"""Of the same row of changes."""


def spoilt(values: Any, draw: random.Random) -> Any:
    """A copy with one to three values, anywhere, replaced or taken away."""
    changed = copy.deepcopy(values)
    for _ in range(draw.randint(1, 3)):
        node, key = changed, draw.choice(["images", "annotations", "categories"])
        while isinstance(node.get(key) if isinstance(node, dict) else node[key], dict | list) and draw.random() < 0.8:
            inner = node[key]
            if not inner:
                break
            node, key = inner, draw.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        if draw.random() < 0.15:
            del node[key]
        else:
            node[key] = copy.deepcopy(draw.choice(ODD))
        if not all(isinstance(changed.get(part), list) for part in ("images", "annotations", "categories")):
            break
    return changed


def cut(data: bytes, draw: random.Random) -> bytes:
    """Bytes with one to three places overwritten, taken away or doubled."""
    for _ in range(draw.randint(1, 3)):
        start = draw.randrange(len(data) + 1)
        end = min(len(data), start + draw.choice((0, 1, 3, 20)))
        data = data[:start] + draw.choice((*BYTES, data[start:end] * 2)) + data[end:]
    return data


def check(importer: Importer, source: Path) -> bool:
    """Whether the set was read; its rows are plain then."""
    recognise(source)
    try:
        for name, image, row in map(importer.load, importer.find(source)):
            name.encode()
            assert image.ndim == 3
            json.dumps({key: value for key, value in row.items() if key != "mask"}, allow_nan=False,
                       ensure_ascii=False).encode()
        return True
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return False


@some_rounds
@pytest.mark.parametrize(("make", "build", "file"), [
    (Yolo, sets.yolo, "labels/train/a.txt"), (Yolo, sets.yolo, "data.yaml"), (Voc, sets.voc, "Annotations/a.xml"),
    (Voc, sets.voc, "ImageSets/Main/train.txt"), (Coco, sets.coco, "annotations/instances_val2017.json"),
])
def test_changed_bytes(make: Callable[[], Importer], build: Callable[..., Path], file: str, rounds: int,
                       tmp_path: Path) -> None:
    draw = random.Random(1)
    source = build(tmp_path / "in")
    whole = (source / file).read_bytes()
    read = 0
    for _ in range(rounds):
        (source / file).write_bytes(cut(whole, draw))
        read += check(make(), source)
    assert 0 < read < rounds


@some_rounds
def test_changed_values_of_coco(rounds: int, tmp_path: Path) -> None:
    draw = random.Random(2)
    source, values = sets.coco(tmp_path / "in"), sets.coco_values()
    read = 0
    for _ in range(rounds):
        text = json.dumps(spoilt(values, draw))
        (source / "annotations" / "instances_val2017.json").write_text(text)
        read += check(Coco(), source)
    assert 0 < read < rounds


YAML = ("# a set\ntrain: ../train/images\nval: 'b # c'\nnames: [cat, 'it''s', \"a: \\\"b\\\"\", 3]\n"
        "nested:\n  a:\n    b: [1\n"
        "kpt_shape: [17, 3]  # points\ntest:\n- a\n- b\npath: ''\nother:\n  0: person\n  1: \"x # y\"\n  2: 2.5\n")


def test_the_part_of_yaml_that_is_read(tmp_path: Path) -> None:
    keys = ("train", "val", "names", "kpt_shape", "test", "path", "other")
    found = read_yaml(YAML, keys)
    assert found == {"train": "../train/images", "val": "b # c", "names": ["cat", "it's", 'a: "b"', 3],
                     "kpt_shape": [17, 3], "test": ["a", "b"], "path": "",
                     "other": {"0": "person", "1": "x # y", "2": 2.5}}
    assert read_yaml("names: {0: a,\n  1: 'b', }\nx: [a,\n b]\n", ("names", "x")) == {
        "names": {"0": "a", "1": "b"}, "x": ["a", "b"]}


def test_yaml_means_the_same_to_its_own_library() -> None:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    text = YAML.replace("nested:\n  a:\n    b: [1\n", "")
    theirs = yaml.safe_load(text)
    theirs["other"] = {str(key): value for key, value in theirs["other"].items()}
    assert read_yaml(text, tuple(theirs)) == theirs
    written = yaml.safe_dump({"names": [f"class number {n}: of many" for n in range(30)], "nc": 30, "val": "é"},
                             default_flow_style=None, allow_unicode=True)
    assert read_yaml(written, ("names", "nc", "val")) == yaml.safe_load(written)
