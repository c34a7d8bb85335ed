"""Feature store: one row of features for each picture, computed once and kept on disk.

    store = FeatureStore("features")                       # a folder; without one, the user's cache
    rows = store.rows(ImageFolder("photos"), open_features("random"), pooling="gram", size=160)     # (N, D) float32

A row belongs to the content of a file (SHA-256), not to its name: a copied, renamed or moved picture is not computed
again. Below the store's folder lies one folder for each way of computing rows (network, layers, pooling, size,
re-encoding, scales): `rows.f32`, a matrix that only grows and is read as a memory map; `keys`, the SHA-256 of each
row's file; `space.json`, what the rows are. The keys are written after their rows have reached the disk, so a killed
process loses the rows of its last seconds and nothing else. Several processes may fill a store at the same time: each
computes what it finds missing and appends under a lock what nobody has appended meanwhile.

Every picture is computed by itself in one thread, so its row does not depend on the set, the workers or the order.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from migaki.core import engine
from migaki.core.errors import UserError
from migaki.core.files import digest, explain, make_folder, make_inner_folder, open_own, read_json, show, write_json
from migaki.core.hashes import cache_folder
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.files.member import FilePath, stream
from migaki.data.folder import ImageFolder
from migaki.ops.picture_parts import picture_parts, side_of
from migaki.ops.pooling import PlainPooling, Pooling

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]

SMALLEST: Final = 16
"""px, the shorter side of a picture: less than that holds no texture to speak of."""

_KEY: Final = 32  # bytes
_CHUNK: Final = 16  # pictures that are computed before anything is appended
_LANES: Final = 8  # pictures at a time in one process, at most
_VERSION: Final = 1  # of the preprocessing


class Network(Protocol):
    """What the store needs of features (`nets.texture_features`)."""

    @property
    def identity(self) -> str: ...

    def maps(self, images: Tensor, layers: Sequence[str] | str) -> dict[str, Tensor]: ...

    def names_of(self, layers: Sequence[str] | str) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """How rows are computed; the fields are those of `FeatureStore.rows`."""

    features: Network
    layers: tuple[str, ...]
    pooling: Pooling
    size: int
    quality: int
    scales: tuple[float, ...]
    through: int
    grey: bool
    whole: bool = False
    parts: bool = False

    @property
    def space(self) -> dict[str, Any]:
        """What decides the rows, in plain JSON."""
        return {"features": self.features.identity, "layers": list(self.layers), "pooling": self.pooling.identity,
                "size": self.size, "quality": self.quality, "scales": list(self.scales), "through": self.through,
                "grey": self.grey, "version": _VERSION, **({"whole": True} if self.whole else {}),
                **({"parts": True} if self.parts else {})}

    def row(self, path: FilePath) -> Array:
        """Returns the row (D,) of one picture: scales behind each other, the layers of a scale behind each other."""
        if self.parts:
            return self._row_of_parts(path)
        whole = prepared(path, self.size, self.quality, self.through, self.grey, self.whole)
        rows = []
        with torch.inference_mode():
            for scale in self.scales:
                side = round(scale * self.size)
                image = whole if side == self.size else torch.nn.functional.interpolate(
                    whole, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
                maps = self.features.maps(image, self.layers)
                rows += [self.pooling(maps[layer])[0] for layer in self.layers]
        found: Array = torch.cat(rows).numpy()
        if not np.isfinite(found).all():
            raise UserError(f"{show(path)}: its features are not finite: choose another network or layer")
        return found

    def _row_of_parts(self, path: FilePath) -> Array:
        """The rows of the whole and of its parts behind each other (`ops.picture_parts`)."""
        large = prepared(path, side_of(self.size), self.quality, self.through, self.grey, self.whole)
        with torch.inference_mode():
            maps = self.features.maps(picture_parts(large, self.size)[0], self.layers)
            found: Array = torch.cat([self.pooling(maps[layer]) for layer in self.layers], 1).flatten().numpy()
        if not np.isfinite(found).all():
            raise UserError(f"{show(path)}: its features are not finite: choose another network or layer")
        return found


def prepared(path: FilePath, size: int, quality: int = 0, through: int = 0, grey: bool = False,
             whole: bool = False) -> Tensor:
    """Returns a picture (1, 3, size, size) in [0, 1], grey shown in three channels; see `FeatureStore.rows`.

    Raises UserError for a damaged picture, and for one of less than `SMALLEST` px.
    """
    header = read_header(path)
    if min(header.height, header.width) < SMALLEST:
        raise UserError(f"{show(path)}: is {header.width}x{header.height} px, too small for features: leave out "
                        f"pictures of less than {SMALLEST} px")
    array = framing.check_values(read_image(path), None, path)
    if through:
        array = framing.resize(array, (through, through))
    array = framing.squeezed(array, (size, size)) if whole else framing.resize(array, (size, size))
    if grey:
        array = framing.convert_channels(array, 1, has_alpha=header.has_alpha, path=path)
    array = framing.convert_channels(array, 3, has_alpha=header.has_alpha and not grey, path=path)
    if quality:
        pixels = np.rint(255 * framing.to_unit(array)).astype(np.uint8).transpose(1, 2, 0)
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=quality)
        array = np.asarray(Image.open(buffer)).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(framing.to_unit(array)))[None]


class FeatureStore:
    """Rows of features on disk; see the module. `folder` is made on first use; None is in the user's cache."""

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = cache_folder() / "features" if folder is None else Path(folder)

    def rows(self, pictures: Sequence[FilePath] | ImageFolder, features: Network, layer: Sequence[str] | str = "",
             pooling: Pooling | str = "mean", *, size: int = 160, quality: int = 0,
             scales: Sequence[float] = (1.0,), through: int = 0, grey: bool = False, whole: bool = False,
             parts: bool = False, workers: int = 1,
             engine_name: engine.Engine = "local", address: str | None = None,
             progress: Progress | None = None) -> Array:
        """Returns the rows (N, D) float32 of pictures, in their order, and computes those that are not kept yet.

        The result is a memory map where the rows lie in this order, as they do after a first filling; else a copy.

        Args:
            pictures: Files, or a set.
            features: See `nets.texture_features.open_features`.
            layer: One layer or several; a string joins them by +. Empty for the network's usual one.
            pooling: `mean`, `mean_sd`, `gram`, or a fitted one (`ops.fisher`).
            size: px; a picture is scaled to cover a square of this side and cut.
            quality: 1 to 95 to pass every picture through a JPEG of this quality afterwards, so that sets of different
                origin are alike; 0 for none.
            scales: Factors of `size` at which each picture is pooled.
            through: px; a picture is scaled to this size first, so that sets of different resolution hold equal detail;
                0 for not.
            grey: Whether colours are taken away first.
            whole: Whether a picture is squeezed to the square instead, so that nothing of it is cut off.
            parts: Whether the rows of its middle and corners follow that of the picture; at one scale.
            workers: Processes; 0 for one per core. With 1, threads of this process share the work.
            engine_name: `ray` for a cluster, at `address`.
            progress: Called with (done, total).

        Raises:
            UserError: in one line, for damaged or tiny pictures and for options that do not fit.
        """
        files = [pictures.file(index) for index in range(len(pictures))] if isinstance(pictures, ImageFolder) else [
            *pictures]
        if not files:
            raise UserError("no picture to compute features of: check the folder")
        _check(size, quality, scales, through)
        recipe = Recipe(features, features.names_of(layer), pooling_of(pooling), size, quality, tuple(scales), through,
                        grey, whole, parts)
        space = _Space(self.folder, recipe.space)
        keys, known = _keys(files), space.places()
        todo = {key: path for key, path in zip(keys, files, strict=True) if key not in known}
        total, done = len(files), len(files) - len(todo)
        tell = progress or (lambda *_: None)
        tell(done, total)
        paths = list(todo.items())
        chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
        for chunk, made in zip(chunks, _made(recipe, chunks, workers, engine_name, address), strict=True):
            space.append([key for key, _ in chunk], made)
            done += len(chunk)
            tell(done, total)
        return space.read(keys)


