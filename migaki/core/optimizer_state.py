"""Check that an optimiser can load a saved state: a checkpoint may be damaged or from a stranger."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch.optim import Optimizer


def check_optimizer(optimizer: Optimizer, saved: Any) -> None:
    """ValueError unless `saved` has the groups, settings and moments that `optimizer` itself would save.

    PyTorch's `load_state_dict` compares only the number of parameters and would fail later, within a step.
    """
    groups, state = saved["param_groups"], saved["state"]
    for own, found in zip(optimizer.state_dict()["param_groups"], groups, strict=True):
        for name, value in own.items():
            if name not in found or not _is_alike(value, found[name]):
                raise ValueError(f"the optimiser's '{name}' is missing or has a wrong value")
    moments = _moments(optimizer)
    parameters = dict(enumerate(p for group in optimizer.param_groups for p in group["params"]))
    for number, values in state.items():
        parameter = parameters[number]
        if moments is not None and values and values.keys() != moments.keys():
            raise ValueError("the optimiser's moments are missing or of another optimiser")
        for name, value in values.items():
            if value is None:
                continue
            if not isinstance(value, torch.Tensor) or value.shape not in (parameter.shape, torch.Size(())):
                raise ValueError(f"the optimiser's '{name}' has another shape")
            if moments is not None and moments[name] is not None and moments[name] != (value.shape == parameter.shape):
                raise ValueError(f"the optimiser's '{name}' has another shape")
            if not torch.isfinite(value).all():
                raise ValueError(f"the optimiser's '{name}' holds numbers that are not finite")
            if name == "step" and value < 0:
                raise ValueError("the optimiser's steps are negative")


def _is_alike(own: Any, found: Any) -> bool:
    """Whether `found` has the type of `own`; numbers may differ, as the learning rate does between steps."""
    if isinstance(own, bool) or own is None or isinstance(own, str):
        return type(found) is type(own) and found == own
    if isinstance(own, int | float):
        return isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
    if isinstance(own, list | tuple):
        return isinstance(found, list | tuple) and len(found) == len(own) and all(map(_is_alike, own, found))
    return type(found) is type(own)


def _moments(optimizer: Optimizer) -> dict[str, bool | None] | None:
    """Returns the names of the moments that the optimiser stores per parameter, and whether each has its shape.

    A value is None for a moment that is no tensor. Returns None if a trial step is not possible.
    """
    known = inspect.signature(type(optimizer)).parameters
    probe = torch.nn.Parameter(torch.zeros(2, 3))
    probe.grad = torch.zeros(2, 3)
    try:
        make: Any = type(optimizer)
        other: Optimizer = make([probe], **{k: v for k, v in optimizer.defaults.items() if k in known})
        other.step()
    except (TypeError, ValueError, RuntimeError):
        return None
    return {name: value.shape == probe.shape if isinstance(value, torch.Tensor) else None
            for name, value in other.state[probe].items()}
