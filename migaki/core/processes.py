"""Several processes that train one model: who am I, what goes to all of us, and the mean over all of us.

Started by `torchrun`, which announces the group in the environment (gloo on CPUs, nccl on GPUs). Alone, every
function is the identity, so callers need not ask.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from migaki.core.errors import UserError


def join(device: torch.device) -> None:
    """Join the group that `torchrun` announces in the environment; alone, or having joined before, do nothing.

    With GPUs, process number LOCAL_RANK of a machine takes its GPU of that number.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    with _together():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def leave() -> None:
    """Leave the group, if there is one; it may be joined again."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process' number, 0 when alone."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def speaks() -> bool:
    """Whether this is the process that tells the user how it went; also before joining and after leaving."""
    return int(os.environ.get("RANK", "0")) == 0


def world() -> int:
    """How many processes train together, 1 when alone."""
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
    """Whether `flag` is true in any of the processes; all get the same answer."""
    if world() == 1:
        return flag
    count = torch.tensor([float(flag)], device=_device())
    with _together():
        dist.all_reduce(count)
    return bool(count.item() > 0)


def share(data: bytes) -> bytes:
    """The bytes of process 0; what the others pass is ignored."""
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
    """At process 0 the tensors (of one shape and type) of all processes in order, on the CPU; elsewhere nothing."""
    if world() == 1:
        return [tensor.detach().cpu()]
    own = tensor.detach().to(_device()).contiguous()
    places = [torch.empty_like(own) for _ in range(world())] if rank() == 0 else None
    with _together():
        dist.gather(own, places)
    return [place.cpu() for place in places or []]


def _device() -> torch.device:
    """Where tensors must lie to be sent."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


@contextmanager
def _together() -> Iterator[None]:
    """The error that a process meets when another has gone, as a line for the user."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError("another process of this training has ended, see its message; run the same command again to "
                        f"go on from the last checkpoint ({reason})") from error
