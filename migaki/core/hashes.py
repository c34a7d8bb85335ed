"""Hashes of the contents of files. A file is read again only if its size or its times have changed.

Results are cached in the user's cache, `$XDG_CACHE_HOME/migaki/contents` (by default below `~/.cache`). No folder of
the user is modified, and a folder from a stranger cannot supply the cache. It may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from migaki.core.errors import UserError
from migaki.core.files import atomic_write, open_plain, show

_ENTRY = np.dtype([("state", "<u8"), ("first", "<u8"), ("second", "<u8")])  # of the cache: 24 bytes per file
_BLOCK = 256  # files that one thread hashes in sequence
_WORTH = 2**26  # bytes: results are cached if at least so many were read
_MANY = 1000  # files: the same
_FRESH = 2 * 10**9  # ns: a file changed so recently may change again without a change of its times
_SILENT = 15.0  # s between progress messages
_KEPT = 64  # cached folders; the least recently used ones are removed

_Entries = npt.NDArray[np.void]


def cache_folder() -> Path:
    """Returns the folder of cached results: `$XDG_CACHE_HOME/migaki`, by default `~/.cache/migaki`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "migaki"


def hash_files(root: Path, names: Sequence[str], with_names: bool = True) -> str:
    """Returns 16 hexadecimal digits: the hash of the names (relative to `root`) and contents of files, in any order.

    Raises OSError if a file cannot be read, UserError if one is not a plain file.
    """
    names = sorted(names, key=os.fsencode)
    place = os.path.realpath(root)
    known, work = _Known(place), _Work(place, len(names))
    total = hashlib.sha256()
    found: list[tuple[int, bytes]] = []
    with ThreadPoolExecutor(4) as pool:
        for block in pool.map(lambda part: work.look(part, known), _parts(names)):
            for name, state, content in block:
                total.update((os.fsencode(name) + b"\0" if with_names else b"") + content)
                if state:
                    found.append((state, content))
            work.report(len(block))
    if work.read_bytes >= _WORTH or work.read_files >= _MANY:
        known.keep(found)
    return total.hexdigest()[:16]


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _BLOCK):
        yield names[start : start + _BLOCK]


class _Work:
    """Hashes files and counts how many had to be read."""

    def __init__(self, place: str, total: int) -> None:
        self.place, self.total = place, total
        self.read_bytes = self.read_files = 0
        self.done, self._last = 0, time.monotonic()
        self._now = time.time_ns()

    def look(self, names: Sequence[str], known: _Known) -> list[tuple[str, int, bytes]]:
        """Returns each file's name, its state (0: changed too recently to be cached) and its digest."""
        found = []
        for name in names:
            path = os.path.join(self.place, name)
            seen = os.stat(path)
            text = f"{seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns} {seen.st_ino} ".encode()
            state = int.from_bytes(hashlib.blake2b(text + os.fsencode(name), digest_size=8).digest(), "little")
            content = known.get(state)
            if content is None:
                with open_plain(Path(path)) as file:
                    content = hashlib.file_digest(file, "sha256").digest()[:16]  # type: ignore[arg-type]
                self.read_files += 1
                self.read_bytes += seen.st_size
            is_fresh = max(seen.st_mtime_ns, seen.st_ctime_ns) > self._now - _FRESH
            found.append((name, 0 if is_fresh else state, content))
        return found

    def report(self, count: int) -> None:
        """Add `count` finished files; print a progress message if the work takes long."""
        self.done += count
        if time.monotonic() - self._last > _SILENT:
            self._last = time.monotonic()
            print(f"{show(self.place)}: {self.done:,} of {self.total:,} files read (once, to detect changes later)",
                  file=sys.stderr, flush=True)


class _Known:
    """The cached digests of a folder's files, keyed by the state of each file (size, times, inode, name)."""

    def __init__(self, place: str) -> None:
        name = hashlib.sha256(os.fsencode(place)).hexdigest()[:32]
        self.path = cache_folder() / "contents" / name
        self._entries = _read(self.path)

    def get(self, state: int) -> bytes | None:
        """Returns the digest of a file in this state, or None if it is not cached."""
        place = int(np.searchsorted(self._entries["state"], np.uint64(state)))
        if place == len(self._entries) or int(self._entries["state"][place]) != state:
            return None
        return bytes(self._entries[place].tobytes()[8:])

    def keep(self, found: list[tuple[int, bytes]]) -> None:
        """Cache the results; if the cache cannot be written, the next call reads the files again."""
        entries = np.frombuffer(b"".join(state.to_bytes(8, "little") + content for state, content in found), _ENTRY)
        data = np.sort(entries, order="state").tobytes()
        with suppress(OSError, UserError):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with atomic_write(self.path, permissions=0o600) as file:
                file.write(hashlib.sha256(data).digest() + data)
            others = sorted(self.path.parent.iterdir(), key=lambda path: path.stat().st_mtime)
            for path in others[:-_KEPT]:
                path.unlink(missing_ok=True)


def _read(path: Path) -> _Entries:
    """Returns the entries of a cache file; none if the file does not exist or is damaged."""
    with suppress(OSError, UserError):
        with open_plain(path) as file:
            data = file.read()
        if len(data) % _ENTRY.itemsize == 32 % _ENTRY.itemsize and hashlib.sha256(data[32:]).digest() == data[:32]:
            return np.frombuffer(data[32:], _ENTRY)
    return np.empty(0, _ENTRY)
