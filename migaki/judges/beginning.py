"""The network as a run began it, where that was not at random weights alone: what its weights knew is no training's."""

from __future__ import annotations

from pathlib import Path

from migaki.core.config import from_dict
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.system import System
from migaki.core.trained import read_record
from migaki.data.sets.contents import contents
from migaki.judges.described import untrained_twin
from migaki.nets.backbones import is_published


def began_with(system: System, run: Path) -> str:
    """The weights that `run` started from, in words; empty where all of them were drawn at random."""
    data = read_record(run).get("data", {})
    if "pretrained" in data:
        return show(str(data["pretrained"]))
    is_packaged = bool(data) and any(is_published(part) for part in system.modules())
    return f"those of {system.config.backbone}" if is_packaged else ""


def begun_twin(system: System, run: Path) -> System | None:
    """The system of `run` before its first update, with the weights that it started from; None where it started from
    random ones alone. UserError where those weights are gone, or are others by now.
    """
    if not began_with(system, run):
        return None
    record = read_record(run)
    given, held = record["data"].get("pretrained"), record.get("contents", {}).get("pretrained")
    if given is not None and held and contents(Path(given)) != held[0]:
        raise UserError(f"{show(given)}: has changed since {show(run)} started from it")
    twin = untrained_twin(system, run)
    twin.prepare(from_dict(type(system).Data, record["data"], str(run / "config.json")))
    return twin


def start_notes(systems: list[System], runs: list[Path]) -> list[str]:
    """Sentences on runs that started from weights which the untrained network beside them does not have."""
    return [f"{show(run)} started from weights ({name}), which the untrained network does not have: what they knew is "
            "no gain of this training." for system, run in zip(systems, runs, strict=True)
            if (name := began_with(system, run))]
