"""What of this machine is free: cores and memory, within the limits of a container (cgroups)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")
_UNLIMITED = 2**60  # bytes: cgroups of version 1 write a number of this size where there is no limit


def usable_cores(root: Path = _ROOT) -> float:
    """Returns the number of cores that this process may use: its affinity, and the quota of its cgroup."""
    try:
        count = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # not Linux
        count = float(os.cpu_count() or 1)
    return min([count, *_quotas(root)])


def free_cores(root: Path = _ROOT) -> float:
    """Returns the number of usable cores that are idle, at least 1, by the load average of the last minute.

    The load is that of the whole machine, so it is taken from all its cores and not from this process's share.
    """
    idle = (os.cpu_count() or 1) - os.getloadavg()[0]
    return max(1.0, min(usable_cores(root), idle))


def free_memory(root: Path = _ROOT) -> int:
    """Returns the bytes of memory that may still be taken: what the system has available, and the cgroup's limit."""
    found = [*_cgroup_memory(root)]
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    return max(0, min(found)) if found else _UNLIMITED


def _quotas(root: Path) -> Iterator[float]:
    """Yields the limits of cores that the cgroup of this process has, version 2 or 1."""
    for folder in _cgroup_folders(root, "cpu"):
        two = " ".join(_lines(folder / "cpu.max")).split()
        one = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
        for values in (two, one):
            if len(values) == 2 and all(value.isdecimal() and int(value) for value in values):
                yield int(values[0]) / int(values[1])


def _cgroup_memory(root: Path) -> Iterator[int]:
    """Yields what is left below each limit of memory that the cgroup of this process has."""
    for folder in _cgroup_folders(root, "memory"):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            values = [*_lines(folder / limit), *_lines(folder / used)]
            if len(values) == 2 and all(value.isdecimal() for value in values) and int(values[0]) < _UNLIMITED:
                yield int(values[0]) - int(values[1])


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Yields the folders of this process's cgroup and of those above it, for a controller."""
    for line in _lines(root / "proc/self/cgroup"):
        parts = line.split(":", 2)
        if len(parts) != 3 or (parts[1] and controller not in parts[1].split(",")):
            continue
        top = root / "sys/fs/cgroup" / (controller if parts[1] else "")
        folder = top / parts[2].strip("/")
        for place in dict.fromkeys((folder, *folder.parents)):
            if place.is_relative_to(top):
                yield place


def _lines(path: Path) -> list[str]:
    """Returns the lines of a file of the kernel; none if it does not exist or cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
