"""FolderWriter: writes an image folder; it may be killed at any image and continues where it stopped.

An unfinished folder holds a hidden `.journal` of the rows done so far. At the end `metadata.jsonl` (rows in the order
of their indices) and `dataset.json` (what made the images) are written whole, and the journal is removed.
A folder that was interrupted any number of times is the same, byte for byte, as one that was not.
"""

from __future__ import annotations

import contextlib
import json
import os
from array import array
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from migaki.core.errors import NothingLeft, UserError
from migaki.core.files import (
    FolderLock,
    atomic_write,
    explain,
    make_inner_folder,
    open_own,
    read_json,
    refuse_strangers,
    settle,
    settle_names,
    write_json,
)
from migaki.data.files.encoding import SUFFIXES, store
from migaki.data.files.image_file import show
from migaki.data.files.journal import JOURNAL, Journal
from migaki.data.sets.labels import batch_rows
from migaki.data.sets.metadata import read_metadata, write_metadata
from migaki.data.writers.manifest import OUTCOME, first_difference, heading_of, is_bare, is_whole, rows_with_gaps, short
from migaki.data.writers.record import Plan, Record, plan

__all__ = ["FolderWriter", "batch_rows"]

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

_MAX_PENDING = 64  # images waiting for the disk
_PART = 16  # images given to a thread at a time: single images would take as long to hand over as to write
_TO_DO, _LEFT_OUT = -1, -2  # instead of the number of a journal entry


