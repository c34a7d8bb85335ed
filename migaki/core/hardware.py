"""The choice of device and precision, by what the machine supports."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Literal

import torch

from migaki.core.errors import UserError

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]


def choose_device(name: Device) -> torch.device:
    """Returns the device; `auto` is the GPU if there is one. UserError if `cuda` is requested and there is none.

    If it is the CPU, this process keeps freed memory from now on: see `_keep_memory`.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch finds no CUDA device: use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        _keep_memory()
    return torch.device(name)


@cache
def _keep_memory() -> None:
    """Make the C library keep freed memory for later allocations.

    By default it returns a large block to the system at once and requests a new one later, whose pages the system must
    clear on first use. That took a quarter of a training step of the paper's refiner at batch 64, and half of its
    forward pass. Does nothing if the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    # Larger blocks come directly from the system. Some releases refuse more than 32 MiB; then the other settings alone
    # would leave the threshold at its lowest value.
    if any(mallopt(_MMAP_THRESHOLD, largest) for largest in (2**30, 2**25)):
        mallopt(_TRIM_THRESHOLD, 2**30)
        mallopt(_TOP_PAD, 2**26)


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def choose_precision(name: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """Returns the precision; `auto` is bf16 if the hardware computes in it (AMX, AVX512-BF16, Ampere and later)."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # mkldnn's own test also accepts AVX512 that only emulates bf16, which is slower than float32.
    return "bf16" if torch.backends.cpu.get_cpu_capability() == "AVX512" and _has_bf16_units() else "fp32"


def _has_bf16_units() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def autocast(device: torch.device, precision: Literal["fp32", "bf16"]) -> torch.autocast:
    """Returns the context in which networks run: convolutions and products in bf16, losses in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
