"""Folders to read, made here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from sample_pictures import picture, save

os.environ["HF_HUB_OFFLINE"] = "1"  # read by datasets when it is first imported


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