def pooling_of(pooling: Pooling | str) -> Pooling:
    """Returns a pooling, given by itself or by its name; UserError for a name that there is not."""
    try:
        return PlainPooling(pooling) if isinstance(pooling, str) else pooling
    except ValueError as error:
        raise UserError(str(error)) from error


def _check(size: int, quality: int, scales: Sequence[float], through: int) -> None:
    if not 32 <= size <= 4096:
        raise UserError(f"size {size}: 32 to 4096 px")
    if through and not SMALLEST <= through <= 4096:
        raise UserError(f"through {through}: {SMALLEST} to 4096 px, or 0 for not")
    if not 0 <= quality <= 95:
        raise UserError(f"quality {quality}: 1 to 95, or 0 to leave pictures as they are")
    if not scales or not all(0 < scale <= 4 and scale * size >= 32 for scale in scales):
        raise UserError(f"scales {' '.join(f'{scale:g}' for scale in scales)}: above 0, at most 4, and at least 32 px "
                        "each")


def _keys(files: Sequence[FilePath]) -> list[bytes]:
    """The SHA-256 of the content of each file."""

    def one(path: FilePath) -> bytes:
        try:
            with stream(path) as file:
                return hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type]
        except OSError as error:
            raise explain(error, path if isinstance(path, Path) else str(path)) from error

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, files))


# ------------------------------------------------------------------------------------------------- computing

@dataclass(frozen=True)
class RowTask(engine.Task[Array]):
    """Computes chunks of rows in another process, where the features are opened again by their name."""

    recipe: Recipe
    identity: str
    files: tuple[FilePath, ...]

    def open(self) -> Callable[[list[int]], Array]:
        """UserError if the network is another one by now."""
        if self.recipe.features.identity != self.identity:
            raise UserError(f"{self.identity}: its file has changed meanwhile: run the same command again")
        torch.set_num_threads(1)
        return lambda chunk: np.stack([self.recipe.row(self.files[place]) for place in chunk])


