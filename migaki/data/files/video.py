"""Applies a function to each frame of a video (through PyAV, `migaki[video]`).

Frames are turned upright as they are read: telephones store them in the sensor's orientation, with a matrix for the
display. Only containers that hold their own pictures are opened, because play lists refer to other files.
"""

from __future__ import annotations

import io
import math
import os
import platform
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import explain, show
from migaki.data.files.image_file import MAX_PIXELS

Array = np.ndarray[Any, Any]

VIDEO_EXTENSIONS = frozenset((".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v"))
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"  # FFmpeg's names of the containers with these endings
_QUALITY = "16"  # x264's constant rate factor: hardly distinguishable from the original frames
# With its AVX-512 code x264 made other bits of the same frames from one call to the next (up to 44 % of the calls).
_SAME_BITS = {"x264-params": "asm=avx2"} if platform.machine().lower() in ("x86_64", "amd64") else {}


def count_frames(path: Path) -> int:
    """Returns the approximate number of frames according to the video's header; 0 if unknown or unreadable."""

    def count(stream: Any) -> float:
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        return float(stream.frames or seconds * float(stream.average_rate or 0))

    return max(0, int(_of_header(path, count)))


def frame_rate(path: Path) -> float:
    """Returns the frames a second according to the video's header; 0 if unknown or unreadable."""
    return _of_header(path, lambda stream: float(stream.average_rate or 0))


def _of_header(path: Path, number: Callable[[Any], float]) -> float:
    """Returns a finite number of the picture stream's header; 0 if it cannot be read."""
    try:
        import av
    except ImportError:
        return 0.0
    try:
        with _opened(path) as source:
            found = number(source.streams.video[0])
    except (UserError, av.FFmpegError, OSError, IndexError, ValueError, OverflowError, ZeroDivisionError):
        return 0.0
    return found if math.isfinite(found) else 0.0


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Opens the video as a container of PyAV, which reads this file and no other."""
    import av

    if path.is_file() and not path.stat().st_size:
        raise UserError(f"{show(path)}: is empty: give a video")
    with open(path, "rb") as file, av.open(file, io_open=_no_other, metadata_errors="replace",
                                           options={"format_whitelist": _CONTAINERS}) as source:
        yield source


def _no_other(*_: Any) -> Any:
    raise OSError("a video that refers to other files")


def transform_video(path: Path, target: Path, change: Callable[[Array], Array]) -> int:
    """Write `target` (H.264 in .mp4) with every frame changed; returns the number of frames.

    Only one frame at a time is in memory, and frame times are kept. Sound is copied if .mp4 can hold it.

    Args:
        path: The video; its first picture stream is used.
        target: The file to write, whole or not at all.
        change: (3, H, W) uint8 RGB -> (3, H', W') uint8 RGB, all of one size.

    Raises:
        UserError: without PyAV, or if the video cannot be read.
    """
    try:
        import av
    except ImportError as error:
        raise UserError("videos need PyAV: pip install 'migaki[video]'") from error
    partial = target.with_name(f".{target.stem}.{os.getpid()}.partial.mp4")
    try:
        with _explained(path):
            with _opened(path) as source, av.open(str(partial), "w") as sink:
                count = _copy(path, source, sink, change)
            if not count:
                raise UserError(f"{show(path)}: holds no picture: give a video")
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return count


def frames_of(path: Path) -> Iterator[Array]:
    """Yields the frames of a video one at a time, upright: (3, H, W) uint8 RGB. Raises as `transform_video`."""
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise UserError("videos need PyAV: pip install 'migaki[video]'") from error
    with _explained(path), _opened(path) as source:
        if not source.streams.video:
            raise UserError(f"{show(path)}: holds no picture stream: give a video")
        for frame in source.decode(video=0):
            yield _checked(path, frame)


def film_bytes(frames: Iterable[Array], rate: int = 25) -> bytes:
    """Returns an MP4 (H.264, one thread, so that the bits are the same everywhere) of `rate` frames a second.

    Pictures whose sides are odd keep them: their chroma is not halved then, which some players do not show.

    Args:
        frames: (H, W, 3) uint8, all of one size.
        rate: Frames a second.

    Raises:
        UserError: without PyAV.
        ValueError: without a frame.
    """
    try:
        import av
    except ImportError as error:
        raise UserError("films need PyAV: pip install 'migaki[video]'") from error
    file = io.BytesIO()
    count = 0
    with av.open(file, "w", format="mp4") as sink:
        options = {"crf": _QUALITY, "threads": "1", **_SAME_BITS}
        encoder: Any = sink.add_stream("libx264", rate=rate, options=options)
        for pixels in frames:
            if not count:
                encoder.height, encoder.width = pixels.shape[:2]
                is_even = pixels.shape[0] % 2 == pixels.shape[1] % 2 == 0
                encoder.pix_fmt = "yuv420p" if is_even else "yuv444p"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = count, Fraction(1, rate)
            sink.mux(encoder.encode(frame))
            count += 1
        if not count:
            raise ValueError("a film has a frame at least")
        sink.mux(encoder.encode(None))
    return file.getvalue()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever FFmpeg says of a file into one line that says what to do."""
    import av

    try:
        yield
    except (av.FFmpegError, ValueError, struct.error) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:120]
        raise UserError(f"{show(path)}: cannot be read or written as a video ({show(reason)}): give an MP4, MKV, WebM "
                        "or AVI file that plays, or convert it with ffmpeg") from error
    except OSError as error:
        raise explain(error, show(path)) from error


