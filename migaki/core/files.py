"""Files that are either whole or absent: write under a temporary name, flush, rename."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import math
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from migaki.core.errors import UserError

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again, it continues where it stopped",
    errno.EFBIG: "the file grows larger than the limit of this shell: raise it (ulimit -f) or choose another folder",
    errno.EIO: "the disk reports an error: check it, then run the same command again, it continues where it stopped",
    errno.ELOOP: "a loop of links: choose another path",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again",
    errno.EACCES: "no permission to write there: choose another folder or change its permissions",
    errno.EPERM: "no permission to write there: choose another folder or change its permissions",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder: choose another folder",
    errno.EEXIST: "a file of this name is in the place of the folder: choose another folder",
    errno.EISDIR: "a folder of this name is in the place of the file: choose another name",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.ENOENT: "there is no such file or folder: check the spelling",
}

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
_MAX_JSON = 2**26  # bytes of one of our JSON files; the list of a million omitted images takes 8 MB
_ESCAPED = "backslashreplace"  # in JSON, bytes of a name that are not UTF-8 are written as JSON escapes


def explain(error: OSError, path: Path | str) -> UserError:
    """Turn an operating system's error about `path` into one line that says what to do."""
    advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
    return UserError(f"{show(path)}: {' '.join(advice.split())}")


def show(text: Any) -> str:
    """Format a path or other text for a one-line message: escape control characters and bytes that are not UTF-8."""
    text = os.fspath(text)
    if text.isprintable():
        return str(text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def apart(out: Path, *read: Path) -> None:
    """UserError if the folder `out` is one of the input folders or lies within one: the next run would read its files
    as input."""
    for source in read:
        inner, outer = os.path.realpath(out), os.path.realpath(source)
        if inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep):
            relation = "is" if inner == outer else "lies within"
            raise UserError(f"{show(out)}: {relation} {show(source)}, which is an input: choose a folder outside of it")


def refuse_strangers(out: Path, own: Collection[str]) -> None:
    """UserError if the folder `out` holds a visible file or folder and none of the names that a call writes there.

    A folder with one of these names is taken for the work of an earlier call, whatever else lies in it.
    """
    if not out.is_dir():
        return
    try:
        names = {entry.name for entry in os.scandir(out) if not entry.name.startswith(".")}
    except OSError as error:
        raise explain(error, out) from error
    if names and not names & set(own):
        raise UserError(f"{show(out)}: holds other files: choose an empty or a new folder")


