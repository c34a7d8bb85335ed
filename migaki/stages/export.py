"""export: writes a trained system as one ONNX file and checks it in onnxruntime."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from migaki import __version__
from migaki.core.batch import Batch
from migaki.core.config import to_dict
from migaki.core.errors import UserError
from migaki.core.files import explain, show, write_alone
from migaki.core.glossary import glossary
from migaki.core.progress import Bar
from migaki.core.system import System
from migaki.core.trained import load_system

_TOLERANCE = 2e-3  # largest difference allowed between PyTorch and onnxruntime, both float32
_SIZE, _LARGEST = (256, 256), 1024  # px; default and largest size; larger pictures are processed in tiles
_CHECKED_BATCH = 3  # differs from the traced batch size, so that a fixed batch axis fails the check


class _Predict(nn.Module):
    """Wraps `predict` as a module from tensors to a tuple of tensors."""

    def __init__(self, system: System, inputs: list[str], keys: list[str]) -> None:
        super().__init__()
        self.system, self.inputs, self.keys = system, inputs, keys

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        made = self.system.predict(dict(zip(self.inputs, values, strict=True)))
        return tuple(made[key] for key in self.keys)


def export(run: Path, out: Path, size: tuple[int, int] | None = None, *, quiet: bool = False) -> dict[str, float]:
    """Write the trained system in `run` to the ONNX file `out` and run it in onnxruntime.

    A network that takes pictures of any size is exported for pictures of `size` (height, width; px; default 256 x 256);
    the user cuts larger pictures into tiles of that size. Other networks are exported for their training size.
    The inputs are those that the system declares (`inputs`, and its random draws), float32, pictures in [0, 1], any
    batch size. The outputs have the names that `predict` gives them. Returns the largest absolute difference of each
    output between PyTorch and onnxruntime. If they disagree, raises UserError and writes nothing.
    """
    _check(out)
    system = load_system(run)
    config = system.config
    shapes = system.input_shapes(_size(run, system, size))
    inputs = _inputs(2, shapes)
    with torch.no_grad():
        keys = list(system.predict(inputs))
    module = _Predict(system, list(inputs), keys).eval()
    with Bar("export", 3, quiet=quiet) as bar:
        _tell(bar, "loading torch.onnx and onnxruntime", quiet)
        import onnx
        import onnxruntime

        bar.advance(1)
        _tell(bar, "tracing the network, the longest part", quiet)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            _trace(module, inputs, keys, path)
            graph = onnx.load(str(path))
        onnx.helper.set_model_props(graph, {"migaki": __version__, "config": json.dumps(to_dict(config))})
        data = graph.SerializeToString()
        bar.advance(1)
        _tell(bar, "checking it in onnxruntime", quiet)
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        gaps = _gaps(module, session, keys, _inputs(_CHECKED_BATCH, shapes))
        bar.advance(1, "")
    if max(gaps.values()) > _TOLERANCE:
        raise UserError(f"{run}: onnxruntime disagrees with PyTorch by {max(gaps.values()):.3g}: not written")
    try:
        write_alone(out, data)
    except OSError as error:
        raise explain(error, out) from error
    return gaps


def _check(out: Path) -> None:
    """UserError unless an ONNX file can be made, and be written to `out`."""
    if out.is_dir():
        raise UserError(f"{out}: is a folder: give the name of a file, such as {out / 'model.onnx'}")
    if out.exists() and out.suffix.lower() != ".onnx":
        raise UserError(f"{show(out)}: is there already and no ONNX file: give another name, such as model.onnx")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder: create it first")
    for name in ("onnx", "onnxruntime", "onnxscript"):  # torch.onnx needs the last one
        if importlib.util.find_spec(name) is None:
            raise UserError(f"export needs an extra ({name}): pip install 'migaki[export]'")


def _tell(bar: Bar, what: str, quiet: bool) -> None:
    """Name the part that begins: behind the bar, or as a line where there is none."""
    bar.advance(0, what)
    if not quiet and not sys.stderr.isatty():
        bar.message(f"export: {what}")


def _gaps(module: torch.nn.Module, session: Any, keys: list[str], inputs: dict[str, torch.Tensor]) -> dict[str, float]:
    """Returns the largest absolute difference of each output between PyTorch and onnxruntime."""
    with torch.no_grad():
        expected = module(*inputs.values())
    found = session.run(None, {key: value.numpy() for key, value in inputs.items()})
    return {key: float(np.abs(a.numpy() - b).max()) for key, a, b in zip(keys, expected, found, strict=True)}


def _size(run: Path, system: System, size: tuple[int, int] | None) -> tuple[int, int] | None:
    if system.tiling is not None:
        wanted = size or _SIZE
        if not all(16 <= side <= _LARGEST for side in wanted):
            raise UserError(f"--size {wanted[0]} {wanted[1]}: give height and width of 16 to {_LARGEST} px")
        return wanted
    own = None if system.shape is None else system.shape[1:]
    if size is not None and size != own:
        what = "no pictures" if own is None else f"images of {own[1]}x{own[0]} px only"
        raise UserError(f"{run}: takes {what}: leave out --size")
    return own


def _inputs(batch: int, shapes: Mapping[str, tuple[int, ...]]) -> Batch:
    """Returns random inputs for tracing and checking: pictures in [0, 1], everything else normally distributed."""
    draw = torch.Generator().manual_seed(batch)
    kinds = {name: key.kind for name, key in glossary().items()}
    return {name: (torch.rand if kinds.get(name) == "picture" else torch.randn)(batch, *shape, generator=draw)
            for name, shape in shapes.items()}


def _trace(module: nn.Module, inputs: Batch, keys: list[str], path: Path) -> None:
    """Export with torch.onnx, without its messages on the user's screen."""
    batch = torch.export.Dim("batch", min=1)
    for chatty in ("onnxscript", "torch.onnx"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, tuple(inputs.values()), str(path), input_names=list(inputs), output_names=keys,
            dynamic_shapes=(tuple({0: batch} for _ in inputs),), dynamo=True, external_data=False, verbose=False,
        )
