"""Pictures of the user's own and scikit-learn's digits: sizes, halves, labels, damage."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.importers.optdigits import OptDigits
from migaki.importers.photos import Photos, halved


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Five pictures of differing size and kind in a folder without labels."""
    folder = tmp_path / "mine"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        pixels = rng.integers(90, 130, (40 + number, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"p{number}.{'jpg' if number % 2 else 'png'}")
    return folder


def test_halves_share_nothing() -> None:
    assert halved(5, "first") + halved(5, "second") == halved(5, "all") == [0, 1, 2, 3, 4]


def test_pictures_come_in_one_size(mine: Path, tmp_path: Path) -> None:
    assert Photos(Photos.Config(half="second", equalise=True)).run(mine, tmp_path / "out") == 3
    folder = ImageFolder(tmp_path / "out")
    assert folder.shape == (1, 36, 60) and folder.names[0].startswith("p2")
    image = folder.read([0], ("image",))["image"]
    assert image.min() == 0 and image.max() == 1
    assert Photos(Photos.Config(limit=2, channels=3)).run(mine, tmp_path / "few") == 2


def test_labels_can_be_left_out(mine: Path, tmp_path: Path) -> None:
    rows = "".join(f'{{"file_name": "{path.name}", "gaze_pitch": 0.1, "gaze_yaw": 0.2, "side": 1}}\n'
                   for path in sorted(mine.iterdir()))
    (mine / "metadata.jsonl").write_text(rows)
    Photos(Photos.Config()).run(mine, tmp_path / "labelled")
    Photos(Photos.Config(labelled=False)).run(mine, tmp_path / "bare")
    assert "gaze" in ImageFolder(tmp_path / "labelled").labels
    assert set(ImageFolder(tmp_path / "bare").labels) == {"side"}


def test_scikit_learns_digits(tmp_path: Path) -> None:
    assert OptDigits().run("scikit-learn", tmp_path / "all") == 1797
    folder, truth = ImageFolder(tmp_path / "all"), load_digits()
    assert np.array_equal(folder.labels["label"], truth.target)
    images = folder.read(range(50), ("image",))["image"][:, 0].numpy()
    assert np.abs(images - truth.images[:50] / 16).max() < 0.003
    assert OptDigits(OptDigits.Config(half="first", labelled=False)).run("scikit-learn", tmp_path / "half") == 898
    assert not ImageFolder(tmp_path / "half").labels


@pytest.mark.parametrize("content", [b"1,2,3\n", b"\xff\xfe", gzip.compress(b"1,2\n", mtime=0)[:-9],
                                     b",".join([b"99"] * 65)])
def test_another_table_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "digits.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"digits\.csv"):
        OptDigits().run(tmp_path / "digits.csv", tmp_path / "out")
