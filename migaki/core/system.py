"""System: a method. It owns its networks, its optimisers and its update rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from migaki.core import processes
from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.glossary import glossary
from migaki.core.metric import Metric
from migaki.core.source import Source
from migaki.core.tiling import Tiling

Sheet = list[tuple[str, Tensor]]
"""Rows of a contact sheet: a caption and images (B, C, H, W) in [0, 1]."""


@runtime_checkable
class Framed(Protocol):
    """A configuration of a system whose pictures have one size, which may be left to the data (0)."""

    channels: int
    height: int  # px
    width: int  # px


class System(nn.Module, ABC):
    """A method: networks, optimisers, update rule. One file in `systems/` holds one subclass.

    A subclass has two nested frozen, keyword-only dataclasses: `Config`, what is trained and how (with
    `steps: int`), and `Data`, the folders it is trained on. `tiny()` gives a configuration that trains for a few
    steps in a second, for the contract tests. State kept in buffers and optimisers is all there is: random
    numbers are drawn from the global generator, which `fit` seeds from (seed, step) before each update.
    """

    Config: ClassVar[type[Any]]
    Data: ClassVar[type[Any]]
    inputs: tuple[str, ...] = ("image",)
    """The keys that `predict` needs."""
    hints: tuple[str, ...] = ()
    """The keys that `predict` uses where a set has them."""
    keys: ClassVar[tuple[Key, ...]] = ()
    """Keys of its own that it reads or makes, with literal values: see `core.glossary`."""
    retired: ClassVar[tuple[str, ...]] = ()
    """Fields that configurations of earlier versions have and that say nothing any more."""
    training_only: ClassVar[tuple[str, ...]] = ()
    """Prefixes of state that training needs and the saved model does not."""
    per_process: ClassVar[tuple[str, ...]] = ()
    """Prefixes of state that each of several processes has its own of; all other state is the same in all of them."""

    config: Any
    optimizers: dict[str, Optimizer]

    @classmethod
    @abstractmethod
    def open(cls, data: Any, config: Any, seed: int) -> tuple[Any, Source]:
        """Open the folders of `data`: the configuration completed from them, and the source of batches.

        What the data decide (image size, channels, number of classes) is filled in where `config` leaves it 0.
        """

    @classmethod
    @abstractmethod
    def tiny(cls) -> tuple[Any, Batch]:
        """A configuration that trains for a few steps in a second, and a batch that fits it."""

    @abstractmethod
    def update(self, batch: Batch, step: int) -> Scalars:
        """One training step: takes its own descents, returns detached scalars to log."""

    @abstractmethod
    def predict(self, batch: Batch) -> Batch:
        """What the method makes of a batch. Touches no state; needs only the inputs among the keys."""

    @property
    def tiling(self) -> Tiling | None:
        """How to cut a large picture; None for a system whose pictures have one size, that of its configuration."""
        return None

    @property
    def error_scale(self) -> float:
        """The factor by which errors in px are multiplied before they are reported."""
        return 1.0

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of the pictures that it takes; None where it takes them in any size, or takes none."""
        config = self.config
        return (config.channels, config.height, config.width) if isinstance(config, Framed) else None

    def drawn(self) -> dict[str, tuple[int, ...]]:
        """Keys that are drawn anew for each row, standard normal, with their shapes without B; none by default.

        A system that has some makes several outputs of one input.
        """
        return {}

    def input_shapes(self, size: tuple[int, int] | None = None) -> dict[str, tuple[int, ...]]:
        """The shape, without B, of every input and of what is drawn: the glossary's, with the configuration's sizes.

        `size` (H, W) is that of the pictures where the system takes any. Raises UserError for an input whose shape
        nobody has told.
        """
        known: dict[str, int] = {}
        if self.shape is not None:
            known = dict(zip("CHW", self.shape, strict=True))
        elif size is not None:
            known = dict(zip("CHW", (self.channels, *size), strict=True))
        shapes: dict[str, tuple[int, ...]] = {}
        for name in self.inputs:
            key = glossary().get(name)
            letters = key.shape if key is not None else ("?",)
            if not all(part in known or part.isdecimal() for part in letters):
                raise UserError(f"{type(self).__name__}: the shape of its input '{name}' is not known: declare a Key "
                                "of digits, C, H and W beside the class")
            shapes[name] = tuple(known[part] if part in known else int(part) for part in letters)
        return shapes | self.drawn()

    @property
    def channels(self) -> int:
        """Channels of the pictures that it takes."""
        return int(self.config.channels)

    def metric(self) -> Metric | None:
        """The measure of `predict` against labels, where there is one."""
        return None

    def sheet(self, batch: Batch) -> Sheet:
        """Pictures that show how training goes; none by default."""
        return []

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warnings that follow from the mean scalars up to `step`, one line each: what is wrong, what to do.

        A line is the same text at every step, so that it can be dated. Overrides add to what this one finds.
        """
        if all(scalars[name] == 0 for name in scalars if name.endswith("/skipped")):
            return []
        return ["gradients were not finite in some steps, which were skipped: lower --learning-rate"]

    def prepare(self, data: Any) -> None:
        """Load what training needs besides the batches (say, a frozen network) from `data`; nothing by default."""

    def finish(self, source: Source) -> None:
        """Whatever is to be done once after the last step (say, collect statistics); nothing by default."""


def descend(loss: Tensor, optimizer: Optimizer, max_norm: float = 0.0) -> Tensor:
    """Take one gradient step: the only place where that happens.

    Only the parameters of `optimizer` receive gradients, which are averaged over the processes, clipped to the
    norm `max_norm` (0 = not clipped) and checked. A gradient that is not finite is not taken: the parameters
    and the optimiser's state stay as they are. Returns 1 if the step was skipped for that reason, else 0, as a tensor.
    A GPU decides that by itself: the host reads nothing and does not wait for it.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    with torch.autocast(loss.device.type, enabled=False):
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        grads = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
        processes.average(grads)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        finite = torch.isfinite(norm)
        if max_norm > 0:
            torch._foreach_mul_(grads, torch.clamp(max_norm / (norm + 1e-12), max=1.0))
        is_cuda = loss.device.type == "cuda"
        if not is_cuda and not finite:  # one scalar read per descent; on the CPU it costs nothing
            return torch.ones((), device=loss.device)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        _fuse(optimizer, is_cuda)
        step_if(optimizer, finite) if is_cuda else optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    # Autocast keeps the bf16 copies of the weights until its outermost block ends; they are stale from here on.
    torch.clear_autocast_cache()
    return (~finite).float() if is_cuda else torch.zeros((), device=loss.device)


