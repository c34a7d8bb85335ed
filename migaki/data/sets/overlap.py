"""Checks that two folders are not confused: evaluation with training images, and rendered images with photographs."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

from migaki.core.errors import UserError
from migaki.data.files.image_file import read_image, show
from migaki.data.files.member import FilePath, size_of, stream
from migaki.data.folder import ImageFolder


def shared_pictures(first: ImageFolder, other: ImageFolder) -> list[str]:
    """Returns the names in `first` of pictures that `other` also holds, equal in all pixels, in any format."""
    known = set(_digests(other))
    return [name for name, digest in zip(first.names, _digests(first), strict=True) if digest in known]


def shared_files(first: ImageFolder, other: ImageFolder) -> list[str]:
    """Returns the names in `first` of pictures that `other` holds in the same bytes.

    Only files of equal size are read, so that large sets take little time; a picture that was saved again is not found.
    """
    known: dict[int, list[FilePath]] = {}
    for index in range(len(other)):
        known.setdefault(size_of(other.file(index)), []).append(other.file(index))
    found, hashes = [], dict[int, set[bytes]]()
    for index, name in enumerate(first.names):
        size = size_of(first.file(index))
        if size not in known:
            continue
        if size not in hashes:
            hashes[size] = {_file_digest(file) for file in known[size]}
        if _file_digest(first.file(index)) in hashes[size]:
            found.append(name)
    return found


def require_others(judged: ImageFolder, trained: ImageFolder, option: str) -> None:
    """UserError if a picture of `judged` is also in `trained`, the folder of `option`."""
    if shared := shared_pictures(judged, trained):
        raise UserError(f"{judged.path}: {len(shared)} of its {len(judged)} pictures are in {option} {trained.path} "
                        f"too, such as {show(shared[0])}: remove these from one of the two")


def refuse_swapped(synthetic: ImageFolder, real: ImageFolder) -> None:
    """UserError if the "photographs" were rendered according to their record, and the "synthetic" images were not."""
    maker = str(real.made.get("simulator", "stand_in"))  # a stand-in replaces a camera
    if not maker.startswith("stand_in") and "simulator" not in synthetic.made:
        raise UserError(f"{real.path}: holds what `migaki simulate {maker}` rendered, and is given as --photos, while "
                        f"{synthetic.path} is given as --synthetic: swap the two")


def _file_digest(file: FilePath) -> bytes:
    with stream(file) as content:
        return hashlib.sha256(content.read()).digest()


def _digests(folder: ImageFolder) -> list[bytes]:
    def digest(index: int) -> bytes:
        pixels = read_image(folder.file(index))
        return hashlib.sha256(repr((pixels.shape, pixels.dtype.str)).encode() + pixels.tobytes()).digest()

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(digest, range(len(folder))))
