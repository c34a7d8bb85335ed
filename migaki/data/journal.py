"""The diary of a folder that is being written: what is done survives a kill at any moment."""

from __future__ import annotations

import json
import os
from array import array
from pathlib import Path
from typing import IO, Any

from migaki.core.files import explain

JOURNAL = ".journal"
"""The file that stands in a folder for as long as its writer has not finished it."""


class Journal:
    """Lines of JSON, appended one by one; a last line that a kill cut short is dropped on opening.

    The first line is the `heading`. Of the others only their places are kept in memory: a million of them take 8 MB.
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
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            for line in file:
                try:
                    if not line.endswith(b"\n"):
                        break
                    value = json.loads(line)
                except ValueError:
                    break  # a full disk can leave rubbish; what follows cannot be trusted either
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
        """Entry `number`, counted from 0 in the order of appending."""
        try:
            if self._reader is None:
                self._reader = open(self.path, "rb")  # noqa: SIM115, closed by close()
            self._reader.seek(self._starts[number])
            entry: dict[str, Any] = json.loads(self._reader.readline())
        except (OSError, ValueError) as error:
            what = error if isinstance(error, OSError) else OSError(None, "was changed by another program")
            raise explain(what, self.path) from error
        return entry

    def start(self, heading: dict[str, Any]) -> None:
        """Open for appending; a new journal begins with `heading`."""
        try:
            self._file = open(self.path, "ab")  # noqa: SIM115, closed by close()
        except OSError as error:
            raise explain(error, self.path.parent) from error
        if self.heading is None:
            self.heading = heading
            self._write(heading)

    def append(self, entry: dict[str, Any]) -> int:
        """Add one line and hand it to the operating system; returns its number."""
        start = self._end
        self._write(entry)
        self._starts.append(start)
        return len(self._starts) - 1

    def _write(self, value: dict[str, Any]) -> None:
        assert self._file is not None
        try:
            line = json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n"
            self._file.write(line)
            self._file.flush()
            self._end += len(line)
        except OSError as error:
            raise explain(error, self.path.parent) from error

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
