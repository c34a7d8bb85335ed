"""Safe downloads and archive extraction: size limits, checksums, and no names that leave the target folder."""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import os
import posixpath
import shutil
import stat
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from migaki.core.errors import UserError
from migaki.core.files import atomic_write, explain, make_folder

_BLOCK = 1 << 16
_TIMEOUT = 60.0  # s without a byte


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None,
    max_bytes: int,
    report: Callable[[int, int | None], None] | None = None,
) -> None:
    """Download `url` to `path`, whole or not at all.

    Args:
        url: https; plain http only from this machine (127.0.0.1, ::1, localhost). The same rule holds for redirects.
        path: Where the file goes.
        sha256: The hexadecimal checksum that the file must have; None = not checked.
        max_bytes: Larger files are refused, by their announced length or during the download.
        report: Called with (bytes so far, announced length or None).

    Raises:
        UserError: in one line, for a fault of the address, the network, the size, the checksum or the disk.
    """
    _check_address(url)
    make_folder(path.parent)
    request = urllib.request.Request(url, headers={"User-Agent": "migaki"})
    try:
        with _OPENER.open(request, timeout=_TIMEOUT) as reply, atomic_write(path) as file:
            _copy(url, reply, file, sha256, max_bytes, report)
    except urllib.error.HTTPError as error:
        raise UserError(f"{url}: the server answered {error.code} {error.reason}: check the address") from error
    except (urllib.error.URLError, TimeoutError, http.client.HTTPException, ConnectionError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise UserError(f"{url}: could not be fetched ({reason}): check the network and try again") from error


def _copy(
    url: str,
    reply: Any,
    file: IO[bytes],
    sha256: str | None,
    max_bytes: int,
    report: Callable[[int, int | None], None] | None,
) -> None:
    announced = reply.headers.get("Content-Length", "")
    length = int(announced) if announced.isdecimal() else None
    state, size = hashlib.sha256(), 0
    while size <= max_bytes and (length is None or length <= max_bytes):
        block = reply.read(_BLOCK)
        if not block:
            break
        size += len(block)
        state.update(block)
        file.write(block)
        if report is not None:
            report(size, length)
    else:
        raise UserError(f"{url}: is larger than the limit of {max_bytes / 1e6:.0f} MB: this is not the expected file")
    if length is not None and size != length:
        raise UserError(f"{url}: broke off after {size} of {length} bytes: try again")
    if sha256 is not None and state.hexdigest() != sha256.lower():
        raise UserError(f"{url}: has another checksum than expected: the file was changed or damaged on its way")


def _check_address(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return
    raise UserError(f"{url}: only https addresses are fetched: give one that begins with https://")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to addresses that `download` accepts."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_CheckedRedirects)


def unzip(
    archive: Path,
    folder: Path,
    *,
    max_bytes: int,
    max_files: int = 20_000,
    choose: Callable[[str], str | None] = lambda name: name,
) -> int:
    """Unpack a zip archive into `folder`, each file whole or not at all.

    Args:
        archive: The zip file.
        folder: The target folder, created if it does not exist.
        max_bytes: Limit of the unpacked size, checked in the archive's directory and again during unpacking.
        max_files: Limit of the number of files.
        choose: Maps a name in the archive to a name below `folder`, or to None to skip the file.

    Returns:
        The number of files unpacked.

    Raises:
        UserError: for a damaged archive, a name that leads out of `folder`, a link, or content over the limits.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            chosen = [(entry, choose(entry.filename)) for entry in zipped.infolist() if not entry.is_dir()]
            wanted = [(entry, _inner_name(archive, name)) for entry, name in chosen if name is not None]
            if len(wanted) > max_files or sum(entry.file_size for entry, _ in wanted) > max_bytes:
                raise UserError(f"{archive}: would unpack to more than {max_bytes / 1e6:.0f} MB or {max_files} files")
            left = max_bytes
            for entry, name in wanted:
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise UserError(f"{archive}: holds a link ({entry.filename!r}): this is not the expected archive")
                left -= _unpack(zipped, entry, folder / name, left)
    except OSError as error:
        raise explain(error, archive) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise UserError(f"{archive}: not a whole zip archive ({error}): fetch it again") from error
    return len(wanted)


def _inner_name(archive: Path, name: str) -> str:
    """Returns `name` if it stays below its folder, else raises UserError."""
    parts = name.split("/")
    if (
        posixpath.isabs(name)
        or "\\" in name
        or "\0" in name
        or ":" in parts[0]
        or any(p in ("", ".", "..") for p in parts)
    ):
        raise UserError(f"{archive}: holds the name {name!r}, which leads out of the folder: do not use this archive")
    return name


def _unpack(zipped: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, limit: int) -> int:
    """Unpack one file; returns its size in bytes. Never writes more than `limit`, even for a forged directory."""
    make_folder(path.parent)
    size = 0
    with zipped.open(entry) as source, atomic_write(path) as target:
        while block := source.read(_BLOCK):
            size += len(block)
            if size > limit:
                raise UserError(f"{zipped.filename}: unpacks to more than its list says: do not use this archive")
            target.write(block)
    return size


def free_bytes(folder: Path) -> int:
    """Returns the free space in bytes on the disk of `folder`, which need not exist yet."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    try:
        return shutil.disk_usage(os.fspath(existing)).free
    except OSError as error:
        raise explain(error, folder) from error
