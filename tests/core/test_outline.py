"""What the help tells of options is read from the source: it must be what the classes hold."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import pytest

from migaki.core.discovery import names_in, reference
from migaki.core.outline import GROUPS, Option, literal, load, outline, spelt

SHELVES = (
    ("systems", "System", ("Data", "Config")), ("simulate", "Simulator", ("Config",)),
    ("simulate", "Damage", ("Config",)), ("importers", "Importer", ("Config",)), ("studies", "Study", ("Config",)),
    ("studies", "Demo", ("Config",)), ("changes", "Change", ("Config",)), ("judges", "Judge", ("Config",)),
)
REFERENCES = [
    *(f"{reference(package, name, base)}.{part}" for package, base, parts in SHELVES for name in names_in(package, base)
      for part in parts),
    "migaki.core.fit:Run", "migaki.stages.apply_job:ApplyJob", "migaki.data.walk:OutputJob",
    "migaki.stages.simulate:SimulateJob", "migaki.stages.damage:DamageJob", "migaki.web.turing:TuringConfig",
]


def flat(cls: Any, prefix: str = "", values: Any = None) -> dict[str, Any]:
    """Options of a dataclass by their names on the command line, with their defaults; `...` where there is none."""
    names, hints = getattr(cls, "NAMES", {}), typing.get_type_hints(cls)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        name = prefix + names.get(field.name, field.name).replace("_", "-")
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if values is not None:
            default = getattr(values, field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            found |= flat(hints[field.name], f"{name}.", default)
        else:
            found[name] = ... if default is dataclasses.MISSING else default
    return found


@pytest.mark.parametrize("place", REFERENCES)
def test_the_outline_is_what_the_class_holds(place: str) -> None:
    told = {option.name: option for option in outline(place).options}
    held = flat(load(place))
    assert list(told) == list(held)
    for name, value in held.items():
        assert (told[name].default is None) == (value is ...), name
        if value is not ... and not _is_sum(told[name]):
            assert told[name].default == spelt(value), name


def _is_sum(option: Option) -> bool:
    """Returns whether the default is shown as written in the source, such as 50 / 255."""
    return " / " in str(option.default)


@pytest.mark.parametrize("place", REFERENCES)
def test_every_option_has_one_group_and_a_text(place: str) -> None:
    cls = load(place)
    fields = {field.name for field in dataclasses.fields(cls)}
    placed = [word for words in getattr(cls, "GROUPS", {}).values() for word in words.split()]
    assert len(placed) == len(set(placed)) and set(placed) <= fields
    names = getattr(cls, "NAMES", {})
    assert set(names) <= fields and len(set(names.values())) == len(names)
    for option in outline(place).options:
        assert option.group in GROUPS
        assert option.about, f"{place}: say in a comment what --{option.name} is, with its unit"


def test_what_a_class_says_of_itself_is_read_from_its_source() -> None:
    assert literal("migaki.changes.orbit:Orbit", "by_itself", False) is True
    assert literal("migaki.changes.match:Match", "by_itself", False) is False
    assert literal("migaki.changes.mesh:Mesh", "record_name", "") == "mesh"


def test_presets_are_read_too() -> None:
    assert outline("migaki.systems.simgan:SimGAN.Config").presets == ("pixels", "paper", "paper_hands")


@pytest.mark.parametrize(("value", "words"), [
    (None, ""), ((), ""), (True, "yes"), (0.0, "0"), (2e-4, "0.0002"), (1e-7, "1e-07"), ((1.0, 2.5), "1 2.5"),
    ("adam", "adam"), (10_000, "10000"),
])
def test_values_are_spelt_as_the_command_line_wants_them(value: Any, words: str) -> None:
    assert spelt(value) == words
