"""No option of a method has the name of an option of its command: the parser would refuse both, whatever is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from migaki.core.discovery import names_in

Call = Callable[..., tuple[int, str, str]]

SHELVES = [("apply", "changes", "Change"), ("train", "systems", "System"), ("simulate", "simulate", "Simulator"),
           ("simulate", "simulate", "Damage"), ("evaluate", "judges", "Judge"), ("study", "studies", "Study")]


@pytest.mark.parametrize(("command", "package", "base"), SHELVES)
def test_names_of_options_are_distinct(command: str, package: str, base: str, call: Call) -> None:
    for name in names_in(package, base):
        code, said, _ = call(command, name, "--help-names")
        assert code == 0 and len(said.split()) > 3, name
        assert [word for word, count in Counter(said.split()).items() if count > 1] == [], name
