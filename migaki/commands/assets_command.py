"""migaki assets unityeyes --out DIR"""

from __future__ import annotations

import sys
from pathlib import Path

from migaki.commands.options import parse
from migaki.core.errors import UserError
from migaki.importers.assets import UNITYEYES_LICENCE, UNITYEYES_URL, fetch_unityeyes

ABOUT = "Download UnityEyes' render assets (skins, irises, shapes) after showing their licence."


def run(words: list[str]) -> int:
    """Run the command."""
    if words[:1] in ([], ["-h"], ["--help"]):
        print(f"usage: migaki assets unityeyes --out DIR\n\n{ABOUT}")
        if not words:
            raise UserError("migaki assets: say which: unityeyes")
        return 0
    if words[0] != "unityeyes":
        raise UserError(f"no assets are called '{words[0]}': there is 'unityeyes'")
    options = parse("assets unityeyes", ABOUT, words[1:], out=(Path, ...), url=(str, UNITYEYES_URL),
                    sha256=(str | None, None), accept_licence=(bool, False))
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
