"""ShardWriter: writes a set of images as shards, files of a fixed range of indices each; whole shards are kept.

Shard k holds the images k * shard .. (k + 1) * shard - 1 in this order, even if they arrive in another order. It is
written when it is complete (atomically). A set that was interrupted any number of times is therefore the same, byte for
byte, as one that was not; only the work on incomplete shards is lost.
"""

from __future__ import annotations

import contextlib
import json
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar, Self

from migaki.core.errors import NothingLeft, UserError
from migaki.core.files import (
    FolderLock,
    atomic_write,
    make_folder,
    read_json,
    refuse_strangers,
    settle,
    settle_names,
    write_json,
)
from migaki.data.files.image_file import show
from migaki.data.files.journal import JOURNAL, Journal
from migaki.data.writers.manifest import OUTCOME, dropped_of, heading_of, is_bare, is_plain_file, num_images_of
from migaki.data.writers.record import Plan, Record

_MAX_PENDING = 64  # pictures in the encoding threads


class ShardKind(ABC):
    """The format of a shard file."""

    name: ClassVar[str]
    suffix: ClassVar[str]

    @abstractmethod
    def write(self, file: IO[bytes], path: Path, records: list[tuple[int, Record]]) -> None:
        """Write the images, each with its index, into the open `file`, whose final name is `path`."""

    @abstractmethod
    def is_whole(self, path: Path) -> bool:
        """Whether a written shard is intact (a power cut may have emptied it)."""

    @abstractmethod
    def finish(self, out: Path, shards: list[Path]) -> None:
        """Complete the set once all shards exist; may be called again after a kill."""


