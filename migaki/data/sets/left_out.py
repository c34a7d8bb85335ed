"""What a listing did not take, and why: one line for each folder, so that nobody believes that all was read."""

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
                    "a camera's raw data: develop them to TIFF or JPEG"),
    **dict.fromkeys((".jxl", ".tga", ".psd", ".svg", ".pcx", ".ico", ".xcf", ".eps", ".ai", ".pdf"),
                    "convert them to PNG"),
    **dict.fromkeys((".exr", ".hdr", ".dcm", ".nii", ".fits", ".mat", ".npz", ".h5", ".hdf5"),
                    "save their pictures as TIFF or .npy"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"), "videos: `ffmpeg -i IN %06d.png`"),
    **dict.fromkeys((".zip", ".7z", ".rar", ".gz", ".tgz", ".bz2", ".xz"), "packed: unpack them"),
}
"""What to do with files that may hold pictures, by ending."""

PICTURES = EXTENSIONS | {ending for ending, advice in _ADVICE.items() if "packed" not in advice}

_THUMBNAILS = frozenset(("@eadir", "__macosx", "#recycle", "@recycle", "$recycle.bin", "#snapshot", "thumbs.db",
                         ".thumbnails", ".thumbnail", ".@__thumb", ".picasaoriginals"))
_OURS = frozenset(("dataset.json", "index.jsonl"))
_TEXTS = ("readme", "license", "licence", "copying", "changelog")
_MOST = 4  # examples of a kind


def ending_of(name: str) -> str:
    """The ending of a name in small letters, with the dot."""
    return posixpath.splitext(name)[1].lower() if "." in name else ""


def is_thumbnail(name: str) -> bool:
    """Whether a file or folder of this name is what systems keep of pictures for themselves (`@eaDir`, `._x.jpg`)."""
    return name.startswith("._") or name.lower() in _THUMBNAILS


class LeftOut:
    """Gathers what is left out below one folder."""

    def __init__(self) -> None:
        self.linked: list[str] = []  # folders
        self.thumbnails: list[str] = []  # files and folders
        self.hidden: list[str] = []  # pictures, and folders of pictures
        self.layers: list[str] = []  # what renderers write beside the pictures: segmentations, depth
        self.unnamed: list[str] = []  # pictures that the metadata does not name

    def note_hidden(self, folder: Path, name: str, prefix: str, is_folder: bool) -> None:
        """Remember a hidden entry, if it is a picture or a folder that holds some."""
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
                pass  # it is left out in any case

    def report(self, folder: Path, files: Sequence[str], *, is_listing: bool) -> None:
        """Say in one line what was left out of a folder; nothing if that is nothing.

        `files` are all plain files below it. `is_listing`: pictures were found by looking for them; else metadata or
        shards say what belongs to the set, and only pictures that they do not name are worth a word.
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
        said = ", ".join(part for part in parts if part)
        if said:
            notice(f"{show(folder)}: left out: {said}")


def _other_endings(files: Iterable[str]) -> list[str]:
    """A part of the line for each ending that is not read; what people know to be no picture comes without advice."""
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
