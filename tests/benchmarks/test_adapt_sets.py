"""The sets of docs/adapt.md: labels lie where things are drawn, and one seed gives one set."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "adapt_sets.py"


@pytest.fixture(scope="module")
def sets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("adapt_sets", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_crates_fill_their_boxes_and_photographs_have_no_label(sets: ModuleType, tmp_path: Path) -> None:
    for name in ("one", "two"):
        sets.toy(tmp_path, tmp_path / name, 30, 0)
    rows = sets.rows_of(tmp_path / "one" / "sim")
    # The last object of a picture lies on top.
    crates = [(row["file_name"], row["boxes"][-1]) for row in rows if row["classes"][-1] == "crate"]
    for name, (x, y, w, h) in crates:
        pixels = np.asarray(Image.open(tmp_path / "one" / "sim" / name))
        assert (pixels[y : y + h, x : x + w] == (200, 150, 60)).all()
    assert len(crates) > 5 and set(sets.rows_of(tmp_path / "one" / "photos")[0]) == {"file_name"}
    for part in ("sim", "photos", "real"):
        for file in sorted((tmp_path / "one" / part).iterdir())[:9]:
            assert file.read_bytes() == (tmp_path / "two" / part / file.name).read_bytes()


def test_the_mask_of_a_doll_holds_what_it_wears(sets: ModuleType) -> None:
    seen: set[str] = set()
    for number in range(40):
        picture, mask, worn = sets.doll(np.random.default_rng(number))
        found = {sets.CLOTHES[index] for index in np.unique(np.asarray(mask))} - {"background"}
        assert picture.size == mask.size and found <= set(worn)  # a coat may hide a whole skirt
        seen |= found
    assert seen == set(sets.CLOTHES) - {"background"}, json.dumps(sorted(seen))
