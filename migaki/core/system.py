"""System: the base class of a training method, with its networks, optimisers and update rule."""

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
    """The configuration of a system whose pictures have a fixed size; 0 means that the data decide the size."""

    channels: int
    height: int  # px
    width: int  # px


class System(nn.Module, ABC):
    """A method: networks, optimisers, update rule. One file in `systems/` holds one subclass.

    A subclass has two nested frozen, keyword-only dataclasses: `Config`, what is trained and how (with
    `steps: int`), and `Data`, the folders it is trained on. `tiny()` returns a configuration that trains for a few
    steps in a second, for the contract tests. Parameters, buffers and optimisers hold the whole state. Random
    numbers come from the global generator, which `fit` seeds from (seed, step) before each update.
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
    remarks: tuple[str, ...] = ()
    """What `prepare` has to say of the data; said once a run begins or goes on, so not before it is refused."""
    batch_of: ClassVar[str] = "image"
    """What the rows of a batch are, in one word: for the lines that say how fast it learns."""
    next_steps: ClassVar[tuple[str, ...]] = ()
    """Commands that one runs next, RUN standing for the folder, where these are not `apply` and `evaluate`."""
    applied_by: ClassVar[str] = ""
    """The change with an option `run` that `apply RUN` stands for, where using a run takes options of its own."""

    config: Any
    optimizers: dict[str, Optimizer]

    @classmethod
    @abstractmethod
    def open(cls, data: Any, config: Any, seed: int) -> tuple[Any, Source]:
        """Open the folders of `data`; returns the completed configuration and the source of batches.

        Values that `config` leaves at 0 (image size, channels, number of classes) are taken from the data.
        """

    @classmethod
    @abstractmethod
    def tiny(cls) -> tuple[Any, Batch]:
        """Returns a configuration that trains for a few steps in a second, and a batch that fits it."""

    @abstractmethod
    def update(self, batch: Batch, step: int) -> Scalars:
        """Do one training step, including all calls of `descend`; returns detached scalars to log."""

    @abstractmethod
    def predict(self, batch: Batch) -> Batch:
        """Returns the predictions for a batch. Changes no state; needs only the input keys of the batch."""

    def reading(self, batch: Batch) -> Batch:
        """Returns what a refiner that has this system as its estimator must not change: `predict`, or the smooth
        outputs behind it where a prediction is made of choices and has no gradient."""
        return self.predict(batch)

    def measured(self, batch: Batch) -> Batch:
        """Returns what `predict` measures on whole pictures, (B, ...) float32 by keys that it accepts in their place.

        In a film these numbers are averaged over time, so that pictures do not flicker; by default there are none.
        """
        return {}

    @property
    def tiling(self) -> Tiling | None:
        """How to cut large pictures into tiles; None for a system that takes only the size in its configuration."""
        return None

    @property
    def error_scale(self) -> float:
        """The factor that scales errors in px before they are reported."""
        return 1.0

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of the input pictures; None if the system takes pictures of any size, or none."""
        config = self.config
        return (config.channels, config.height, config.width) if isinstance(config, Framed) else None

    def drawn(self) -> dict[str, tuple[int, ...]]:
        """Keys that are drawn from a standard normal for each row, with their shapes without B; none by default.

        A system with such keys can make several outputs from one input.
        """
        return {}

    def input_shapes(self, size: tuple[int, int] | None = None) -> dict[str, tuple[int, ...]]:
        """Returns the shape, without B, of every input and drawn key: the glossary's, with the configuration's sizes.

        `size` (H, W) is the size of the pictures if the system takes any size. Raises UserError for an input of
        unknown shape.
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
        """The number of channels of the input pictures."""
        return int(self.config.channels)

    def metric(self) -> Metric | None:
        """Returns the metric that compares `predict` with labels, or None."""
        return None

    def sheet(self, batch: Batch) -> Sheet:
        """Returns pictures that show the progress of training; none by default."""
        return []

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Returns warnings from the mean scalars up to `step`, one line each: what is wrong and what to do.

        A warning has the same text at every step, so that its first and last step can be found. Overrides add to
        the warnings of this method.
        """
        if all(scalars[name] == 0 for name in scalars if name.endswith("/skipped")):
            return []
        return ["gradients were not finite in some steps, which were skipped: lower --learning-rate"]

    def prepare(self, data: Any) -> None:
        """Load from `data` what training needs besides the batches (such as a frozen network); nothing by default."""

    def begin(self, out: Path, run: Any, quiet: bool) -> None:
        """Work to do before the first step that leaves something in the folder `out` of the run (such as runs of its
        parts); nothing by default. `run` says how (`core.fit.Run`). Called again if it was stopped: it goes on then.
        """

    def finish(self, source: Source) -> None:
        """Work to do once after the last step (such as collecting statistics); nothing by default."""


