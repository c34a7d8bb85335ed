"""Batches from folders as a pure function of (seed, step)."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.seeds import fold
from migaki.core.source import Counted, Source
from migaki.data.files import framing
from migaki.data.files.image_file import show
from migaki.data.folder import ImageFolder
from migaki.data.sets.objects import object_key

Array = np.ndarray[Any, Any]

MEMORY_LIMIT = 1_500_000_000
"""Limit in bytes: folders whose decoded images take at most this much are decoded once and kept in memory."""


class FolderSource:
    """Shuffled batches from a folder: epoch e uses the permutation seeded by `fold(seed, e)`.

    A batch may span two epochs, so that every image is seen equally often for any batch size; where `distinct`, what
    fills no global batch at the end of an epoch is left out, so that none holds an image twice. The batch of a step
    depends only on (seed, step): not on earlier steps, on `workers`, or on whether the images are kept in memory.

    Args:
        folder: The folder of the images.
        batch_size: Images per batch and process.
        seed: Of the order.
        keys: The keys to deliver (`image`, labels, further pictures); None for all.
        rename: Old to new keys, such as `{"image": "real"}`.
        may_miss: Keys of which images may lack a value (NaN).
        shard: (rank, world); the global batch of `batch_size * world` images is cut, and this process gets part `rank`.
        distinct: No global batch holds an image twice.
        workers: Threads that decode in advance if the images are not kept in memory; 0 decodes on demand.
        memory_limit: Limit in bytes of the decoded images kept in memory.

    Raises:
        UserError: if a key of `keys` is missing or incomplete in the folder, or its images cannot be converted to
            one shape.
    """

    def __init__(
        self,
        folder: ImageFolder,
        batch_size: int,
        seed: int,
        *,
        keys: Sequence[str] | None = None,
        rename: Mapping[str, str] | None = None,
        may_miss: Collection[str] = (),
        shard: tuple[int, int] = (0, 1),
        distinct: bool = False,
        workers: int = 0,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        if batch_size < 1 or not 0 <= shard[0] < shard[1]:
            raise ValueError(f"batch_size {batch_size} must be positive and shard {shard} a (rank, world)")
        if distinct and batch_size * shard[1] > len(folder):
            raise ValueError(f"{len(folder)} images do not fill a batch of {batch_size * shard[1]}")
        if keys is not None:
            folder.require(*(key for key in keys if key not in may_miss))
        self.folder = folder
        self.batch_size = batch_size
        self.seed = seed
        self.rank, self.world = shard
        whole = batch_size * self.world  # the global batch
        self._epoch = len(folder) // whole * whole if distinct else len(folder)  # images of an epoch that are delivered
        self.keys = tuple(folder.keys if keys is None else keys)
        self.rename = dict(rename or {})
        unknown = [name for name in self.rename if name not in self.keys]
        if unknown:
            raise UserError(f"{show(folder.path)}: there is no '{unknown[0]}' to rename: it has {', '.join(self.keys)}")
        self._store = _decode_all(folder, memory_limit) if "image" in self.keys else None
        self._orders: OrderedDict[int, Array] = OrderedDict()
        self._pool = ThreadPoolExecutor(workers) if workers and self._store is None else None
        self._ahead: dict[int, Future[Batch]] = {}

    def indices(self, step: int) -> Array:
        """Returns the indices of the images in the batch of this step, int64 `(batch_size,)`."""
        first = (step * self.world + self.rank) * self.batch_size
        places = np.arange(first, first + self.batch_size)
        epochs, offsets = np.divmod(places, self._epoch)
        chosen = np.empty(self.batch_size, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = self._order(int(epoch))[offsets[here]]
        return chosen

    @property
    def num_images(self) -> int:
        """Images of the folder."""
        return len(self.folder)

    def batch(self, step: int) -> Batch:
        """Returns the batch of this step on the CPU; pictures `(B, C, H, W)` float32 in [0, 1]."""
        if self._pool is None:
            return self._read(self.indices(step))
        ahead = range(step, step + 1 + self._pool._max_workers)
        for late in [other for other in self._ahead if other not in ahead]:
            self._ahead.pop(late).cancel()
        for other in ahead:
            if other not in self._ahead:
                self._ahead[other] = self._pool.submit(self._read, self.indices(other))
        return self._ahead.pop(step).result()

    def _read(self, indices: Array) -> Batch:
        batch: Batch = {}
        for key in self.keys:
            if key == "image" and self._store is not None:
                value = torch.from_numpy(framing.to_unit(self._store[indices]))
            else:
                value = self.folder.read(indices.tolist(), (key,))[key]
            batch[self.rename.get(key, key)] = value
        return batch

    def _order(self, epoch: int) -> Array:
        """Returns the permutation of an epoch; the latest few are cached."""
        if epoch not in self._orders:
            random = np.random.Generator(np.random.PCG64(fold(self.seed, epoch)))
            self._orders[epoch] = random.permutation(len(self.folder))
            while len(self._orders) > 8:
                self._orders.popitem(last=False)
        return self._orders[epoch]


def _decode_all(folder: ImageFolder, memory_limit: int) -> Array | None:
    """Returns all images `(N, C, H, W)` in the folder's narrowest type, or None if they exceed `memory_limit`."""
    shape = (len(folder), *folder.shape)
    key = _state(folder)
    if key in _KEPT and _KEPT[key].nbytes <= memory_limit:
        _KEPT.move_to_end(key)
        return _KEPT[key]
    if int(np.prod(shape, dtype=object)) * folder.dtype.itemsize > memory_limit:
        return None
    store = np.empty(shape, folder.dtype)

    def decode(start: int) -> None:
        for index in range(start, min(start + _DECODED, len(folder))):
            store[index] = framing.widen(folder.decode(index), folder.dtype)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        # The list makes the first error surface here. Blocks, because a task per image would take a kilobyte each.
        list(pool.map(decode, range(0, len(folder), _DECODED)))
    _KEPT[key] = store
    while len(_KEPT) > 1 and sum(kept.nbytes for kept in _KEPT.values()) > _KEPT_LIMIT:
        _KEPT.popitem(last=False)
    return store


