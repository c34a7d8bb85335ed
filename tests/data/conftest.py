"""Folders to read: small ones made here, real ones where MIGAKI_DATA or ../shared/data has them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_pictures import picture, save

os.environ["HF_HUB_OFFLINE"] = "1"  # read by datasets when it is first imported

DATA = Path(os.environ.get("MIGAKI_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """A function: name in the data folder -> path, or skip."""

    def find(name: str) -> Path:
        if not (DATA / name).exists():
            pytest.skip(f"needs {name} in the data folder (MIGAKI_DATA)")
        return DATA / name

    return find


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """12 grey pictures of 4 x 6 px with gaze, side, a truth value, a vector and a text."""
    folder = tmp_path / "labelled"
    rows = []
    for index in range(12):
        save(folder / f"{index}.png", picture(index))
        rows.append(
            {
                "file_name": f"{index}.png",
                "gaze_pitch": index / 10,
                "gaze_yaw": -index / 10,
                "side": index % 2,
                "bad_crop": index == 3,
                "lighting": [0.5, index, 2.0],
                "who": f"person {index}",
            }
        )
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
