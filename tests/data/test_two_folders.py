"""The two folders of a refiner: a handful of pictures is said, since a discriminator learns them by heart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from migaki.core import notices
from migaki.data.batches.two_folders import note_few, open_two


def write(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir()
    random = np.random.default_rng(seed)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(("drawn", "photographs", "said"), [(12, 1, "--photos"), (3, 12, "--synthetic"), (12, 12, "")])
def test_a_handful_of_pictures_is_said(drawn: int, photographs: int, said: str, tmp_path: Path,
                                       capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_given", set())
    synthetic, photos = open_two(write(tmp_path / "s", drawn, 0), write(tmp_path / "p", photographs, 1))
    assert (len(synthetic), len(photos)) == (drawn, photographs)
    note_few(tmp_path / "s", tmp_path / "p")
    line = capsys.readouterr().err
    assert said in line and ("learned by heart" in line) == bool(said)
