"""Checkpoints: enough to go on to the same bits; models: enough to predict. Neither is ever unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from migaki.core.errors import UserError
from migaki.core.files import atomic_write, explain
from migaki.core.system import System, model_state


def save_checkpoint(path: Path, system: System, step: int) -> None:
    """Write everything that training needs to go on after `step` updates (atomically)."""
    state = {
        "step": step,
        "system": system.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in system.optimizers.items()},
    }
    with atomic_write(path) as file:
        torch.save(state, file)


def load_checkpoint(path: Path, system: System) -> int:
    """Restore `system` in place and return the number of updates behind it."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        system.load_state_dict(state["system"])
        for name, optimizer in system.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        return int(state["step"])
    except OSError as error:
        raise explain(error, path) from error
    except Exception as error:  # of rubbish, the unpickler may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]  # EOFError says nothing
        raise UserError(f"{path}: the checkpoint does not fit this run or is damaged: delete it to start again "
                        f"({reason})") from error


def save_model(path: Path, system: System) -> None:
    """Write what `predict` needs as safetensors (atomically)."""
    with atomic_write(path) as file:
        file.write(safetensors.torch.save(model_state(system)))


def load_model(path: Path, system: System) -> None:
    """Load what `save_model` wrote; UserError if the file is damaged or belongs to another configuration."""
    try:
        state = safetensors.torch.load_file(path)
    except OSError as error:
        raise explain(error, path) from error
    except (safetensors.SafetensorError, ValueError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}): train again or restore it") from error
    wanted = model_state(system)
    for name, value in wanted.items():
        if name not in state or state[name].shape != value.shape:
            raise UserError(f"{path}: '{name}' is missing or has another shape: the file belongs to another model")
    system.load_state_dict(state, strict=False)
