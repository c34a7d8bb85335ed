"""ShardWriter: a set of images as shards, each a fixed range of indices in one file; whole shards are never redone.

Shard k holds the images k * shard .. (k + 1) * shard - 1 in their order, whatever the order in which they come, and is
written when it is complete (atomically). So a set that was interrupted any number of times is the same, byte for
byte, as one that was not; what is lost is the work on shards that were not complete.
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
from migaki.core.files import FolderLock, atomic_write, make_folder, read_json, settle, settle_names, write_json
from migaki.data.files.image_file import show
from migaki.data.files.journal import JOURNAL, Journal
from migaki.data.writers.manifest import OUTCOME, dropped_of, heading_of, is_bare, num_images_of, stands
from migaki.data.writers.record import Plan, Record

_MAX_PENDING = 64  # pictures on their way through the encoding threads


class ShardKind(ABC):
    """What a shard file looks like."""

    name: ClassVar[str]
    suffix: ClassVar[str]

    @abstractmethod
    def write(self, file: IO[bytes], path: Path, records: list[tuple[int, Record]]) -> None:
        """Write the images, each with its index, into the open `file`, which will be called `path`."""

    @abstractmethod
    def is_whole(self, path: Path) -> bool:
        """Whether a shard that was written still stands (a power cut may have emptied it)."""

    @abstractmethod
    def finish(self, out: Path, shards: list[Path]) -> None:
        """What is left to do once all shards stand; may be called again after a kill."""


class ShardWriter:
    """Writes images and rows in any order as shards; use it in a `with` block.

    Args:
        out: The folder, made if need be.
        info: What makes the images, as `FolderWriter` takes it.
        total: Images that the set will have.
        kind: Of the shards.
        resume: Go on where an earlier run stopped; False refuses a folder that was begun before.
        shard: Images in a shard.
        image_format: As `FolderWriter`'s.
        workers: Threads that encode.

    Raises:
        UserError: for a folder that holds something else or was begun with other settings, or is being written.
    """

    def __init__(self, out: Path | str, info: dict[str, Any], total: int, kind: ShardKind, *, resume: bool = True,
                 shard: int = 1000, image_format: str = "png", workers: int = 2) -> None:
        if shard < 1:
            raise UserError(f"--shard {shard}: at least 1 image in a shard")
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
                self._take_up(self._journal.read(number))
        except BaseException:
            self._lock.close()
            raise

    def _take_up(self, entry: dict[str, Any]) -> None:
        """An entry of an earlier run's journal: its shard is done if it stands; what is no entry is made anew."""
        number = entry.get("shard")
        if type(number) is not int or not 0 <= number < -(-self.total // self.shard):
            return
        dropped = dropped_of(entry, self._journal.path)
        path = self._path(number)
        if all(index in self._range(number) for index in dropped) and stands(path) and self.kind.is_whole(path):
            self._whole.add(number)
            self._dropped.update(dropped)

    def _begin(self, resume: bool) -> bool:
        """Compare with what the folder holds; whether it is finished already."""
        manifest = self.out / "dataset.json"
        if self._journal.heading is None and not os.path.lexists(manifest):
            if any(not entry.name.startswith(".") for entry in os.scandir(self.out)):
                raise UserError(f"{show(self.out)}: holds other files: choose an empty or a new folder")
            self._journal.start({**self._heading, "total": self.total})
            return False
        if not resume:
            raise UserError(f"{show(self.out)}: exists already: choose another --out, or go on with it without "
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
        """The settings of the folder, with the `total` of its images: from its journal, else from dataset.json."""
        if self._journal.heading is not None:
            return self._journal.heading
        found = read_json(manifest)
        if not isinstance(found, dict):
            raise UserError(f"{show(manifest)}: is no object: restore the file or choose another folder")
        total = num_images_of(found, manifest)
        return {**{key: value for key, value in found.items() if key not in OUTCOME}, "total": total}

    def _path(self, number: int) -> Path:
        return self.out / f"{number:06d}{self.kind.suffix}"

    def _range(self, number: int) -> range:
        return range(number * self.shard, min((number + 1) * self.shard, self.total))

    def missing(self, indices: Iterable[int]) -> list[int]:
        """Those of `indices` whose shards are still to be written, in their order."""
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
        """As `write_plan`, `write_record` or, for None, `skip`, for each."""
        for index, image in images:
            if isinstance(image, Plan):
                self.write_plan(index, image)
            elif image is None:
                self.skip(index)
            else:
                self.write_record(index, image)

    def skip(self, index: int) -> None:
        """Leave image `index` out for good: its shard gets one less, and `dropped` in `dataset.json` names it."""
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
        """If no shard is missing, finish the set and write `dataset.json`; else leave it to be gone on with."""
        try:
            if not self._finished and len(self._whole) == -(-self.total // self.shard):
                if len(self._dropped) == self.total:
                    raise NothingLeft(f"{show(self.out)}: every image was left out: delete the folder and ask for less")
                self.kind.finish(self.out, [self._path(number) for number in sorted(self._whole)])
                gaps = {"dropped": sorted(self._dropped)} if self._dropped else {}
                settle(self.out)  # a folder that calls itself finished is so after a power cut as well
                write_json(self.out / "dataset.json",
                           {**self._heading, "num_images": self.total - len(self._dropped), **gaps})
                settle_names(self.out)
                self._journal.remove()
                self._finished = True
        finally:
            self._pool.shutdown(cancel_futures=True)
            if self._is_refused and not self._whole and is_bare(self.out):  # nothing was begun, and nothing is left
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
        with contextlib.suppress(Exception):  # the first error is the one to tell
            self.close()
