"""migaki list"""

from __future__ import annotations

from migaki.core.discovery import names_in

_SHELVES = (
    ("simulators", "simulate", "Simulator"), ("damage", "simulate", "Damage"),
    ("systems", "systems", "System"), ("studies", "studies", "Study"),
)


def run(words: list[str]) -> int:
    """Run the command: one line for each simulator, system and study, read from the files, nothing imported."""
    for title, package, base in _SHELVES:
        rows = names_in(package, base)
        if rows:
            print(title)
            print("\n".join(f"  {name:<14} {line}" for name, line in rows.items()))
    return 0
