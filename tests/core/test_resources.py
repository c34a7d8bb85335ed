"""What is free of a machine, read from folders laid out as the kernel does it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from migaki.core.files import make_folder
from migaki.core.resources import free_cores, free_memory, usable_cores

CORES = len(os.sched_getaffinity(0))


def write(root: Path, name: str, text: str) -> None:
    make_folder((root / name).parent)
    (root / name).write_text(text)


def test_a_quota_of_version_2_counts_also_above(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/job/step\n")
    assert usable_cores(tmp_path) == CORES
    write(tmp_path, "sys/fs/cgroup/job/step/cpu.max", "max 100000\n")
    assert usable_cores(tmp_path) == CORES
    write(tmp_path, "sys/fs/cgroup/job/cpu.max", "50000 100000\n")
    assert usable_cores(tmp_path) == 0.5 and free_cores(tmp_path) == 1.0


def test_a_quota_of_version_1(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "4:cpu,cpuacct:/box\n2:memory:/box\n")
    write(tmp_path, "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1\n")
    write(tmp_path, "sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n")
    assert usable_cores(tmp_path) == CORES
    write(tmp_path, "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "75000\n")
    assert usable_cores(tmp_path) == 0.75


def test_memory_is_the_smaller_of_what_system_and_group_have(tmp_path: Path) -> None:
    assert free_memory(tmp_path) >= 2**60  # nothing is known, as on other systems
    write(tmp_path, "proc/meminfo", "MemTotal: 900 kB\nMemAvailable:     600 kB\n")
    assert free_memory(tmp_path) == 600 * 1024
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    write(tmp_path, "sys/fs/cgroup/memory.max", "max\n")
    write(tmp_path, "sys/fs/cgroup/memory.current", "1000\n")
    assert free_memory(tmp_path) == 600 * 1024
    write(tmp_path, "sys/fs/cgroup/memory.max", "5000\n")
    assert free_memory(tmp_path) == 4000
    write(tmp_path, "sys/fs/cgroup/memory.current", "6000\n")
    assert free_memory(tmp_path) == 0


def test_idle_cores_are_those_without_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 100)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(40)))
    for load, wanted in ((0.0, 40.0), (50.0, 40.0), (70.5, 29.5), (200.0, 1.0)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert free_cores(tmp_path) == wanted
