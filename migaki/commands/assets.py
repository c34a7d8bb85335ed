"""migaki import assets unityeyes --out DIR"""

from __future__ import annotations

import sys
from pathlib import Path

from migaki.commands.options import Single, parse
from migaki.core.errors import UserError
from migaki.importers.assets import UNITYEYES_LICENCE, UNITYEYES_URL, fetch_unityeyes

ABOUT = "Download UnityEyes' render assets (skins, irises, shapes) after showing their licence."


def run(words: list[str]) -> int:
    """Run the command."""
    if words[:1] == ["--help-names"]:
        print("unityeyes")
        return 0
    if words[:1] in ([], ["-h"], ["--help"], ["--help-all"]):
        print(f"usage: migaki import assets unityeyes --out DIR\n\n{ABOUT}")
        if not words:
            raise UserError("migaki import assets: choose one: unityeyes")
        return 0
    if words[0] != "unityeyes":
        raise UserError(f"no assets are called '{words[0]}': there is 'unityeyes'")
    options = parse(
        "import assets unityeyes", ABOUT, words[1:], out=Single(kind=Path, about="the folder to write"),
        accept_licence=Single(kind=bool, default=False, about="accept the licence without a question, for scripts"),
        url=Single(kind=str, default=UNITYEYES_URL, about="where to download from", group="rest"),
        sha256=Single(kind=str | None, default=None, about="SHA-256 of another --url's file", group="rest"))
    print(UNITYEYES_LICENCE)
    accepted = options.accept_licence
    if not accepted:
        if not sys.stdin.isatty():
            raise UserError("read the licence above; to accept it, add --accept-licence")
        try:
            accepted = input("Accept and download? [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            raise UserError("no answer: to accept the licence, add --accept-licence") from None
    path = fetch_unityeyes(options.out, options.url, accepted, options.sha256)
    print(f"assets: {path}  (migaki simulate eyes --assets {path} ...)")
    return 0
