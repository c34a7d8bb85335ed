"""Downloads the assets of UnityEyes after the user has accepted their licence: `migaki import assets unityeyes`.

They are not part of migaki. With them the eyes of `simulate/eyes.py` look like scanned faces; without them it draws
its built-in eyes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from migaki.core.downloads import download, free_bytes, unzip
from migaki.core.errors import UserError
from migaki.core.files import make_folder, show, write_json

UNITYEYES_URL = "https://github.com/alexanderdsmith/UnityEyes2/archive/refs/heads/main.zip"
"""The repository as a zip archive. Its main branch changes, so that no checksum can be given for it."""

UNITYEYES_LICENCE = """\
The assets of UnityEyes (https://github.com/alexanderdsmith/UnityEyes2) are under the MIT License:

Copyright (c) 2018 Erroll Wood
Copyright (c) 2025 Alexander D. Smith and Brijesh Muthumanickam

You may use, copy, modify, publish and sell them if you keep this notice and the licence's text, which is
placed beside them as LICENSE. They come without warranty of any kind."""
"""Shown to the user before the download."""

_MAX_ARCHIVE = 2_000_000_000  # bytes
_MAX_UNPACKED = 4_000_000_000  # bytes
_ENDINGS = (".png", ".jpg", ".txt", ".3ds", ".obj", ".exr", ".hdr", ".bytes", ".csv")
_NEEDED = ("Resources/ShapePCA", "Resources/SkinTextures", "Resources/IrisTextures")


def fetch_unityeyes(
    out: Path | str,
    url: str = UNITYEYES_URL,
    accept_licence: bool = False,
    sha256: str | None = None,
    report: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Download UnityEyes' assets to `out/Assets`, with the licence at `out/LICENSE`.

    Args:
        out: The folder; its `Assets` must not exist yet.
        url: A zip archive of the repository, https (http from this machine only).
        accept_licence: True once the user has seen `UNITYEYES_LICENCE` and agreed.
        sha256: Checksum of the archive; None = not checked.
        report: Called with (bytes so far, announced length or None).

    Returns:
        The path of the `Assets` folder.

    Raises:
        UserError: if the licence is not accepted, the archive is not UnityEyes', or network or disk fail.
    """
    out = Path(out)
    assets = out / "Assets"
    if not accept_licence:
        raise UserError("the licence of the UnityEyes assets was not accepted: read it and accept it to fetch them")
    if assets.exists():
        raise UserError(f"{show(assets)}: exists already: use it, or delete it to fetch the assets again")
    make_folder(out)
    if free_bytes(out) < 2**30:
        raise UserError(f"{show(out)}: less than 1 GB is free: free some space or choose another folder")
    # Unpacked under another name and renamed at the end, so that a folder called Assets is always complete.
    with tempfile.TemporaryDirectory(prefix=".unityeyes-", dir=out) as scratch:
        archive, unpacked = Path(scratch) / "archive.zip", Path(scratch) / "unpacked"
        download(url, archive, sha256=sha256, max_bytes=_MAX_ARCHIVE, report=report)
        unzip(archive, unpacked, max_bytes=_MAX_UNPACKED, choose=_wanted)
        _check(unpacked / "Assets", url)
        if (unpacked / "LICENSE").is_file():
            (unpacked / "LICENSE").replace(out / "LICENSE")
        (unpacked / "Assets").rename(assets)
    write_json(out / "assets.json", {"url": url, "sha256": sha256, "licence": "MIT", "notice": UNITYEYES_LICENCE})
    return assets


def _check(assets: Path, url: str) -> None:
    """UserError unless `assets` holds the files that the renderer needs, as pictures rather than Git LFS pointers."""
    missing = [name for name in _NEEDED if not (assets / name).is_dir()]
    if missing:
        raise UserError(f"{url}: holds no Assets/{missing[0]}: this is not an archive of UnityEyes")
    for texture in assets.rglob("*.png"):
        with open(texture, "rb") as file:
            if file.read(8) != b"\x89PNG\r\n\x1a\n":
                raise UserError(f"{url}: {texture.name} is no PNG (a pointer to Git LFS?): clone the repository")


def _wanted(name: str) -> str | None:
    """Maps a name `REPOSITORY-BRANCH/...` in an archive to the asset or licence to unpack; None for other files."""
    _, _, inner = name.partition("/")
    if inner == "LICENSE" or (inner.startswith("Assets/") and inner.lower().endswith(_ENDINGS)):
        return inner
    return None
