"""From a URL to a checked picture: fetched, decoded by the guarded reader, scaled and hashed; or the reason why not."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from migaki.core.errors import UserError
from migaki.core.files import open_plain
from migaki.data.files import framing
from migaki.data.files.encoding import encode_image
from migaki.data.files.image_file import is_plain_jpeg, read_header, read_image
from migaki.data.files.member import Member
from migaki.importers.collecting.fetch import Fetched, Limits, fetch
from migaki.ops.perceptual import difference_hash

MAX_PIXELS = 2**25
"""Pixels of a collected picture; larger ones are `too_large`."""

_DECODERS = threading.BoundedSemaphore(4)  # a decoded picture may take 200 MB


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which pictures are taken, and how they are stored."""

    limits: Limits = field(default_factory=Limits)
    min_side: int = 64  # px, of the shorter side
    longest: int = 1024  # px, of the longer side: larger pictures are scaled down; 0 = none are
    root: Path | None = None  # the folder of `file:` addresses; None: there are none


@dataclass(frozen=True, kw_only=True, slots=True)
class Picked:
    """The result for one URL: `ok` with a file's content, or a status and its reason."""

    status: str
    reason: str = ""
    data: bytes = b""
    suffix: str = ""
    sha256: str = ""  # of what the server sent
    difference_hash: str = ""  # hexadecimal
    width: int = 0
    height: int = 0
    hops: tuple[str, ...] = ()


class Received(Member):
    """The bytes that came from a URL."""

    def __init__(self, content: bytes) -> None:
        super().__init__(Path("picture"), "picture")
        self.content = content

    def __fspath__(self) -> str:
        return "picture"

    __str__ = __fspath__

    def read_bytes(self) -> bytes:
        """Its content."""
        return self.content


def pick(url: str, wanted: Wanted) -> Picked:
    """Returns the picture at a URL, or at `file:PATH` below `wanted.root`; raises nothing for whatever is there.

    Statuses besides those of `fetch`: not_an_image, too_small.
    """
    fetched = _local(url.removeprefix("file:"), wanted) if wanted.root is not None else fetch(url, wanted.limits)
    if fetched.status != "ok":
        return Picked(status=fetched.status, reason=fetched.reason, hops=fetched.hops)
    try:
        with _DECODERS:
            return _decoded(fetched, wanted)
    except UserError as error:
        reason = str(error).removeprefix("picture: ")[:160]
        shown = f"{reason} ({fetched.kind})" if fetched.kind and not fetched.kind.startswith("image/") else reason
        return Picked(status="not_an_image", reason=shown, hops=fetched.hops)
    except Exception as error:  # a decoder's own mistake must not end the whole collection
        return Picked(status="not_an_image", reason=type(error).__name__, hops=fetched.hops)


def _local(name: str, wanted: Wanted) -> Fetched:
    assert wanted.root is not None
    path, root = (wanted.root / name).resolve(), wanted.root.resolve()
    if root not in path.parents:
        return Fetched(status="refused_address", reason="leads out of the folder")
    try:
        with open_plain(path) as file:
            content = file.read(wanted.limits.num_bytes + 1)
    except (OSError, UserError):
        return Fetched(status="dead", reason="cannot be read")
    if len(content) > wanted.limits.num_bytes:
        return Fetched(status="too_large", reason=f"is larger than {wanted.limits.num_bytes / 2**20:.3g} MiB")
    return Fetched(status="ok", content=content)


def _decoded(fetched: Fetched, wanted: Wanted) -> Picked:
    received = Received(fetched.content)
    header = read_header(received)
    size = f"{header.width} x {header.height} px"
    if header.width * header.height > MAX_PIXELS:
        return Picked(status="too_large", reason=f"has {size}", hops=fetched.hops)
    if min(header.width, header.height) < wanted.min_side:
        return Picked(status="too_small", reason=f"has {size}", hops=fetched.hops)
    pixels = framing.convert_channels(read_image(received), 3, has_alpha=header.has_alpha, path=received)
    if pixels.dtype != np.uint8:
        pixels = np.rint(framing.to_unit(pixels).clip(0, 1) * 255).astype(np.uint8)
    height, width = pixels.shape[1:]
    is_large = wanted.longest and max(height, width) > wanted.longest
    if is_large:
        scale = wanted.longest / max(height, width)
        pixels = framing.resize(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))
    # A JPEG keeps its bytes as they came, since coding again would lose quality.
    data = fetched.content if not is_large and is_plain_jpeg(received) else encode_image(pixels, "jpg")
    return Picked(status="ok", data=data, suffix=".jpg", sha256=hashlib.sha256(fetched.content).hexdigest(),
                  difference_hash=difference_hash(torch.from_numpy(pixels)).hex(), width=pixels.shape[2],
                  height=pixels.shape[1], hops=fetched.hops)