class FolderWriter:
    """Writes images and rows in any order; use it in a `with` block.

    Args:
        out: The folder, created if it does not exist. UserError if it holds other files or another process writes it.
        info: The record of what makes the images, as plain JSON: command, config, seed, version, parent, licence. All
            but `command` must be equal to continue a folder that was begun earlier.
        total: Number of images that the folder will have, indices 0 .. total - 1. A finished folder may be extended.
        resume: Continue where an earlier run stopped; False refuses a folder that was begun earlier.
        image_format: `png` (8 bits), `png16` (16 bits, grey only), `jpg`, `tiff` (float32), `npy` (float32).
        metadata_format: `jsonl`, `csv` or `parquet`.
        workers: Number of encoding threads.
    """

    def __init__(
        self,
        out: Path | str,
        info: dict[str, Any],
        total: int,
        resume: bool = True,
        image_format: str = "png",
        metadata_format: str = "jsonl",
        workers: int = 2,
    ) -> None:
        if image_format not in SUFFIXES:
            raise UserError(f"image format '{image_format}' is not known: use one of {', '.join(SUFFIXES)}")
        if metadata_format not in ("jsonl", "csv", "parquet"):
            raise UserError(f"metadata format '{metadata_format}' is not known: use jsonl, csv or parquet")
        self._metadata = f"metadata.{metadata_format}"
        self.out = Path(out)
        self.total = total
        self.image_format = image_format
        self._heading = {**json.loads(json.dumps(info)), "format": image_format, "metadata": self._metadata}
        self._entries = array("q", [_TO_DO]) * total  # by index: the number of the journal entry with its row
        self._lock = FolderLock(self.out)
        self._names: dict[str, int] = {}
        self._pending: deque[tuple[list[tuple[int, Row]], Future[None]]] = deque()
        self._waiting = 0  # images in `_pending`
        self._pool = ThreadPoolExecutor(max(1, workers))
        self._finished = self._is_refused = False
        self._made: set[str] = set()
        try:
            self._journal = Journal(self.out / JOURNAL)
            self._open(resume)
        except BaseException:
            self._lock.close()
            raise

    def _open(self, resume: bool) -> None:
        manifest = self.out / "dataset.json"
        rows: dict[int, Row] = {}
        if self._journal.heading is not None:
            self._check(self._journal.heading, resume)
            self._heading = heading_of(self._journal.heading, self._heading)
        elif os.path.lexists(manifest):
            found = read_json(manifest)
            self._check(found, resume)
            self._heading = heading_of(found, self._heading)
            rows = rows_with_gaps(self._finished_rows(), found, manifest)
            self._finished = len(rows) == self.total
        else:
            refuse_strangers(self.out, ())
        self._check_count(max(rows, default=-1))
        if self._finished:
            self._entries = array("q", [0]) * self.total
            return
        for partial in self.out.rglob(".*.partial"):
            partial.unlink(missing_ok=True)
        self._journal.start(self._heading)
        for index, row in rows.items():
            self._journal.append({"index": index, "row": row})
        for number in range(len(self._journal)):
            self._read_entry(number)

    def _finished_rows(self) -> list[Row]:
        path = self.out / self._metadata
        try:
            open_own(path, "rb").close()  # a link would lead to a file outside, and opening a pipe would block
        except OSError as error:
            raise explain(error, show(path)) from error
        return read_metadata(path)

    def _read_entry(self, number: int) -> None:
        """Read entry `number` of an earlier run's journal: its image is done if its files exist, else redone."""
        entry = self._journal.read(number)
        index, row = entry.get("index"), entry.get("row")
        if type(index) is not int or index < 0 or not isinstance(row, dict):
            return  # not an entry of ours
        self._check_count(index)
        if not row or is_whole(self.out, row):
            self._keep(index, row, number)

    def _check_count(self, last: int) -> None:
        if last >= self.total:
            raise UserError(f"{show(self.out)}: holds {last + 1} images already, more than {self.total}")

    def _keep(self, index: int, row: Row, number: int) -> None:
        """Record that image `index` is done, with entry `number` of the journal."""
        self._entries[index] = number if row else _LEFT_OUT
        if row:
            self._names[row["file_name"]] = index

    def _check(self, found: Any, resume: bool) -> None:
        """UserError unless the folder was begun with the same settings."""
        if not resume:
            raise UserError(f"{show(self.out)}: exists already: choose another --out, or continue it without "
                            "--no-resume")
        if not isinstance(found, dict):
            raise UserError(f"{show(self.out)}: its dataset.json is not an object: choose another folder")
        ours = {key: value for key, value in self._heading.items() if key not in ("command", *OUTCOME)}
        theirs = {key: value for key, value in found.items() if key not in ("command", *OUTCOME)}
        if ours.keys() != theirs.keys():
            raise UserError(f"{show(self.out)}: was made with another command: choose another folder")
        for key in ours:
            if ours[key] != theirs[key]:
                key, was, now = first_difference(key, theirs[key], ours[key])
                raise UserError(
                    f"{show(self.out)}: was made with another {key} ({short(was)}, now {short(now)}): "
                    "choose another --out, or move this one away"
                )

    @property
    def done(self) -> set[int]:
        """The indices that are on disk."""
        return {index for index, entry in enumerate(self._entries) if entry != _TO_DO}

    def missing(self, indices: Iterable[int]) -> list[int]:
        """Returns those of `indices` that are not yet written, in their order."""
        return [index for index in indices if not self._has(index)]

    def _has(self, index: int) -> bool:
        return 0 <= index < self.total and self._entries[index] != _TO_DO

    def write(self, index: int, name: str, image: torch.Tensor | Array, row: Row) -> None:
        """Write one image and record its row.

        Args:
            index: 0 .. total - 1; an index that is already done is skipped.
            name: File name inside the folder; the ending of the format is added if it is missing.
            image: `(C, H, W)` float in [0, 1] (clipped, NaN refused) or uint8.
            row: Its labels as plain values. A `mask` `(H, W)` is written to `masks/`, `depth` to `depths/`, further
                pictures likewise, each with its column `KEY_file_name`.
        """
        if not self._has(index):
            planned = plan(name, image, row, self.image_format)
            own = Plan(planned.row, tuple((name, how, _copy(value)) for name, how, value in planned.files))
            self.write_plan(index, own)

    def skip(self, index: int) -> None:
        """Leave image `index` out permanently: the folder gets one less, and `dropped` in `dataset.json` names it."""
        if not self._has(index):
            self._keep(index, {}, self._journal.append({"index": index, "row": {}}))

    def write_plan(self, index: int, planned: Plan) -> None:
        """Like `write`, for pictures that the caller does not change afterwards."""
        self.write_all([(index, planned)])

    def write_file(self, index: int, name: str, data: bytes, row: Row) -> None:
        """Like `write`, for an image that the caller has encoded: `data` is the file's content, `name` has its ending.

        Further pictures of the row (`mask`, `depth`, ...) are encoded here.
        """
        if not self._has(index):
            others = plan(name, np.zeros((1, 1, 1), np.uint8), row, "png", suffix="")
            record = Plan(others.row, others.files[1:]).encode(self.image_format)
            self.write_record(index, Record(record.row, ((name, data), *record.files)))

    def write_record(self, index: int, record: Record) -> None:
        """Like `write`, for an image that another process has encoded."""
        self.write_all([(index, record)])

    def write_all(self, images: Iterable[tuple[int, Plan | Record | None]]) -> None:
        """Call `write_plan`, `write_record` or, for None, `skip` for many images at once, which is faster."""
        part: list[tuple[int, Plan | Record]] = []
        for index, image in images:
            if self._has(index):
                continue
            if image is None:
                self.skip(index)
                continue
            self._claim(index, image.row["file_name"])
            part.append((index, image))
            if len(part) == _PART:
                self._submit(part)
                part = []
        if part:
            self._submit(part)

    def _claim(self, index: int, name: str) -> None:
        if not 0 <= index < self.total or self._finished:
            raise ValueError(f"index {index} is outside of 0..{self.total - 1}")
        if self._names.setdefault(name, index) != index:
            raise UserError(
                f"{show(self.out)}: images {self._names[name]} and {index} would both be called '{show(name)}': "
                "give each its own name"
            )

    def _submit(self, part: list[tuple[int, Plan | Record]]) -> None:
        rows = [(index, image.row) for index, image in part]
        self._pending.append((rows, self._pool.submit(self._store, [image for _, image in part])))
        self._waiting += len(part)
        while self._pending and (self._waiting > _MAX_PENDING or self._pending[0][1].done()):
            self._settle()

    def _store(self, images: list[Plan | Record]) -> None:
        for image in images:
            record = image if isinstance(image, Record) else image.encode(self.image_format)
            for name, data in record.files:
                path = f"{self.out}/{name}"
                folder = path[: path.rindex("/")]
                if folder not in self._made:
                    self._make(folder)
                store(path, data)

    def _make(self, folder: str) -> None:
        """Create a folder below `out`; no part of its path may be a link, which could lead out of it."""
        inner = self.out
        for part in Path(folder).relative_to(self.out).parts:
            inner = make_inner_folder(inner / part)
        self._made.add(folder)

    def _settle(self) -> None:
        """Wait for the oldest pending images; their rows enter the journal only after their files exist."""
        rows, future = self._pending.popleft()
        self._waiting -= len(rows)
        future.result()
        first = self._journal.append(*({"index": index, "row": row} for index, row in rows))
        for number, (index, row) in enumerate(rows, first):
            self._keep(index, row, number)

    def close(self) -> None:
        """Wait for all images; if none of `total` is missing, write `metadata.jsonl` and `dataset.json`."""
        try:
            while self._pending:
                self._settle()
            if not self._finished and _TO_DO not in self._entries:
                self._finish()
        finally:
            self._pool.shutdown(cancel_futures=True)
            self._leave_journal()
            self._lock.close()

    def _leave_journal(self) -> None:
        """Close the journal; if the input was refused before any image was written, remove everything."""
        if self._is_refused and all(entry == _TO_DO for entry in self._entries) and is_bare(self.out):
            with contextlib.suppress(OSError):
                self._journal.remove()
                return
        self._journal.close()

    def _finish(self) -> None:
        dropped = [index for index, entry in enumerate(self._entries) if entry == _LEFT_OUT]
        if len(dropped) == self.total:
            raise NothingLeft(f"{show(self.out)}: every image was left out: delete the folder and ask for less")
        kept = ((index, entry) for index, entry in enumerate(self._entries) if entry != _LEFT_OUT)
        if self._metadata == "metadata.jsonl":
            with atomic_write(self.out / self._metadata) as file:
                file.writelines(self._line(index, entry) for index, entry in kept)
        else:
            write_metadata(self.out / self._metadata, (self._journal.read(entry)["row"] for _, entry in kept))
        gaps = {"dropped": dropped} if dropped else {}
        settle(self.out)  # so that a folder marked as finished is whole after a power cut too
        write_json(self.out / "dataset.json", {**self._heading, "num_images": self.total - len(dropped), **gaps})
        try:
            settle_names(self.out)
            self._journal.remove()
        except OSError as error:
            raise explain(error, show(self.out)) from error
        self._finished = True

    def _line(self, index: int, entry: int) -> bytes:
        """The row of an image as a line of `metadata.jsonl`, cut from its journal entry, which holds the same JSON."""
        line, start = self._journal.line(entry), b'{"index": %d, "row": ' % index
        if not line.startswith(start + b"{") or not line.endswith(b"}}\n"):
            raise self._journal.changed()
        return line[len(start) : -2] + b"\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        self._is_refused = isinstance(error, UserError)
        with contextlib.suppress(Exception):  # report only the first error
            self.close()


def _copy(value: Any) -> Any:
    """Copy an array: the caller may render the next image into the same memory while this one waits to be encoded."""
    if isinstance(value, bytes):
        return value
    return value.detach().cpu().clone() if isinstance(value, torch.Tensor) else np.array(value)