_DECODED = 64  # images that one thread decodes in sequence

_KEPT: OrderedDict[tuple[object, ...], Array] = OrderedDict()
"""Folders decoded last, by their state: a study trains many models on the same folders, each in a few seconds."""

_KEPT_LIMIT = 300_000_000  # bytes of all cached folders together; a single folder may be larger


def _state(folder: ImageFolder) -> tuple[object, ...]:
    """Returns what the decoded images depend on: the folder's framing, and the size and times of its files."""
    state, root = hashlib.sha256(), os.path.realpath(folder.path)
    for name in folder.names:
        try:
            found = os.stat(f"{root}/{name}")
        except OSError:
            continue  # decoding will report the error
        state.update(os.fsencode(name) + f"\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}\0".encode())
    return (root, folder.shape, folder.value_range, state.hexdigest())


class PairedSource:
    """Several sources merged into one batch, such as labelled synthetic and unlabelled real images."""

    def __init__(self, *sources: Source) -> None:
        if not sources:
            raise ValueError("PairedSource needs at least one source")
        self.sources = sources

    @property
    def num_images(self) -> int:
        """Images of all sources together; one that several of them read counts once."""
        return num_distinct(self.sources)

    def batch(self, step: int) -> Batch:
        """Returns the merged batch of this step; ValueError if two sources deliver the same key."""
        merged: Batch = {}
        for source in self.sources:
            for key, value in source.batch(step).items():
                if key in merged:
                    raise ValueError(f"two sources deliver '{key}': restrict one with keys= or rename it")
                merged[key] = value
        return merged


class MixedSource:
    """Several sources whose batches are concatenated, such as raw and refined images."""

    def __init__(self, *sources: Source) -> None:
        if not sources:
            raise ValueError("MixedSource needs at least one source")
        self.sources = sources

    @property
    def num_images(self) -> int:
        """Images of all sources together; one that several of them read counts once."""
        return num_distinct(self.sources)

    def batch(self, step: int) -> Batch:
        """Returns the concatenated batch of this step; all sources deliver the same keys."""
        parts = [source.batch(step) for source in self.sources]
        return {key: joined_values([part[key] for part in parts], key) for key in parts[0]}


def joined_values(values: Sequence[torch.Tensor], name: str) -> torch.Tensor:
    """Values of one key as one tensor; those with an entry for each object are filled up to the longest."""
    key = object_key(name)
    if key is None or key.pad is None or len({value.shape[1:] for value in values}) == 1:
        return torch.cat(list(values))
    most = max(value.shape[1] for value in values)
    inner = next((value.shape[2:] for value in values if value.shape[1]), values[0].shape[2:])
    filled = [value.new_full((len(value), most, *inner), key.pad) for value in values]
    for whole, value in zip(filled, values, strict=True):
        if value.shape[1]:
            whole[:, : value.shape[1]] = value
    return torch.cat(filled)


def num_distinct(sources: Sequence[Source]) -> int:
    """Returns how many images there are in all; one that several sources read, as of one folder, counts once."""
    others, known = 0, dict[str, set[str]]()
    for source in _leaves(sources):
        if isinstance(source, FolderSource):
            known.setdefault(os.path.realpath(source.folder.path), set()).update(source.folder.names)
        elif isinstance(source, Counted):
            others += source.num_images
    return others + sum(map(len, known.values()))


def _leaves(sources: Sequence[Source]) -> Iterator[Source]:
    """The sources that are no joint of others."""
    for source in sources:
        if isinstance(source, PairedSource | MixedSource):
            yield from _leaves(source.sources)
        else:
            yield source