def make_folder(path: Path) -> Path:
    """Create `path` and its parents; UserError if that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, path) from error
    return path


def make_inner_folder(path: Path) -> Path:
    """`make_folder` for a folder inside a run or a set; UserError if it is a link, which could point out of it."""
    refuse_link(path)
    return make_folder(path)


def refuse_link(path: Path) -> None:
    """UserError if `path` is a link: data written there would end up outside of the folder."""
    if path.is_symlink():
        raise UserError(f"{show(path)}: is a link in the place of one of migaki's own files: delete the link")


def open_plain(path: Path) -> IO[bytes]:
    """Open a plain file to read; UserError for a folder, a pipe or a device, whose reading could block for ever."""
    return open(path, "rb", opener=_open_plain)


def open_own(path: Path, mode: str) -> IO[bytes]:
    """Open one of migaki's internal files, such as a lock or a journal; `mode` is `rb` or `ab`.

    UserError if it is a link or no plain file: through a link a file outside of the folder would be changed.
    """
    refuse_link(path)
    return open(path, mode, opener=lambda name, flags: _open_plain(name, flags | os.O_NOFOLLOW))


def _open_plain(path: str, flags: int) -> int:
    wrong = UserError(f"{show(path)}: is a folder, a pipe or a device in the place of a file: name a file, or "
                      "choose another folder")
    try:
        handle = os.open(path, flags | os.O_NONBLOCK, 0o666)  # so that opening a pipe does not block
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ENXIO, errno.ENODEV):
            raise wrong from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise wrong
    return handle


@contextmanager
def atomic_write(path: Path, mode: str = "wb", permissions: int = 0o666) -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`, which is renamed to `path` only if the block ends without an error.

    The temporary name ends in `.partial` and contains the process id (so that two processes never share it). The file
    is removed on an error. A killed process leaves at most this file, which readers ignore. An existing link of that
    name is never followed. `permissions` are those of the file, minus the umask.
    """
    partial = path.with_name(partial_name(path.name))
    try:
        partial.unlink(missing_ok=True)
        encoding, errors = (None, None) if "b" in mode else ("utf-8", _ESCAPED)
        with open(partial, mode, encoding=encoding, errors=errors,
                  opener=lambda name, flags: os.open(name, flags | os.O_EXCL, permissions)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise explain(error, path) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def partial_name(name: str) -> str:
    """Returns the hidden name under which this process writes a file at first; never too long for a disk."""
    tail = f".{os.getpid()}.partial"
    own = os.fsencode(name)
    return f".{name}{tail}" if len(own) + len(tail) < 255 else f".{hashlib.sha256(own).hexdigest()[:16]}{tail}"


def settle(folder: Path) -> None:
    """Wait until all data and names written below `folder` are on the disk.

    Called before the file that marks a folder as finished is written. It is one call for the whole file system; one
    call for each of a million images would take hours.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sync = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)  # Linux only; else all file systems
            if sync is None:
                os.sync()
            elif sync(handle):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            os.close(handle)
    except OSError as error:
        raise explain(error, folder) from error


def settle_names(folder: Path) -> None:
    """Wait until the names in `folder`, but not in its subfolders, are on the disk."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems do not support this
            raise explain(error, folder) from error


def drop_partials(found: Iterable[Path]) -> None:
    """Remove the temporary files whose processes have ended; a running process may still be writing to its file."""
    for partial in found:
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


def write_alone(path: Path, data: bytes) -> None:
    """Write a file outside of a locked folder, whole or not at all; remove what killed processes left of it."""
    start = partial_name(path.name).rsplit(".", 2)[0] + "."
    drop_partials(one for one in path.parent.iterdir() if one.name.startswith(start) and one.name.endswith(".partial"))
    with atomic_write(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with atomic_write(path, "w") as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all; numbers that are not finite become null."""
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """Returns a value with None for its numbers that are not finite: JSON has no NaN and no Infinity."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """Read JSON; UserError with the file's name if it is missing, damaged, too large or no plain file."""
    try:
        with open_plain(path) as file:
            data = file.read(_MAX_JSON + 1)
        if len(data) > _MAX_JSON:
            raise UserError(f"{path}: is larger than {_MAX_JSON >> 20} MB, so migaki did not write it: "
                            "restore it, or move it away")
        return json.loads(data.decode("utf-8"))
    except OSError as error:
        raise explain(error, path) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}): restore the file, or move it away") from error


def digest(text: str) -> str:
    """Returns the first 16 hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode("utf-8", _ESCAPED)).hexdigest()[:16]


class FolderLock:
    """Exclusive use of a folder by one process, from the creation of the object until its `close()`.

    The folder is created if it does not exist. The lock belongs to the kernel (flock) and ends with the process, so
    that no stale lock remains. UserError if another process has it, or if the disk has no locks.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._made = not folder.exists()
        while True:
            make_folder(folder)
            try:
                self._file = open_own(self.path, "ab")
            except FileNotFoundError:
                continue  # its owner has just removed the folder, which it had created and left empty
            except OSError as error:
                raise explain(error, folder) from error
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._file.close()
                raise self._refused(folder, error) from error
            if self._is_current():
                return
            self._file.close()  # its owner finished and removed the file between our two calls

    def _refused(self, folder: Path, error: OSError) -> UserError:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return UserError(f"{folder}: another process is writing there: wait for it or choose another --out")
        self.path.unlink(missing_ok=True)
        if self._made:
            with suppress(OSError):
                folder.rmdir()
        if error.errno in _NO_LOCKS:
            return UserError(f"{folder}: the disk has no file locks, without which two commands could overwrite each "
                             "other's work: choose an --out on a local disk and copy the result, or have the disk "
                             "mounted with locks (Lustre: -o flock)")
        return explain(error, folder)

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Remove the lock file, and the folder if this object created it and it is still empty; release the lock."""
        self.path.unlink(missing_ok=True)
        if self._made:
            with suppress(OSError):
                self.path.parent.rmdir()
        self._file.close()


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Lock `folder` for this process; UserError if another process is writing to it. See `FolderLock`.

    Temporary files of killed processes below the folder are removed.
    """
    lock = FolderLock(folder)
    try:
        drop_partials(folder.rglob(".*.partial"))
        yield
    finally:
        lock.close()
