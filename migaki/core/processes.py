"""Distributed training: this process's number, and communication between the processes that train one model.

`torchrun` starts the processes and describes the group in the environment (gloo on CPUs, nccl on GPUs). In a single
process every function is the identity, so that callers need no test.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from migaki.core.errors import UserError


def join(device: torch.device) -> None:
    """Join the group that `torchrun` describes in the environment; a single or already joined process does nothing.

    With GPUs, the process with number LOCAL_RANK on a machine takes the GPU of that number.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    with _together():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def leave() -> None:
    """Leave the group, if there is one; a later `join` is possible."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Returns this process's number; 0 for a single process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def prints_messages() -> bool:
    """Whether this process prints messages to the user; also valid before joining and after leaving."""
    return int(os.environ.get("RANK", "0")) == 0


def world() -> int:
    """Returns the number of processes that train together; 1 for a single process."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def average(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in one message."""
    if world() > 1:
        _reduce(list(tensors), world())


def add_up(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by its sum over the processes, in one message."""
    if world() > 1:
        _reduce(list(tensors), 1)


def _reduce(parts: list[torch.Tensor], share: int) -> None:
    if not parts:
        return
    flat = torch.cat([part.detach().reshape(-1).to(_device()) for part in parts])
    with _together():
        dist.all_reduce(flat)
    flat /= share
    for part, result in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
        part.copy_(result.view_as(part))


def any_of(flag: bool) -> bool:
    """Whether `flag` is true in any process; all processes get the same answer."""
    if world() == 1:
        return flag
    count = torch.tensor([float(flag)], device=_device())
    with _together():
        dist.all_reduce(count)
    return bool(count.item() > 0)


def share(data: bytes) -> bytes:
    """Returns the bytes of process 0; the argument of the other processes is ignored."""
    if world() == 1:
        return data
    length = torch.tensor([len(data)], device=_device())
    with _together():
        dist.broadcast(length, 0)
        block = torch.empty(int(length), dtype=torch.uint8, device=_device())
        if rank() == 0 and data:
            block.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        dist.broadcast(block, 0)
    return block.cpu().numpy().tobytes()


def collect(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Returns at process 0 the tensors (of one shape and type) of all processes in order, on the CPU; elsewhere []."""
    if world() == 1:
        return [tensor.detach().cpu()]
    own = tensor.detach().to(_device()).contiguous()
    places = [torch.empty_like(own) for _ in range(world())] if rank() == 0 else None
    with _together():
        dist.gather(own, places)
    return [place.cpu() for place in places or []]


class _Gather(torch.autograd.Function):
    """Joins the tensors of all processes; the gradient of a process's part is the sum over all processes."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        own = tensor.to(_device()).contiguous()
        places = [torch.empty_like(own) for _ in range(world())]
        with _together():
            dist.all_gather(places, own)
        return torch.cat(places).to(tensor.device)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        whole = gradient.to(_device()).contiguous()
        with _together():
            dist.all_reduce(whole)
        count = len(whole) // world()
        return whole[rank() * count : (rank() + 1) * count].to(gradient.device)


def gathered(tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Returns the tensors (N, ...) of all processes, joined along their first axis, and the place of one's own.

    Gradients pass through: each process receives those of all. All processes must have the same N.
    """
    if world() == 1:
        return tensor, 0
    return _Gather.apply(tensor), rank() * len(tensor)  # type: ignore[no-untyped-call]


def _device() -> torch.device:
    """Returns the device on which tensors must be to be sent."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


@contextmanager
def _together() -> Iterator[None]:
    """Turns the error that a process meets after another one has ended into a line for the user."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError("another process of this training has ended, see its message; run the same command again to "
                        f"continue from the last checkpoint ({reason})") from error
