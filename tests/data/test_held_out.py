"""Images that are held out: by name, never trained on, the same every time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from migaki.core.errors import UserError
from migaki.core.source import Validated
from migaki.core.validation import is_due
from migaki.data.batches.held_out import divide, is_held_out
from migaki.data.batches.task_source import labelled_source
from migaki.data.folder import ImageFolder


def folder(path: Path, count: int, first: int = 0) -> ImageFolder:
    path.mkdir()
    rows = []
    for index in range(first, first + count):
        Image.fromarray(np.full((4, 4), index % 256, np.uint8)).save(path / f"{index:04d}.png")
        rows.append({"file_name": f"{index:04d}.png", "label": index})
    (path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ImageFolder(path)


def test_the_share_is_kept_and_a_name_belongs_to_one_side_whatever_the_set() -> None:
    names = [f"{index}.png" for index in range(4000)]
    held = {name for name in names if is_held_out(name, 0.1)}
    assert 300 < len(held) < 500
    assert held < {name for name in names if is_held_out(name, 0.2)}  # a larger share keeps the smaller one
    assert not any(is_held_out(name, 0.0) for name in names) and all(is_held_out(name, 1.0) for name in names)


def test_what_is_held_out_is_never_trained_on(tmp_path: Path) -> None:
    whole = [folder(tmp_path / "a", 60), folder(tmp_path / "b", 40, first=30)]
    source = labelled_source(whole, ("image", "label"), 16, seed=1, validate=0.25)
    assert isinstance(source, Validated)
    trained = {int(label) for step in range(40) for label in source.batch(step)["label"]}
    batches = list(source.held_out())
    held = {int(label) for batch in batches for label in batch["label"]}
    assert trained | held == set(range(70)) and not trained & held and 8 < len(held) < 30
    again = list(source.held_out())
    assert all((one["image"] == other["image"]).all() for one, other in zip(batches, again, strict=True))


def test_without_a_share_the_source_is_the_plain_one(tmp_path: Path) -> None:
    source = labelled_source([folder(tmp_path / "a", 8)], ("image", "label"), 4, seed=1)
    assert not isinstance(source, Validated)


def test_too_small_and_too_large_shares(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small = folder(tmp_path / "a", 2)
    assert divide(small, 0.001) == (small, None)
    assert "too few images (2) to hold out" in capfd.readouterr().err
    with pytest.raises(UserError, match="--validate 1 leaves no image to train on"):
        divide(small, 1.0)


@pytest.mark.parametrize(("steps", "log_every", "times"), [(1200, 20, 20), (100, 20, 5), (6, 1, 6), (7, 20, 1)])
def test_validation_comes_about_twenty_times_where_rows_are_written(steps: int, log_every: int, times: int) -> None:
    due = [done for done in range(1, steps + 1) if is_due(done, steps, log_every)]
    assert len(due) == times and due[-1] == steps
    assert all(done % log_every == 0 or done == steps for done in due)
