"""Open a folder that `fit` wrote. The model is checked before anything is built from it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from migaki.core.checkpoint import check_shapes, load_model
from migaki.core.config import from_dict
from migaki.core.discovery import find_class
from migaki.core.errors import UserError
from migaki.core.files import explain, open_plain, read_json
from migaki.core.system import Framed, System


def read_record(folder: Path) -> dict[str, Any]:
    """Returns config.json of a trained run; UserError if `folder` is not one."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: give the --out of an earlier `migaki train`")
    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: no config.json there: give the --out of an earlier `migaki train`")
    record = read_json(folder / "config.json")
    if not isinstance(record, dict) or not isinstance(record.get("system"), str) or not all(
            isinstance(record.get(part, {}), dict) for part in ("config", "data", "run")) or not all(
            isinstance(place, str | list) for place in record.get("data", {}).values()):
        raise UserError(f"{folder / 'config.json'}: not the configuration of a run: restore it or train again")
    return record


def applied_by(folder: Path) -> str:
    """Returns the change that `apply RUN` stands for (`System.applied_by`); empty for none, and for what is no run."""
    try:
        cls: type[System] = find_class("systems", read_record(folder)["system"], System)
    except UserError:
        return ""
    return cls.applied_by


def load_system(folder: Path) -> System:
    """Returns the trained system of the run in `folder`, in evaluation mode, on the CPU; UserError if it is incomplete.

    The folder may come from a stranger. None of its code is run (JSON, safetensors). Before memory is allocated, the
    networks of the configuration are built without storage, their numbers are counted, and their names and shapes are
    compared with those in the file of weights.
    """
    record = read_record(folder)
    where = folder / "config.json"
    cls = find_class("systems", record["system"], System)
    values = record.get("config", {})
    if isinstance(values, dict):
        values = {name: value for name, value in values.items() if name not in cls.retired}
    config = from_dict(cls.Config, values, str(where))
    _check_size(config, where)
    weights = folder / "model.safetensors"
    try:
        open_plain(weights).close()
    except FileNotFoundError:
        raise UserError(f"{folder}: the training is not finished (no model.safetensors): run it again to "
                        "continue it") from None
    except OSError as error:
        raise explain(error, weights) from error
    check_shapes(weights, _build(cls, config, str(where), torch.device("meta"), "restore it or train again"))
    system = _build(cls, config, str(where), torch.device("cpu"), "restore it or train again")
    load_model(weights, system)
    return system.eval()


MAX_NUMBERS = 2**30
"""Limit of the numbers in all parameters and buffers of a system (4 GB of float32)."""

_MAX_PARTS = 20_000  # modules, parameters and buffers together
_MAX_SIDE = 2**15  # px
_MAX_PIXELS = 2**28  # values of one image


def _check_size(config: Any, where: Path) -> None:
    """UserError for impossibly large images, which a purely convolutional network would accept."""
    if not isinstance(config, Framed):
        return
    sides = [config.height, config.width, config.channels]
    if not all(0 <= side <= _MAX_SIDE for side in sides) or sides[0] * sides[1] * max(sides[2], 1) > _MAX_PIXELS:
        raise UserError(f"{where}: images of {sides[1]} x {sides[0]} px and {sides[2]} channels are impossible: "
                        "restore it")


def check_network(cls: type[System], config: Any) -> None:
    """UserError for options that do not describe a network of at most `MAX_NUMBERS` numbers; allocates no memory."""
    _build(cls, config, f"migaki train {cls.__module__.rsplit('.', 1)[-1]}", torch.device("meta"),
           "choose smaller or other numbers")


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Optimisers take their parameters without loading PyTorch's compiler, which no prediction needs.

    `add_param_group` is wrapped so that the compiler leaves it alone; the wrapper loads it, which takes as long as
    loading all the rest of PyTorch.
    """
    kind: Any = torch.optim.Optimizer
    wrapped = kind.add_param_group
    kind.add_param_group = inspect.unwrap(wrapped)
    try:
        yield
    finally:
        kind.add_param_group = wrapped


def _build(cls: type[System], config: Any, where: str, device: torch.device, advice: str) -> System:
    """Build the system, but stop when it grows beyond the limits; UserError for an invalid configuration.

    On the device `meta` parameters have shapes but no storage, so that building takes no memory.
    """
    numbers = parts = 0

    def count(module: nn.Module, name: str, value: Any) -> None:
        nonlocal numbers, parts
        parts += 1
        numbers += value.numel() if isinstance(value, torch.Tensor) else 0
        if parts > _MAX_PARTS or numbers > MAX_NUMBERS:
            raise UserError(f"{where}: describes a network of more than {MAX_NUMBERS:,} numbers or {_MAX_PARTS:,} "
                            f"parts: {advice}")

    hooks = [register(count) for register in (register_module_parameter_registration_hook,
                                              register_module_buffer_registration_hook,
                                              register_module_module_registration_hook)]
    try:
        with device, _without_compiler():
            return cls(config)
    except UserError as error:
        said = str(error).removeprefix(f"{where.split()[-1]}: ")  # a system may begin with its name, as `where` ends
        raise UserError(str(error) if where in str(error) else f"{where}: {said}") from error
    except Exception as error:  # for invalid numbers PyTorch may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise UserError(f"{where}: no network can be built from it ({reason}): {advice}") from error
    finally:
        for hook in hooks:
            hook.remove()
