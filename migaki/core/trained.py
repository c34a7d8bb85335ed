"""Open a folder that `fit` left: a model, checked before anything is built from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from migaki.core.checkpoint import load_model
from migaki.core.config import from_dict
from migaki.core.discovery import find_class
from migaki.core.errors import UserError
from migaki.core.files import read_json
from migaki.core.system import System


def read_record(folder: Path) -> dict[str, Any]:
    """config.json of a trained run; UserError if `folder` is not one."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: give the --out of an earlier `migaki train`")
    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: no config.json there: give the --out of an earlier `migaki train`")
    record = read_json(folder / "config.json")
    if not isinstance(record, dict) or not isinstance(record.get("system"), str):
        raise UserError(f"{folder / 'config.json'}: not the configuration of a run: restore it or train again")
    return record


def load_system(folder: Path) -> System:
    """The trained system of the run in `folder`, in evaluation mode, on the CPU; UserError if it is not whole."""
    record = read_record(folder)
    cls = find_class("systems", record["system"], System)
    config = from_dict(cls.Config, record.get("config", {}), str(folder / "config.json"))
    if not (folder / "model.safetensors").exists():
        raise UserError(f"{folder}: the training is not finished (no model.safetensors): run it again to go on")
    system: System = cls(config)
    load_model(folder / "model.safetensors", system)
    return system.eval()