class ShardWriter:
    """Writes images and rows in any order as shards; use it in a `with` block.

    Args:
        out: The folder, created if it does not exist.
        info: The record of what makes the images, as in `FolderWriter`.
        total: Number of images that the set will have.
        kind: The format of the shards.
        resume: Continue where an earlier run stopped; False refuses a folder that was begun earlier.
        shard: Images per shard.
        image_format: As in `FolderWriter`.
        workers: Number of encoding threads.

    Raises:
        UserError: for a folder that holds something else, was begun with other settings, or is being written.
    """

    def __init__(self, out: Path | str, info: dict[str, Any], total: int, kind: ShardKind, *, resume: bool = True,
                 shard: int = 1000, image_format: str = "png", workers: int = 2) -> None:
        if shard < 1:
            raise UserError(f"--shard {shard}: at least 1 image per shard")
        self.out, self.total, self.kind, self.shard = make_folder(Path(out)), total, kind, shard
        self.image_format = image_format
        self._heading = {**json.loads(json.dumps(info)), "format": image_format, "shards": kind.name, "shard": shard}
        self._lock = FolderLock(self.out)
        self._open_shards: dict[int, dict[int, Future[Record] | None]] = {}
        self._pending: deque[Future[Record]] = deque()
        self._whole: set[int] = set()
        self._is_refused = False
        self._dropped: set[int] = set()
        self._pool = ThreadPoolExecutor(max(1, workers))
        try:
            self._journal = Journal(self.out / JOURNAL)
            self._finished = self._begin(resume)
            if self._finished:
                self._whole = set(range(-(-total // shard)))
            for number in range(len(self._journal)):
                self._read_entry(self._journal.read(number))
        except BaseException:
            self._lock.close()
            raise

    def _read_entry(self, entry: dict[str, Any]) -> None:
        """Read an entry of an earlier run's journal: its shard is done if it exists; invalid entries are ignored."""
        number = entry.get("shard")
        if type(number) is not int or not 0 <= number < -(-self.total // self.shard):
            return
        dropped = dropped_of(entry, self._journal.path)
        path = self._path(number)
        if all(index in self._range(number) for index in dropped) and is_plain_file(path) and self.kind.is_whole(path):
            self._whole.add(number)
            self._dropped.update(dropped)

    def _begin(self, resume: bool) -> bool:
        """Compare the settings with those of the folder; returns whether it is already finished."""
        manifest = self.out / "dataset.json"
        if self._journal.heading is None and not os.path.lexists(manifest):
            refuse_strangers(self.out, ())
            self._journal.start({**self._heading, "total": self.total})
            return False
        if not resume:
            raise UserError(f"{show(self.out)}: exists already: choose another --out, or continue it without "
                            "--no-resume")
        found = self._earlier(manifest)
        ours = {**self._heading, "total": self.total}
        for key in {**ours, **found}:
            if key != "command" and (key not in ours or key not in found or found[key] != ours[key]):
                raise UserError(f"{show(self.out)}: was made with another {show(key)}: choose another --out, or "
                                "move this one away (shards of a finished set cannot be added to)")
        self._heading = heading_of({key: value for key, value in found.items() if key != "total"}, self._heading)
        if self._journal.heading is None:
            return True
        for partial in self.out.glob(".*.partial"):
            partial.unlink(missing_ok=True)
        self._journal.start(self._journal.heading)
        return False

    def _earlier(self, manifest: Path) -> dict[str, Any]:
        """Returns the settings of the folder, with its `total`: from its journal, else from dataset.json."""
        if self._journal.heading is not None:
            return self._journal.heading
        found = read_json(manifest)
        if not isinstance(found, dict):
            raise UserError(f"{show(manifest)}: is not an object: restore the file or choose another folder")
        total = num_images_of(found, manifest)
        return {**{key: value for key, value in found.items() if key not in OUTCOME}, "total": total}

    def _path(self, number: int) -> Path:
        return self.out / f"{number:06d}{self.kind.suffix}"

    def _range(self, number: int) -> range:
        return range(number * self.shard, min((number + 1) * self.shard, self.total))

    def missing(self, indices: Iterable[int]) -> list[int]:
        """Returns those of `indices` whose shards are not yet written, in their order."""
        return [index for index in indices if index // self.shard not in self._whole]

    def write_plan(self, index: int, planned: Plan) -> None:
        """Encode one image and keep it for its shard."""
        self._add(index, self._pool.submit(planned.encode, self.image_format))

    def write_record(self, index: int, record: Record) -> None:
        """Keep one image, encoded elsewhere, for its shard."""
        future: Future[Record] = Future()
        future.set_result(record)
        self._add(index, future)

    def write_all(self, images: Iterable[tuple[int, Plan | Record | None]]) -> None:
        """Call `write_plan`, `write_record` or, for None, `skip` for each image."""
        for index, image in images:
            if isinstance(image, Plan):
                self.write_plan(index, image)
            elif image is None:
                self.skip(index)
            else:
                self.write_record(index, image)

    def skip(self, index: int) -> None:
        """Leave image `index` out permanently: its shard gets one less, and `dropped` in `dataset.json` names it."""
        self._add(index, None)

    def _add(self, index: int, future: Future[Record] | None) -> None:
        number = index // self.shard
        if not 0 <= index < self.total or self._finished:
            raise ValueError(f"index {index} is outside of 0..{self.total - 1}")
        if number in self._whole:
            return
        waiting = self._open_shards.setdefault(number, {})
        waiting[index] = future
        if future is not None:
            self._pending.append(future)
        while len(self._pending) > _MAX_PENDING:
            self._pending.popleft().result()
        if len(waiting) == len(self._range(number)):
            self._close_shard(number)

    def _close_shard(self, number: int) -> None:
        futures = self._open_shards.pop(number)
        records = [(index, future.result()) for index in self._range(number) if (future := futures[index]) is not None]
        dropped = [index for index in self._range(number) if futures[index] is None]
        path = self._path(number)
        with atomic_write(path) as file:
            self.kind.write(file, path, records)
        self._journal.append({"shard": number, "dropped": dropped})
        self._whole.add(number)
        self._dropped.update(dropped)

    def close(self) -> None:
        """If no shard is missing, finish the set and write `dataset.json`; else keep it so that it can be continued."""
        try:
            if not self._finished and len(self._whole) == -(-self.total // self.shard):
                if len(self._dropped) == self.total:
                    raise NothingLeft(f"{show(self.out)}: every image was left out: delete the folder and ask for less")
                self.kind.finish(self.out, [self._path(number) for number in sorted(self._whole)])
                gaps = {"dropped": sorted(self._dropped)} if self._dropped else {}
                settle(self.out)  # so that a folder marked as finished is whole after a power cut too
                write_json(self.out / "dataset.json",
                           {**self._heading, "num_images": self.total - len(self._dropped), **gaps})
                settle_names(self.out)
                self._journal.remove()
                self._finished = True
        finally:
            self._pool.shutdown(cancel_futures=True)
            if self._is_refused and not self._whole and is_bare(self.out):  # nothing was begun, so nothing remains
                with contextlib.suppress(OSError):
                    self._journal.remove()
            self._journal.close()
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if error is None:
            self.close()
            return
        self._is_refused = isinstance(error, UserError)
        with contextlib.suppress(Exception):  # report only the first error
            self.close()
