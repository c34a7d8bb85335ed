"""A video in, a video out, frame by frame (through PyAV, `migaki[video]`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.errors import UserError

Array = np.ndarray[Any, Any]

VIDEO_EXTENSIONS = frozenset((".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v"))
_QUALITY = "16"  # x264's constant rate factor: hardly to be told from the frames themselves


def count_frames(path: Path) -> int:
    """How many frames the video says it has, about; 0 where it does not say or cannot be read."""
    try:
        import av
    except ImportError:
        return 0
    try:
        with av.open(str(path)) as source:
            stream = source.streams.video[0]
            seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            return int(stream.frames or seconds * float(stream.average_rate or 0))
    except (av.FFmpegError, OSError, IndexError):
        return 0


def transform_video(path: Path, target: Path, change: Callable[[Array], Array]) -> int:
    """Write `target` (H.264 in .mp4) with every frame changed; returns the number of frames.

    One frame at a time lies in memory, frame times are kept. Sound is copied where .mp4 can hold it.

    Args:
        path: The video; its first picture stream counts.
        target: The file to write, whole or not at all.
        change: (3, H, W) uint8 RGB -> (3, H', W') uint8 RGB, all of one size.

    Raises:
        UserError: without PyAV, or where the video cannot be read.
    """
    try:
        import av
    except ImportError as error:
        raise UserError("videos need PyAV: pip install 'migaki[video]'") from error
    partial = target.with_name(f".{target.stem}.{os.getpid()}.partial.mp4")
    try:
        with av.open(str(path)) as source, av.open(str(partial), "w") as sink:
            count = _copy(source, sink, change)
        os.replace(partial, target)
    except av.FFmpegError as error:
        raise UserError(f"{path}: cannot be read or written as a video ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)
    if not count:
        raise UserError(f"{path}: holds no picture")
    return count


def _copy(source: Any, sink: Any, change: Callable[[Array], Array]) -> int:
    if not source.streams.video:
        raise UserError(f"{source.name}: holds no picture stream")
    pictures = source.streams.video[0]
    sounds = [stream for stream in source.streams.audio if stream.codec_context.name in ("aac", "mp3", "ac3")]
    sound = sounds[0] if sounds else None
    sound_out = sink.add_stream_from_template(sound) if sound is not None else None
    encoder = sink.add_stream("libx264", rate=pictures.average_rate or 25, options={"crf": _QUALITY})
    count = 0
    for packet in source.demux([stream for stream in (pictures, sound) if stream is not None]):
        if sound_out is not None and packet.stream is sound:
            if packet.dts is not None:
                packet.stream = sound_out
                sink.mux(packet)
            continue
        for frame in packet.decode():
            made = change(np.ascontiguousarray(frame.to_ndarray(format="rgb24").transpose(2, 0, 1)))
            if not count:
                _, encoder.height, encoder.width = made.shape
                # Chroma is halved by every player's favourite format, which odd sides do not allow.
                encoder.pix_fmt = "yuv420p" if made.shape[1] % 2 == made.shape[2] % 2 == 0 else "yuv444p"
                encoder.codec_context.time_base = frame.time_base
            sink.mux(encoder.encode(_frame(made, frame)))
            count += 1
    sink.mux(encoder.encode(None))
    return count


def _frame(pixels: Array, like: Any) -> Any:
    import av

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)), format="rgb24")
    frame.pts, frame.time_base = like.pts, like.time_base
    return frame