def _copy(path: Path, source: Any, sink: Any, change: Callable[[Array], Array]) -> int:
    if not source.streams.video:
        raise UserError(f"{show(path)}: holds no picture stream: give a video")
    pictures = source.streams.video[0]
    sounds = [stream for stream in source.streams.audio if stream.codec_context.name in ("aac", "mp3", "ac3")]
    sound = sounds[0] if sounds else None
    sound_out = sink.add_stream_from_template(sound) if sound is not None else None
    encoder = sink.add_stream("libx264", rate=pictures.average_rate or 25, options={"crf": _QUALITY, **_SAME_BITS})
    count = 0
    for packet in source.demux([stream for stream in (pictures, sound) if stream is not None]):
        if sound_out is not None and packet.stream is sound:
            if packet.dts is not None:
                packet.stream = sound_out
                sink.mux(packet)
            continue
        for frame in packet.decode():
            made = change(_checked(path, frame))
            if not count:
                _, encoder.height, encoder.width = made.shape
                # Most players need chroma at half resolution, which odd sides do not allow.
                encoder.pix_fmt = "yuv420p" if made.shape[1] % 2 == made.shape[2] % 2 == 0 else "yuv444p"
                encoder.codec_context.time_base = frame.time_base
            sink.mux(encoder.encode(_frame(made, frame)))
            count += 1
    sink.mux(encoder.encode(None))
    return count


def _checked(path: Path, frame: Any) -> Array:
    """Returns a frame upright, if it is not too large."""
    if frame.width * frame.height > MAX_PIXELS:
        raise UserError(f"{show(path)}: {frame.width} x {frame.height} pixels are more than the limit of "
                        f"{MAX_PIXELS // 2**20} megapixels: scale the video")
    return upright(frame)


def upright(frame: Any) -> Array:
    """Returns a frame of PyAV as (3, H, W) uint8 RGB, turned and mirrored for display."""
    pixels: Array = frame.to_ndarray(format="rgb24").transpose(2, 0, 1)
    matrix = next((bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), b"")
    if len(matrix) >= 36:
        a, b, _, c, d = struct.unpack("=9i", matrix[:36])[:5]  # displayed at (a x + c y, b x + d y)
        if a == d == 0 and b and c:  # a quarter turn; other matrices are left to the player
            pixels = pixels.swapaxes(1, 2)
            a, d = c, b
        if abs(a) and abs(d):
            pixels = pixels[:, :: 1 if d > 0 else -1, :: 1 if a > 0 else -1]
    return np.ascontiguousarray(pixels)


def _frame(pixels: Array, like: Any) -> Any:
    import av

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)), format="rgb24")
    frame.pts, frame.time_base = like.pts, like.time_base
    return frame
