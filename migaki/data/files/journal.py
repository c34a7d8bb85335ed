"""The journal of a folder that is being written: finished work survives a kill at any moment."""

from __future__ import annotations

import json
import os
from array import array
from pathlib import Path
from typing import IO, Any

from migaki.core.errors import UserError
from migaki.core.files import explain, open_own

JOURNAL = ".journal"
"""The name of the journal file, which exists until its writer has finished the folder."""

_MAX_LINE = 2**24  # bytes, as for a row of metadata

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Journal:
    """Lines of JSON objects, appended one by one. On opening, an incomplete last line after a kill is dropped.

    The first line is the `heading`. Only the offsets of the other lines are kept in memory (8 MB per million).
    The file may come from a stranger: everything from the first line that is no object is dropped, and a link, a pipe
    or a folder of its name is refused (`UserError`).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heading: dict[str, Any] | None = None
        self._starts = array("q")
        self._end = 0
        self._file: IO[bytes] | None = None
        self._reader: IO[bytes] | None = None
        try:
            self._load()
        except OSError as error:
            raise explain(error, path) from error

    def _load(self) -> None:
        if not os.path.lexists(self.path):
            return
        with open_own(self.path, "rb") as file:
            while line := file.readline(_MAX_LINE):
                try:
                    value = json.loads(line) if line.endswith(b"\n") else None
                except (ValueError, RecursionError):
                    value = None
                if not isinstance(value, dict):
                    break  # a full disk can leave invalid bytes; what follows cannot be trusted either
                if self.heading is None:
                    self.heading = value
                else:
                    self._starts.append(self._end)
                self._end += len(line)
        if self._end < self.path.stat().st_size:
            os.truncate(self.path, self._end)

    def __len__(self) -> int:
        return len(self._starts)

    def read(self, number: int) -> dict[str, Any]:
        """Returns entry `number`, counted from 0 in the order of appending."""
        try:
            entry = json.loads(self.line(number))
        except (ValueError, RecursionError) as error:
            raise self.changed() from error
        if not isinstance(entry, dict):
            raise self.changed()
        return entry

    def line(self, number: int) -> bytes:
        """Returns the bytes of entry `number`, with the line end."""
        start = self._starts[number]
        end = self._starts[number + 1] if number + 1 < len(self._starts) else self._end
        try:
            if self._reader is None:
                self._reader = open_own(self.path, "rb")
            return os.pread(self._reader.fileno(), end - start, start)
        except OSError as error:
            raise explain(error, self.path) from error

    def changed(self) -> UserError:
        """Returns the error for a line that this object has not written."""
        return explain(OSError(None, "was changed by another program"), self.path)

    def start(self, heading: dict[str, Any]) -> None:
        """Open for appending; a new journal begins with `heading`."""
        try:
            self._file = open_own(self.path, "ab")
        except OSError as error:
            raise explain(error, self.path.parent) from error
        if self.heading is None:
            self.heading = heading
            self._write(heading)

    def append(self, *entries: dict[str, Any]) -> int:
        """Append a line for each entry and flush them at once; returns the number of the first."""
        first, start = len(self._starts), self._end
        lengths = self._write(*entries)
        for length in lengths:
            self._starts.append(start)
            start += length
        return first

    def _write(self, *values: dict[str, Any]) -> list[int]:
        """Append lines; returns their lengths."""
        assert self._file is not None
        # A folder's name need not be UTF-8; JSON restores the escape of such a character.
        lines = [_encode(value).encode(errors="backslashreplace") + b"\n" for value in values]
        try:
            self._file.write(b"".join(lines))
            self._file.flush()
        except OSError as error:
            raise explain(error, self.path.parent) from error
        lengths = list(map(len, lines))
        self._end += sum(lengths)
        return lengths

    def close(self) -> None:
        """Stop appending; the file stays."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                raise explain(error, self.path.parent) from error
            finally:
                self._file = None

    def remove(self) -> None:
        """Close and delete the file."""
        self.close()
        self.path.unlink(missing_ok=True)
