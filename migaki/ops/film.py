"""A film in memory: pictures of one size as the bytes of an MP4."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_QUALITY = "18"  # H.264's constant rate factor: no loss that an eye notices


def film_bytes(frames: Iterable[Array], rate: int = 25) -> bytes:
    """Returns an MP4 (H.264, one thread, so that the bits are the same everywhere) of `rate` frames a second.

    Pictures whose sides are odd keep them: their chroma is not halved then, which some players do not show.

    Args:
        frames: (H, W, 3) uint8, all of one size.
        rate: Frames a second.

    Raises:
        ImportError: without PyAV.
        ValueError: without a frame.
    """
    import av

    file = io.BytesIO()
    count = 0
    with av.open(file, "w", format="mp4") as sink:
        encoder: Any = sink.add_stream("libx264", rate=rate, options={"crf": _QUALITY, "threads": "1"})
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
