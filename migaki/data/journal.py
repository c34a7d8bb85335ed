"""The diary of a folder that is being written: what is done survives a kill at any moment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

from migaki.core.files import explain

JOURNAL = ".journal"
"""The file that stands in a folder for as long as its writer has not finished it."""


class Journal:
    """Lines of JSON, appended one by one; a last line that a kill cut short is dropped on opening.

    The first line is the heading; UserError if the file has one already that `accept` refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heading: dict[str, Any] | None = None
        self.entries: list[dict[str, Any]] = []
        self._file: IO[bytes] | None = None
        try:
            self._load()
        except OSError as error:
            raise explain(error, path) from error

    def _load(self) -> None:
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        end = data.rfind(b"\n") + 1
        lines = data[:end].splitlines()
        good = 0
        values = []
        for line in lines:
            try:
                values.append(json.loads(line))
            except ValueError:
                break  # a full disk can leave rubbish; what follows cannot be trusted either
            good += len(line) + 1
        if good < len(data):
            os.truncate(self.path, good)
        if values:
            self.heading, *self.entries = values

    def start(self, heading: dict[str, Any]) -> None:
        """Open for appending; a new journal begins with `heading`."""
        try:
            self._file = open(self.path, "ab")  # noqa: SIM115, closed by close()
        except OSError as error:
            raise explain(error, self.path.parent) from error
        if self.heading is None:
            self.heading = heading
            self._write(heading)

    def append(self, entry: dict[str, Any]) -> None:
        """Add one line and hand it to the operating system."""
        self.entries.append(entry)
        self._write(entry)

    def _write(self, value: dict[str, Any]) -> None:
        assert self._file is not None
        try:
            self._file.write(json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise explain(error, self.path.parent) from error

    def close(self) -> None:
        """Stop appending; the file stays."""
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