def step_if(optimizer: Optimizer, finite: Tensor) -> None:
    """A step of a fused optimiser that its kernels leave out where `finite` (a scalar on the device) is false."""
    for group in optimizer.param_groups:
        if group.get("momentum"):  # SGD would make its buffers in the first step, without values if that is left out
            for parameter in group["params"]:
                optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
    optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]  # as torch.amp.GradScaler tells it
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]


def _fuse(optimizer: Optimizer, fused: bool) -> None:
    """Let the optimiser's kernels be fused (on a GPU) or not (on a CPU, as they always were), whatever a checkpoint
    of another device says; its counters of steps go to where its kernels look for them."""
    for group in optimizer.param_groups:
        if bool(group.get("fused")) == fused:
            continue
        group["fused"] = fused
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].to(parameter.device if fused else "cpu")


def num_parameters(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(p.numel() for p in module.parameters())


def model_state(system: System) -> dict[str, Tensor]:
    """The state that `predict` needs: everything but the prefixes in `training_only`."""
    return {
        name: value.detach().cpu().contiguous()
        for name, value in system.state_dict().items()
        if not name.startswith(system.training_only)
    }


def data_paths(data: Any) -> dict[str, tuple[Path, ...]]:
    """The folders of a `Data` dataclass by field; fields without any are left out."""
    values = {name: getattr(data, name) for name in data.__dataclass_fields__}
    found = {name: (value,) if isinstance(value, Path) else value for name, value in values.items()}
    return {name: paths for name, paths in found.items()
            if isinstance(paths, tuple) and paths and all(isinstance(path, Path) for path in paths)}


def data_fields(data: Any) -> dict[str, str | list[str]]:
    """The same as strings, for the record; a list where a field takes several."""
    return {name: str(paths[0]) if isinstance(getattr(data, name), Path) else [str(path) for path in paths]
            for name, paths in data_paths(data).items()}
