"""Files that are either whole or absent: temporary name, flush, rename."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from migaki.core.errors import UserError

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again, it goes on where it stopped",
    errno.EFBIG: "the file grows larger than is allowed here: raise the limit (ulimit -f) or choose another folder",
    errno.EIO: "the disk reports an error: check it, then run the same command again, it goes on where it stopped",
    errno.ELOOP: "a loop of links: choose another path",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again",
    errno.EACCES: "no permission to write there: choose another folder or change its permissions",
    errno.EPERM: "no permission to write there: choose another folder or change its permissions",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder: choose another folder",
    errno.EEXIST: "a file of this name stands where a folder is wanted: choose another folder",
    errno.EISDIR: "a folder of this name stands where a file is wanted: choose another name",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.ENOENT: "there is no such file or folder: check the spelling",
}


def explain(error: OSError, path: Path | str) -> UserError:
    """Turn an operating system's error about `path` into one line that says what to do."""
    advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
    return UserError(f"{show(path)}: {' '.join(advice.split())}")


def show(text: Any) -> str:
    """A path, or any text, for a one-line message: control characters and bytes that are no UTF-8 are escaped."""
    text = os.fspath(text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def apart(out: Path, *read: Path) -> None:
    """UserError where the folder `out` is one of those that are read, or lies within one: what is written there would
    be taken for more of it the next time."""
    for source in read:
        inner, outer = os.path.realpath(out), os.path.realpath(source)
        if inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep):
            place = "is" if inner == outer else "lies within"
            raise UserError(f"{show(out)}: {place} {show(source)}, which is read: choose a folder outside of it")


def make_folder(path: Path) -> Path:
    """Create `path` and its parents; UserError if that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, path) from error
    return path


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` that takes its name only when the block ends without an error.

    The temporary name ends in `.partial`, carries the process id (two processes cannot meet in it) and is removed
    on an error. A process that is killed leaves at most that file, which readers ignore.
    """
    partial = path.with_name(partial_name(path.name))
    errors = None if "b" in mode else "backslashreplace"  # a name that is no UTF-8; JSON reads the same escape back
    try:
        with open(partial, mode, encoding=None if "b" in mode else "utf-8", errors=errors) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise explain(error, path) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def partial_name(name: str) -> str:
    """The hidden name under which this process writes a file before it takes its own; never too long for a disk."""
    tail = f".{os.getpid()}.partial"
    own = os.fsencode(name)
    return f".{name}{tail}" if len(own) + len(tail) < 255 else f".{hashlib.sha256(own).hexdigest()[:16]}{tail}"


def _drop_partials(folder: Path) -> None:
    """Remove the temporary files of processes that live no more; an export into this folder may be at work."""
    for partial in folder.rglob(".*.partial"):
        owner = partial.suffixes[-2][1:] if len(partial.suffixes) > 1 else ""
        if owner.isdecimal() and int(owner) != os.getpid():
            try:
                os.kill(int(owner), 0)
                continue
            except ProcessLookupError:
                pass
            except (OverflowError, PermissionError):
                continue
        with suppress(OSError):
            partial.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with atomic_write(path, "w") as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; UserError that names the file if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise explain(error, path) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}): restore the file, or move it away") from error


def digest(text: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]


class FolderLock:
    """Exclusive use of a folder by one process, from the making of the object to its `close()`.

    The folder is made if need be. The lock is the kernel's (flock) and ends with the process however it ends, so
    nothing stale stays behind. UserError if another process has it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._made = not folder.exists()
        while True:
            make_folder(folder)
            try:
                self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115, held open on purpose
            except FileNotFoundError:
                continue  # its owner has just removed the folder, which it had made and left empty
            except OSError as error:
                raise explain(error, folder) from error
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._file.close()
                line = f"{folder}: another process is writing there: wait for it or choose another --out"
                raise UserError(line) from error
            if self._is_current():
                return
            self._file.close()  # its owner finished and removed the file between our two calls

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Remove the lock file, and the folder if it was made here and is empty still; let go of the lock."""
        self.path.unlink(missing_ok=True)
        if self._made:
            with suppress(OSError):
                self.path.parent.rmdir()
        self._file.close()


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; UserError if another process is writing to it. See `FolderLock`.

    Temporary files that a killed process left below it are removed.
    """
    lock = FolderLock(folder)
    try:
        _drop_partials(folder)
        yield
    finally:
        lock.close()
