"""The outputs of a network's layers during one forward pass; afterwards nothing of it is left in the network.

Hooks are the only way to see a layer's output without a change of the network. They go wrong in silence where a layer
is used twice, or where the next one overwrites its output. Here both are found and named. A hook belongs to the thread
that set it, so that several threads may read one network.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class UnfitModel(ValueError):
    """A method does not apply to this network. The message is the end of a sentence about the network, and names the
    layer."""


class Taps:
    """The outputs of layers: see `tapped`."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._found: dict[str, list[tuple[Tensor, int]]] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Remember an output, and how often it has been written to."""
        self._found.setdefault(name, []).append((value, value._version))

    @property
    def names(self) -> list[str]:
        """The layers that were used, in the order in which they were first done."""
        return list(self._found)

    def first(self, name: str) -> Tensor:
        """The first output of a layer, without a check."""
        return self._found[name][0][0]

    def uses(self, name: str) -> int:
        """How often the layer was used."""
        return len(self._found.get(name, []))

    def output(self, name: str) -> Tensor:
        """Returns the only output of a layer. Raises UnfitModel if it is used several times or never, and if a later
        layer has overwritten the output."""
        found = self._found.get(name, [])
        if not found:
            raise UnfitModel(f"does not use its layer '{name}' for a picture: choose another layer")
        if len(found) > 1:
            raise UnfitModel(f"uses its layer '{name}' {len(found)} times for a picture, so that it has no single "
                             "output: build it with a layer for each use, or choose another layer")
        value, version = found[0]
        if value._version != version:
            culprits = [name for name, module in self._model.named_modules() if getattr(module, "inplace", False)]
            by = f" (in place: {', '.join(culprits[:4])})" if culprits else ""
            raise UnfitModel(f"overwrites the output of its layer '{name}'{by}: build its ReLUs with inplace=False, or "
                             "choose the layer that overwrites it")
        return value


@contextmanager
def tapped(model: nn.Module, names: Collection[str] | None = None) -> Iterator[Taps]:
    """Collect the outputs of these layers, or of all, while the block runs; only tensors, only of this thread."""
    taps, owner = Taps(model), threading.get_ident()

    def watch(name: str, module: nn.Module) -> RemovableHandle:
        def keep(_: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and threading.get_ident() == owner:
                taps.add(name, output)
        return module.register_forward_hook(keep)

    chosen = [(name, module) for name, module in model.named_modules()
              if name and (names is None or name in names)]
    handles = [watch(name, module) for name, module in chosen]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()


def layer_name(model: nn.Module, name: str) -> str:
    """Returns the full name of a layer: `name` itself, or the only layer whose name ends with it (`block_10` for
    `backbone.block_10`). Raises UnfitModel, which lists what there is."""
    every: list[str] = [found for found, _ in model.named_modules() if found]
    if name in every:
        return name
    ends = [found for found in every if found.endswith(f".{name}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise UnfitModel(f"has several layers '{name}': {', '.join(ends[:8])}: give one of these")
    upper = [found for found in every if found.count(".") < 3]
    raise UnfitModel(f"has no layer '{name}': it has {', '.join(upper[:24])}{' ...' if len(upper) > 24 else ''}")


def map_layers(model: nn.Module, images: Tensor) -> list[str]:
    """Returns the layers whose outputs (B, F, h, w) are maps of more than one position, in the order of their use.

    `images` (B, C, H, W): one picture suffices. Layers used twice are left out.
    """
    with torch.no_grad(), tapped(model) as taps:
        model(images)
    return [name for name in taps.names if taps.uses(name) == 1 and is_map(taps.first(name))]


def is_map(value: Tensor) -> bool:
    """Whether a layer's output has positions."""
    return value.ndim == 4 and value.shape[2] * value.shape[3] > 1


def stage_layers(model: nn.Module, images: Tensor) -> list[str]:
    """Returns the layers that lie side by side on the highest level of the network: its blocks, without the
    convolutions and norms whose output a ReLU has still to pass."""
    maps = map_layers(model, images)
    parent = ""
    while True:
        children = {name for name in maps if _parent(name) == parent}
        below = [f"{parent}.{name}".strip(".") for name, _ in model.get_submodule(parent).named_children()]
        inner = {name: sum(found.startswith(f"{name}.") for found in maps) for name in below}
        best = max(inner, key=lambda name: inner[name], default="")
        if len(children) >= 3 or not best or not inner[best]:
            break
        parent = best
    chosen = [name for name in maps if _parent(name) == parent] or maps
    raw = (nn.Conv2d, nn.BatchNorm2d)
    done = [name for name in chosen if type(model.get_submodule(name)) not in raw]
    return done or chosen


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
