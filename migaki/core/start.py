"""What a run says when it begins: on what, of what, how large, and what is written where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from migaki.core.files import show
from migaki.core.plural import counted
from migaki.core.source import Counted, Source
from migaki.core.system import System, num_parameters

_CHANNELS = {1: "grey", 3: "colour", 4: "colour and alpha"}
_PRECISION = {"bf16": "bf16 (products of 16 bits, sums and losses of 32)", "fp32": "fp32 (32 bits throughout)"}


def start_lines(system: System, source: Source, run: Any, out: Path, device: torch.device, precision: str,
                start: int) -> list[str]:
    """Returns a few lines; `run` is the `fit.Run`, `start` the number of steps that an earlier call has taken."""
    name = f"train {type(system).__name__}"
    config = system.config
    steps, batch = int(config.steps), getattr(config, "batch_size", 0)
    pace = f"{steps - start:,} of {counted(steps, 'step')} are left" if start else counted(steps, "step")
    pace += f", {counted(batch, system.batch_of)} each" if batch else ""
    return [
        f"{name}: {pictures(system, source)}; {num_parameters(system):,} parameters; on {device_name(device)} in "
        f"{_PRECISION.get(precision, precision)}",
        f"{name}: {pace}; into {show(out)}: {written(run)}",
    ]


def pictures(system: System, source: Source) -> str:
    """Returns how many images there are, and their size, in words."""
    count = counted(source.num_images, "image") if isinstance(source, Counted) and source.num_images else "images"
    shape = system.shape
    if shape is None or 0 in shape:
        return f"{count} of any size"
    return f"{count} of {shape[2]} x {shape[1]} px, {_CHANNELS.get(shape[0], f'{shape[0]} channels')}"


def device_name(device: torch.device) -> str:
    """Returns a device in words: the GPU's name, or the number of threads of the CPU."""
    if device.type == "cuda":
        return f"the GPU {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"the CPU with {threads} thread{'s' if threads > 1 else ''}"


def written(run: Any) -> str:
    """Returns what a run leaves, and how often."""
    sheets = f"samples/ (pictures every {run.sample_every}), " if run.sample_every else ""
    return (f"metrics.jsonl (means every {run.log_every} steps), {sheets}checkpoint (every {run.checkpoint_every}, to "
            "go on after a stop), at the end model.safetensors, README.md and report.html")
