"""Several processes that train one model: who am I, and the mean over all of us."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist


def join(device: torch.device) -> None:
    """Join the process group that `torchrun` announces in the environment; alone, do nothing."""
    if "WORLD_SIZE" in os.environ and int(os.environ["WORLD_SIZE"]) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def rank() -> int:
    """This process' number, 0 when alone."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world() -> int:
    """How many processes train together, 1 when alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def average(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in one message."""
    if world() == 1:
        return
    parts = list(tensors)
    flat = torch.cat([part.reshape(-1) for part in parts])
    dist.all_reduce(flat)
    flat /= world()
    for part, mean in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
        part.copy_(mean.view_as(part))
