"""migaki list"""

from __future__ import annotations

from migaki.core.discovery import names_in
from migaki.core.errors import UserError

ABOUT = "List all importers, simulators, changes, systems, judges and studies, one line each."

_SHELVES = (
    ("simulators", "simulate", "Simulator"), ("damage", "simulate", "Damage"),
    ("changes", "changes", "Change"), ("systems", "systems", "System"), ("judges", "judges", "Judge"),
    ("importers", "importers", "Importer"), ("studies", "studies", "Study"),
)


def run(words: list[str]) -> int:
    """Run the command: print one line per simulator, system and study, read from the source without importing it."""
    if words[:1] == ["--help-names"]:
        return 0
    if words[:1] in (["-h"], ["--help"], ["--help-all"]):
        print(f"usage: migaki list [backbones]\n\n{ABOUT} `migaki list backbones`: the networks of --backbone, and "
              "what they cost.")
        return 0
    if words == ["backbones"]:
        from migaki.nets.backbones import table

        print(table())
        return 0
    if words:
        raise UserError(f"migaki list takes no further words, such as '{words[0]}'")
    shelves = [(title, names_in(package, base)) for title, package, base in _SHELVES]
    wide = max(len(name) for _, rows in shelves for name in rows)
    for title, rows in shelves:
        if rows:
            print(title)
            print("\n".join(f"  {name:<{wide}} {line}" for name, line in rows.items()))
    return 0
