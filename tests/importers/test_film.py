"""`import film`: frames in time with their film's name, the same bits from any frame on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from refusals import message

from migaki.data.files.image_file import read_image
from migaki.data.folder import ImageFolder
from migaki.data.sets.clips import clips_of
from migaki.data.walk import OutputJob
from migaki.importers.film import Film


def write_film(path: Path, count: int) -> Path:
    """Frame k is grey of brightness 20 k."""
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for number in range(count):
            pixels = np.full((24, 32, 3), 20 * number, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    return path


def test_frames_and_their_columns(tmp_path: Path) -> None:
    film = write_film(tmp_path / "street.mp4", 7)
    assert "street.mp4" in Film.recognises(film) and Film.recognises(tmp_path) == ""
    assert Film(Film.Config(every=2)).run(film, tmp_path / "out") == 4
    folder = ImageFolder(tmp_path / "out")
    assert [(row["clip"], row["frame"]) for row in folder.rows] == [("street", n) for n in (0, 2, 4, 6)]
    shades = [float(read_image(folder.file(n)).mean()) for n in range(4)]
    assert np.allclose(shades, [0, 40, 80, 120], atol=3)
    clips = clips_of(folder.rows, "out")
    assert clips is not None and clips.films == [[0, 1, 2, 3]]
    Film(Film.Config(every=2)).run(film, tmp_path / "two", job=OutputJob(out=tmp_path / "two", workers=2))
    for name in folder.names:
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_a_folder_of_films(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, count in (("a.mp4", 2), ("b.mkv", 3)):
        write_film(tmp_path / "in" / name, count)
    Film(Film.Config(limit=2)).run(tmp_path / "in", tmp_path / "out")
    rows = ImageFolder(tmp_path / "out").rows
    assert [(row["clip"], row["frame"]) for row in rows] == [("a.mp4", 0), ("a.mp4", 1), ("b.mkv", 0), ("b.mkv", 1)]
    importer = Film()
    entries = importer.find(tmp_path / "in")
    last = importer.load(entries[4])[1]
    assert np.array_equal(importer.load(entries[2])[1], Film().load(entries[2])[1])  # back to an earlier frame
    assert np.array_equal(importer.load(entries[4])[1], last)


def test_what_is_no_film_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no film" in message(lambda: Film().run(tmp_path / "empty", tmp_path / "out"))
    film = write_film(tmp_path / "cut.mp4", 3)
    film.write_bytes(film.read_bytes()[:200])
    assert "cut.mp4" in message(lambda: Film().run(film, tmp_path / "out"))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile 'cut.mp4'\n")
    assert "list.mp4" in message(lambda: Film().run(tmp_path / "list.mp4", tmp_path / "out"))
    assert "--every 0" in message(lambda: Film.Config(every=0))
    assert not (tmp_path / "out" / "metadata.jsonl").exists()
