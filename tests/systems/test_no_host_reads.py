"""No update reads a number back: on a GPU the host would wait at every step."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from migaki.core.discovery import find_class, names_in
from migaki.core.system import System
from migaki.ops import forgery
from migaki.systems.voxel_field import VoxelField

READS = ("__bool__", "__int__", "__float__", "__index__", "item", "tolist", "numpy", "nonzero")


@contextmanager
def _no_reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a tensor was read by the host")

    with monkeypatch.context() as patch:
        for name in READS:
            patch.setattr(Tensor, name, refuse)
        for name in ("tensor", "as_tensor"):  # numbers of the host that would be sent
            patch.setattr(torch, name, refuse)
        patch.setattr(Tensor, "new_tensor", refuse)
        yield


def test_a_read_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for read in (lambda: float(torch.ones(())), lambda: torch.ones(3).tolist(), lambda: torch.tensor(1.0)):
        with pytest.raises(AssertionError, match="read by the host"), _no_reads(monkeypatch):
            read()
    assert float(torch.ones(())) == 1  # and allowed again


@pytest.mark.parametrize("name", sorted(names_in("systems", "System")))
def test_updates_read_nothing_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every read raises an AssertionError; see `_no_reads`, which has a test of its own."""
    cls = find_class("systems", name, System)
    config, batch = cls.tiny()
    torch.manual_seed(0)
    system = cls(config).train()
    # Whether a step is taken is `descend`'s business, which has tests of its own.
    for module in {importlib.import_module(base.__module__) for base in cls.__mro__}:
        if hasattr(module, "descend"):
            monkeypatch.setattr(module, "descend", lambda *_: torch.zeros(()))
    monkeypatch.setattr(VoxelField, "is_compiled", lambda _: False)  # the engine of a GPU
    monkeypatch.setattr(forgery, "_rows_of", lambda wanted: torch.arange(len(wanted)))  # what a GPU takes
    system.update(batch, 0)
    with _no_reads(monkeypatch):
        told = [system.update(batch, step) for step in range(1, config.steps)]
    assert told and all(told)  # each step was taken, and has figures of its own to tell
