"""export: a trained system as one ONNX file, checked against onnxruntime."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from migaki import __version__
from migaki.core.batch import Batch
from migaki.core.config import to_dict
from migaki.core.errors import UserError
from migaki.core.files import atomic_write, explain
from migaki.core.progress import Bar
from migaki.core.system import System
from migaki.core.trained import load_system

_TOLERANCE = 2e-3  # largest difference allowed between PyTorch and onnxruntime, both float32
_SIZE, _LARGEST = (256, 256), 1024  # px; what is larger networks of any size translate in tiles
_CHECKED_BATCH = 3  # another batch size than the one traced, so that a fixed batch axis cannot pass


class _Predict(nn.Module):
    """`predict` as a module from an image (and noise) to a tuple of tensors."""

    def __init__(self, system: System, keys: list[str], noisy: bool) -> None:
        super().__init__()
        self.system, self.keys, self.noisy = system, keys, noisy

    def forward(self, image: Tensor, noise: Tensor | None = None) -> tuple[Tensor, ...]:
        batch: Batch = {"image": image}
        if self.noisy and noise is not None:
            batch["noise"] = noise
        made = self.system.predict(batch)
        return tuple(made[key] for key in self.keys)


def export(run: Path, out: Path, size: tuple[int, int] | None = None, *, quiet: bool = False) -> dict[str, float]:
    """Write the trained system in `run` to the ONNX file `out` and run it in onnxruntime.

    A network that takes pictures of any size is written for pictures of `size` (height, width; px), 256 x 256 if none
    is given: larger ones are cut into tiles of it. For the others the size is that of the training.
    Inputs `image` (B, C, H, W) float32 in [0, 1] (and `noise`, for a refiner with a noise input), any B; outputs as
    `predict` names them. Returns the largest absolute difference of each output between PyTorch and onnxruntime; on
    disagreement nothing is written and UserError says so.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError as error:
        raise UserError(f"export needs an extra ({error.name}): pip install 'migaki[export]'") from error
    if out.is_dir():
        raise UserError(f"{out}: is a folder: give the name of a file, such as {out / 'model.onnx'}")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder: create it first")
    system = load_system(run)
    config = system.config
    shape = (config.channels, *_size(run, config, size))
    noise_channels = getattr(config, "noise_channels", 0)
    inputs = _inputs(2, shape, noise_channels)
    with torch.no_grad():
        keys = list(system.predict(inputs))
    module = _Predict(system, keys, bool(noise_channels)).eval()
    with Bar("export", 2, quiet=quiet) as bar:
        bar.advance(0, "tracing the network")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            _trace(module, inputs, keys, path)
            graph = onnx.load(str(path))
        onnx.helper.set_model_props(graph, {"migaki": __version__, "config": json.dumps(to_dict(config))})
        data = graph.SerializeToString()
        bar.advance(1, "checking it in onnxruntime")
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        gaps = _gaps(module, session, keys, _inputs(_CHECKED_BATCH, shape, noise_channels))
        bar.advance(1, "")
    if max(gaps.values()) > _TOLERANCE:
        raise UserError(f"{run}: onnxruntime disagrees with PyTorch by {max(gaps.values()):.3g}: not written")
    try:
        with atomic_write(out) as file:
            file.write(data)
    except OSError as error:
        raise explain(error, out) from error
    return gaps


def _gaps(module: torch.nn.Module, session: Any, keys: list[str], inputs: dict[str, torch.Tensor]) -> dict[str, float]:
    """The largest absolute difference of each output between PyTorch and onnxruntime."""
    with torch.no_grad():
        expected = module(*inputs.values())
    found = session.run(None, {key: value.numpy() for key, value in inputs.items()})
    return {key: float(np.abs(a.numpy() - b).max()) for key, a, b in zip(keys, expected, found, strict=True)}


def _size(run: Path, config: Any, size: tuple[int, int] | None) -> tuple[int, int]:
    own = (config.height, config.width)
    if not all(own):
        wanted = size or _SIZE
        if not all(16 <= side <= _LARGEST for side in wanted):
            raise UserError(f"--size {wanted[0]} {wanted[1]}: give height and width of 16 to {_LARGEST} px")
        return wanted
    if size is not None and size != own:
        raise UserError(f"{run}: takes images of {own[1]}x{own[0]} px alone: leave out --size")
    return own


def _inputs(batch: int, shape: tuple[int, int, int], noise_channels: int) -> Batch:
    draw = torch.Generator().manual_seed(batch)
    inputs = {"image": torch.rand(batch, *shape, generator=draw)}
    if noise_channels:
        inputs["noise"] = torch.randn(batch, noise_channels, *shape[1:], generator=draw)
    return inputs


def _trace(module: nn.Module, inputs: Batch, keys: list[str], path: Path) -> None:
    """torch.onnx, with its chatter kept from the user's screen."""
    batch = torch.export.Dim("batch", min=1)
    for chatty in ("onnxscript", "torch.onnx"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, tuple(inputs.values()), str(path), input_names=list(inputs), output_names=keys,
            dynamic_shapes=tuple({0: batch} for _ in inputs), dynamo=True, external_data=False, verbose=False,
        )
