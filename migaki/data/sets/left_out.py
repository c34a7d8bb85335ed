"""Reports files that a listing skipped, and why, in one line per folder, so that users notice what was not read."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.files.image_file import EXTENSIONS

_ADVICE = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "convert them, e.g. `heif-convert IN OUT.jpg`"),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"),
                    "raw camera data: convert them to TIFF or JPEG"),
    **dict.fromkeys((".jxl", ".tga", ".psd", ".svg", ".pcx", ".ico", ".xcf", ".eps", ".ai", ".pdf"),
                    "convert them to PNG"),
    **dict.fromkeys((".exr", ".hdr", ".dcm", ".nii", ".fits", ".mat", ".npz", ".h5", ".hdf5"),
                    "save their pictures as TIFF or .npy"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"), "videos: `migaki import film`"),
    **dict.fromkeys((".zip", ".7z", ".rar", ".gz", ".tgz", ".bz2", ".xz"), "packed: unpack them"),
}
"""Advice for files that may hold pictures, by ending."""

PICTURES = EXTENSIONS | {ending for ending, advice in _ADVICE.items() if "packed" not in advice}

_THUMBNAILS = frozenset(("@eadir", "__macosx", "#recycle", "@recycle", "$recycle.bin", "#snapshot", "thumbs.db",
                         ".thumbnails", ".thumbnail", ".@__thumb", ".picasaoriginals"))
_OURS = frozenset(("dataset.json", "index.jsonl"))
_TEXTS = ("readme", "license", "licence", "copying", "changelog")
_MOST = 4  # examples of each kind


def ending_of(name: str) -> str:
    """Returns the ending of a name in lower case, with the dot."""
    return posixpath.splitext(name)[1].lower() if "." in name else ""


def is_thumbnail(name: str) -> bool:
    """Whether a file or folder of this name is a thumbnail or side file of a system (`@eaDir`, `._x.jpg`)."""
    return name.startswith("._") or name.lower() in _THUMBNAILS


class LeftOut:
    """Gathers the files that are skipped below one folder."""

    def __init__(self) -> None:
        self.linked: list[str] = []  # folders
        self.thumbnails: list[str] = []  # files and folders
        self.hidden: list[str] = []  # pictures, and folders of pictures
        self.layers: list[str] = []  # segmentations, depth etc. that renderers write beside the pictures
        self.unnamed: list[str] = []  # pictures that are not in the metadata

    def note_hidden(self, folder: Path, name: str, prefix: str, is_folder: bool) -> None:
        """Record a hidden entry if it is a picture or a folder that holds some."""
        if is_thumbnail(name):
            self.thumbnails.append(prefix + name + "/" * is_folder)
        elif ending_of(name) in PICTURES and not is_folder:
            self.hidden.append(prefix + name)
        elif is_folder:
            try:
                with os.scandir(folder / name) as entries:
                    if any(ending_of(entry.name) in PICTURES for entry in entries):
                        self.hidden.append(f"{prefix}{name}/")
            except OSError:
                pass  # it is skipped in any case

    def report(self, folder: Path, files: Sequence[str], *, is_listing: bool) -> None:
        """Print one line about the skipped files of a folder; nothing if there are none.

        `files` are all plain files below it. `is_listing`: pictures were found by listing the folder; else metadata or
        shards define the set, and only pictures that these do not name are reported.
        """
        parts = [_some(len(self.unnamed), "pictures", self.unnamed, "the metadata does not name them")]
        if is_listing:
            parts += _other_endings(files)
            parts += [_some(len(self.linked), "linked folders", self.linked,
                            "links to folders are not followed: give the folder itself, or put its files there"),
                      _some(len(self.layers), "layers", self.layers,
                            "segmentations, depths and the like beside pictures are no pictures of the set"),
                      _some(len(self.hidden), "hidden", self.hidden, "their names begin with a dot"),
                      _some(len(self.thumbnails), "thumbnails", self.thumbnails, "")]
        message = ", ".join(part for part in parts if part)
        if message:
            notice(f"{show(folder)}: left out: {message}")


def _other_endings(files: Iterable[str]) -> list[str]:
    """Returns one part of the line per ending that is not read; common endings of other files come without advice."""
    counts = Counter(ending_of(name) or "without ending" for name in files
                     if ending_of(name) not in EXTENSIONS and not _is_text(name))
    parts = [f"{count} {show(ending)} (not readable: {_ADVICE[ending]})"
             for ending, count in sorted(counts.items()) if ending in _ADVICE]
    others = [f"{count} {show(ending)}" for ending, count in sorted(counts.items()) if ending not in _ADVICE]
    more = f" and {len(others) - _MOST} other kinds" if len(others) > _MOST else ""
    return parts + ([" and ".join(others[:_MOST]) + more + " (no pictures)"] if others else [])


def _is_text(name: str) -> bool:
    base = posixpath.basename(name).lower()
    return base in _OURS or base.startswith(_TEXTS) or base.startswith("metadata.") or base == "desktop.ini"


def _some(count: int, what: str, names: Sequence[str], why: str) -> str:
    if not count:
        return ""
    shown = ", ".join(show(name) for name in sorted(names)[:_MOST]) + (", ..." if count > _MOST else "")
    one = what[:-1] if count == 1 and what.endswith("s") else what
    return f"{count} {one}: {shown}" + (f" ({why})" if why else "")
