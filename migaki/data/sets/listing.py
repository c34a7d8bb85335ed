"""Lists the files below a folder, and checks which of them a dataset may name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from migaki.core.errors import UserError
from migaki.core.files import explain
from migaki.core.progress import watched
from migaki.data.files.image_file import EXTENSIONS, show
from migaki.data.files.video import VIDEO_EXTENSIONS
from migaki.data.sets.left_out import LeftOut, is_thumbnail

_DIGITS = re.compile(r"(\d+)")


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Returns a sort key by which `2.png` comes before `10.png`; a total order for all names."""
    parts = _DIGITS.split(name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def list_files(folder: Path, left_out: LeftOut | None = None) -> list[str]:
    """Returns all plain files below `folder`, relative with `/`, unsorted; hidden files and folders are skipped.

    Side files of systems (`@eaDir`, `__MACOSX`) are also skipped. Links to folders are not followed, so that loops of
    links do no harm. Links to files count if they stay within the folder. `left_out` gathers the skipped entries.

    Raises:
        UserError: if the folder is missing or unreadable, or a link to a file is broken or leads out of the folder.
    """
    root = Path(os.path.realpath(folder))
    try:
        if not root.is_dir():
            ending = Path(folder).suffix.lower()
            missing = "picture" if ending in EXTENSIONS else "film" if ending in VIDEO_EXTENSIONS else "folder"
            raise UserError(f"{show(folder)}: " + ("is a file, not a folder: give the folder that contains it"
                                                   if root.exists() else f"there is no such {missing}: check the "
                                                   "spelling"))
        found = _walk(root, root, "", LeftOut() if left_out is None else left_out)
        return list(watched(found, f"list {show(root.name)}"))
    except OSError as error:
        raise explain(error, show(error.filename or folder)) from error


def _walk(root: Path, folder: Path, prefix: str, left_out: LeftOut) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or is_thumbnail(entry.name):
                left_out.note_hidden(folder, entry.name, prefix, entry.is_dir(follow_symlinks=False))
            elif entry.is_symlink():
                if os.path.isdir(entry.path):
                    left_out.linked.append(f"{prefix}{entry.name}/")
                else:
                    check_inside(root, prefix + entry.name)
                    yield prefix + entry.name
            elif entry.is_dir():
                yield from _walk(root, Path(entry.path), f"{prefix}{entry.name}/", left_out)
            elif entry.is_file():
                yield prefix + entry.name


def check_inside(root: Path, name: str) -> None:
    """UserError unless `name` is a file below `root`, without `..`, absolute path or link that leads out of it."""
    try:
        target = os.path.realpath(os.path.join(root, name), strict=True)
    except OSError as error:
        reason = "a loop of links or a broken link" if os.path.islink(os.path.join(root, name)) else "no such file"
        raise UserError(f"{show(root / name)}: {reason}: restore the file or take it out of the set") from error
    except ValueError as error:  # a NUL byte
        raise UserError(f"{show(root)}: '{show(name)}' is not a file name: correct the metadata") from error
    if not target.startswith(os.path.join(os.path.realpath(root), "")):
        raise UserError(f"{show(root)}: '{show(name)}' leads out of the folder: put the file itself there")
    if not os.path.isfile(target):
        raise UserError(f"{show(root / name)}: not a file: take it out of the set")