def _made(recipe: Recipe, chunks: Sequence[Sequence[tuple[bytes, FilePath]]], workers: int,
          engine_name: engine.Engine, address: str | None) -> Iterator[Array]:
    """Yields the rows of each chunk, in order."""
    if workers == 1 and engine_name == "local":
        yield from _in_threads(recipe, chunks)
        return
    files = tuple(path for chunk in chunks for _, path in chunk)
    starts = np.cumsum([0, *map(len, chunks)])
    numbers = [list(range(start, end)) for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]
    waiting: dict[int, Array] = {}
    turn = iter(numbers)
    expected = next(turn, None)
    for chunk, made in engine.work(RowTask(recipe, recipe.features.identity, files), numbers, workers=workers,
                                   engine=engine_name, address=address):
        waiting[chunk[0]] = made
        while expected is not None and expected[0] in waiting:
            yield waiting.pop(expected[0])
            expected = next(turn, None)


def _in_threads(recipe: Recipe, chunks: Sequence[Sequence[tuple[bytes, FilePath]]]) -> Iterator[Array]:
    """Yields the rows of each chunk, in order: as many pictures at a time as PyTorch had threads, each in one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(min(threads, _LANES), thread_name_prefix="features")
    try:
        # Everything is submitted at once: only paths wait there.
        yield from pool.map(lambda chunk: np.stack([recipe.row(path) for _, path in chunk]), chunks)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


# ------------------------------------------------------------------------------------------------- on disk

class _Space:
    """The rows of one recipe on disk."""

    def __init__(self, store: Path, made: dict[str, Any]) -> None:
        self._store, self._made = store, made
        self.folder = store / digest(json.dumps(made, sort_keys=True))
        about = self.folder / "space.json"
        if about.exists() and read_json(about) != made:
            raise UserError(f"{show(about)}: describes other rows than its folder's name: delete the folder "
                            f"{show(self.folder)}; its rows are computed again")
        self._keys, self._rows = self.folder / "keys", self.folder / "rows.f32"
        self._width = self.folder / "width"
        self._known: dict[bytes, int] = {}

    @property
    def width(self) -> int:
        """The length of a row; 0 before the first one."""
        found = read_json(self._width) if self._width.exists() else 0
        if not isinstance(found, int) or not 0 <= found < 2**24:
            raise UserError(f"{show(self._width)}: is no length of rows: delete the folder {show(self.folder)}")
        return found

    def places(self) -> dict[bytes, int]:
        """Each key with the number of its row; keys whose rows are not whole do not count. Reads what is new."""
        if not self._keys.exists() or not self._rows.exists() or not self.width:
            return self._known
        start, whole = len(self._known), self._rows.stat().st_size // (4 * self.width)
        with open_own(self._keys, "rb") as file:
            file.seek(_KEY * start)
            data = file.read()
        for place in range(start, min(start + len(data) // _KEY, whole)):
            key = data[_KEY * (place - start) : _KEY * (place - start + 1)]
            if self._known.setdefault(key, place) != place:
                raise UserError(f"{show(self._keys)}: names a picture twice: delete the folder {show(self.folder)}; "
                                "its rows are computed again")
        return self._known

    def append(self, keys: Sequence[bytes], rows: Array) -> None:
        """Add rows (n, D) whose keys nobody has added meanwhile; on the disk when this returns."""
        make_folder(self._store)
        make_inner_folder(self.folder)
        try:
            with self._locked():
                if not (self.folder / "space.json").exists():
                    write_json(self.folder / "space.json", self._made)
                if not self.width:
                    write_json(self._width, rows.shape[1])
                if rows.shape[1] != self.width:
                    raise UserError(f"{show(self.folder)}: holds rows of {self.width} numbers instead of "
                                    f"{rows.shape[1]}: delete that folder; its rows are computed again")
                known = self.places()
                new = [place for place, key in enumerate(keys) if key not in known]
                _write(self._rows, 4 * self.width * len(known), np.ascontiguousarray(rows[new], "<f4").tobytes())
                _write(self._keys, _KEY * len(known), b"".join(keys[place] for place in new))
        except OSError as error:
            raise explain(error, self.folder) from error

    def read(self, keys: Sequence[bytes]) -> Array:
        """The rows of these keys, in order."""
        known, width = self.places(), self.width
        places = np.array([known[key] for key in keys])
        rows = np.memmap(self._rows, "<f4", "r", shape=(len(known), width))
        if (np.diff(places) == 1).all():
            return rows[places[0] : places[-1] + 1]
        return np.asarray(rows[places])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Wait for the turn of this process. The kernel ends the lock with the process; the file stays."""
        with open_own(self.folder / ".lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _write(path: Path, start: int, data: bytes) -> None:
    """Cut a file at `start`, where whole entries end, add `data`, and wait for the disk."""
    with open_own(path, "ab") as file:
        file.truncate(start)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