def descend(loss: Tensor, optimizer: Optimizer, max_norm: float = 0.0) -> Tensor:
    """Take one gradient step. No other function does this.

    Only the parameters of `optimizer` receive gradients. The gradients are averaged over the processes, clipped to
    the norm `max_norm` (0 = not clipped) and checked. If a gradient is not finite, the step is skipped: the parameters
    and the optimiser's state do not change. Returns a tensor: 1 if the step was skipped, else 0. On a GPU the check
    runs on the device, and the host does not wait for it.
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
    # Autocast keeps the bf16 copies of the weights until its outermost block ends; after this step they are stale.
    torch.clear_autocast_cache()
    return (~finite).float() if is_cuda else torch.zeros((), device=loss.device)


def step_if(optimizer: Optimizer, finite: Tensor) -> None:
    """Step a fused optimiser; its kernels skip the step if `finite` (a scalar on the device) is false."""
    for group in optimizer.param_groups:
        if group.get("momentum"):  # SGD creates its buffers in the first step; if that is skipped they hold no values
            for parameter in group["params"]:
                optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
    optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]  # as torch.amp.GradScaler does
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]


def _fuse(optimizer: Optimizer, fused: bool) -> None:
    """Select fused kernels (GPU) or unfused ones (CPU), even if a checkpoint from another device says otherwise.

    The step counters are moved to the device that these kernels expect."""
    for group in optimizer.param_groups:
        if bool(group.get("fused")) == fused:
            continue
        group["fused"] = fused
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].to(parameter.device if fused else "cpu")


def reading_of(estimator: System | nn.Module, batch: Batch) -> Batch:
    """Returns what an estimator reads off a batch: `System.reading`, or `predict` of another module."""
    if isinstance(estimator, System):
        return estimator.reading(batch)
    read: Batch = estimator.predict(batch)  # type: ignore[operator]
    return read


def num_parameters(module: nn.Module) -> int:
    """Returns the number of trainable values of a module."""
    return sum(p.numel() for p in module.parameters())


def model_state(system: System) -> dict[str, Tensor]:
    """Returns the state that `predict` needs: all entries except those with a prefix in `training_only`."""
    return {
        name: value.detach().cpu().contiguous()
        for name, value in system.state_dict().items()
        if not name.startswith(system.training_only)
    }


def data_paths(data: Any) -> dict[str, tuple[Path, ...]]:
    """Returns the folders of a `Data` dataclass by field, without empty fields."""
    values = {name: getattr(data, name) for name in data.__dataclass_fields__}
    found = {name: (value,) if isinstance(value, Path) else value for name, value in values.items()}
    return {name: paths for name, paths in found.items()
            if isinstance(paths, tuple) and paths and all(isinstance(path, Path) for path in paths)}


def data_fields(data: Any) -> dict[str, str | list[str]]:
    """Returns the same folders as strings, for the record; a list if a field takes several."""
    return {name: str(paths[0]) if isinstance(getattr(data, name), Path) else [str(path) for path in paths]
            for name, paths in data_paths(data).items()}
