"""What the machine can do: device and precision."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Literal

import torch

from migaki.core.errors import UserError

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]


def choose_device(name: Device) -> torch.device:
    """`auto` is the GPU where there is one; UserError if `cuda` is asked for and there is none.

    Where it is the CPU, this process keeps its memory from now on: see `_keep_memory`.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no CUDA device here: use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        _keep_memory()
    return torch.device(name)


@cache
def _keep_memory() -> None:
    """Let the C library keep what it frees for what it is asked for next.

    By default it gives a large block back to the system at once and takes a new one, whose pages the system has to
    clear when they are first touched: that was a quarter of a training step of the paper's refiner at batch 64, and
    half of its forward pass. Nothing is done where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    # Blocks larger than that are the system's. Some releases refuse more than 32 MiB; setting the others alone would
    # then leave the threshold at its lowest.
    if any(mallopt(_MMAP_THRESHOLD, largest) for largest in (2**30, 2**25)):
        mallopt(_TRIM_THRESHOLD, 2**30)
        mallopt(_TOP_PAD, 2**26)


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def choose_precision(name: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """`auto` is bf16 where the hardware computes in it (AMX or AVX512-BF16, Ampere and later), else fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # mkldnn's own test also says yes where AVX512 merely emulates bf16, which is slower than float32.
    return "bf16" if torch.backends.cpu.get_cpu_capability() == "AVX512" and _has_bf16_units() else "fp32"


def _has_bf16_units() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def autocast(device: torch.device, precision: Literal["fp32", "bf16"]) -> torch.autocast:
    """The context in which networks run: bf16 convolutions and products, float32 losses."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
