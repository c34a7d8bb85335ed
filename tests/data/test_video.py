"""Videos: frames come upright, and nothing but the file itself is opened."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from refusals import message

from migaki.data.files.video import count_frames, transform_video

WHITE, RED, BLACK = "white", "red", "black"


def video(path: Path, matrix: tuple[int, int, int, int] = (1, 0, 0, 1)) -> Path:
    """64 x 48: white at the top left, red at the top right; with the matrix of how it is to be shown."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:16, :16] = 255
    picture[:16, -16:] = (255, 0, 0)
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    data, (a, b, c, d) = bytearray(path.read_bytes()), matrix
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def corners(frame: np.ndarray) -> list[str]:
    """Top left, top right, bottom left, bottom right."""
    colours = [frame[:, y, x].astype(int) for y in (4, -4) for x in (4, -4)]
    return [WHITE if c.min() > 200 else RED if c[0] > 200 else BLACK for c in colours]


@pytest.mark.parametrize(("matrix", "shape", "expected"), [
    ((1, 0, 0, 1), (48, 64), [WHITE, RED, BLACK, BLACK]), ((0, 1, -1, 0), (64, 48), [BLACK, WHITE, BLACK, RED]),
    ((-1, 0, 0, -1), (48, 64), [BLACK, BLACK, RED, WHITE]), ((0, -1, 1, 0), (64, 48), [RED, BLACK, WHITE, BLACK]),
    ((-1, 0, 0, 1), (48, 64), [RED, WHITE, BLACK, BLACK]), ((1, 0, 0, -1), (48, 64), [BLACK, BLACK, WHITE, RED]),
    ((0, 1, 1, 0), (64, 48), [WHITE, BLACK, RED, BLACK]), ((0, 0, 0, 0), (48, 64), [WHITE, RED, BLACK, BLACK]),
])
def test_frames_come_upright(matrix: tuple[int, int, int, int], shape: tuple[int, int], expected: list[str],
                             tmp_path: Path) -> None:
    seen: list[np.ndarray] = []
    source = video(tmp_path / "in.mp4", matrix)
    assert transform_video(source, tmp_path / "out.mp4", lambda frame: (seen.append(frame), frame)[1]) == 3
    assert {frame.shape for frame in seen} == {(3, *shape)} and corners(seen[0]) == expected
    with av.open(str(tmp_path / "out.mp4")) as made:
        frame = next(made.decode(video=0))
    assert (frame.height, frame.width) == shape and frame.rotation == 0
    assert corners(frame.to_ndarray(format="rgb24").transpose(2, 0, 1)) == expected
    assert count_frames(source) == 3


@pytest.mark.parametrize("content", [
    "ffconcat version 1.0\nfile 'real.mp4'\n",
    "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nreal.mp4\n#EXT-X-ENDLIST\n",
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n", "", "rubbish" * 100,
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>', "[Script Info]\n[Events]\n",
])
def test_lists_of_other_files_are_no_videos(content: str, tmp_path: Path) -> None:
    video(tmp_path / "real.mp4")
    (tmp_path / "list.mp4").write_text(content)
    line = message(lambda: transform_video(tmp_path / "list.mp4", tmp_path / "out.mp4", lambda frame: frame))
    assert "list.mp4" in line and line.count(":") > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.mp4", "real.mp4"]
    assert count_frames(tmp_path / "list.mp4") == 0


def test_pictures_and_broken_videos_are_said_in_one_line(tmp_path: Path) -> None:
    data = video(tmp_path / "in.mp4").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(40):
        broken = bytearray(data[: int(random.integers(1, len(data)))])
        for _ in range(3):
            broken[int(random.integers(len(broken)))] = int(random.integers(256))
        (tmp_path / "broken.mp4").write_bytes(broken)
        try:
            transform_video(tmp_path / "broken.mp4", tmp_path / "out.mp4", lambda frame: frame)
        except Exception as error:
            assert type(error).__name__ == "UserError" and "\n" not in str(error), error
        count_frames(tmp_path / "broken.mp4")
    assert "no such file" in message(lambda: transform_video(tmp_path / "no.mp4", tmp_path / "o.mp4",
                                                             lambda frame: frame))


def test_frames_of_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migaki.data.files.video.MAX_PIXELS", 1000)
    source = video(tmp_path / "in.mp4")
    assert "more than the limit" in message(lambda: transform_video(source, tmp_path / "o.mp4", lambda frame: frame))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_the_same_frames_give_the_same_bits(tmp_path: Path) -> None:
    """Noise over a gradient, thirty times: the encoder's fastest code once gave another film in every second call."""
    noise, made = np.random.default_rng(0), set()
    source = video(tmp_path / "in.mp4")
    grain = noise.integers(0, 60, (3, 48, 64)) + np.linspace(0, 180, 64)
    for _ in range(30):
        transform_video(source, tmp_path / "out.mp4", lambda frame: grain.astype(np.uint8))
        made.add((tmp_path / "out.mp4").read_bytes())
    assert len(made) == 1, f"{len(made)} films"
