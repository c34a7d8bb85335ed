"""simulate with workers and as shards: the same bits as one process, also when one of them is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from migaki.core.batch import Batch
from migaki.data.folder import ImageFolder
from migaki.data.writers.formats import Format
from migaki.simulate.digits import DigitSimulator
from migaki.stages.simulate import SimulateJob, simulate

pytestmark = pytest.mark.usefixtures("warm_processes")


@dataclass(frozen=True, kw_only=True, slots=True)
class FatalConfig(DigitSimulator.Config):
    """Where the first worker that comes to image 11 leaves its mark and dies."""

    mark: Path | None = None


class Fatal(DigitSimulator):
    Config = FatalConfig

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        mark = getattr(self.config, "mark", None)
        if mark is not None and 11 in indices and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().render(seed, indices)


CONFIG = FatalConfig(size=8)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("form", ["folder", "webdataset"])
def test_a_worker_dies_and_no_bit_differs(form: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migaki.stages.simulate._SHARE", 4)
    # The mark must not be part of what makes the set, or the record of it would differ.
    monkeypatch.setattr("migaki.stages.simulate.portable", lambda config: {"size": config["size"]})
    job = SimulateJob(out=tmp_path / "one", count=23, format=form, shard=10)
    one = tree(simulate("digits", Fatal(CONFIG), job, quiet=True))
    fatal = Fatal(replace(CONFIG, mark=tmp_path / "mark"))
    two = tree(simulate("digits", fatal, replace(job, out=tmp_path / "two", workers=2), quiet=True))
    assert (tmp_path / "mark").exists() and two == one
    assert len(ImageFolder(tmp_path / "two")) == 23


def test_shards_hold_what_the_folder_holds(tmp_path: Path) -> None:
    from migaki.simulate.eyes import EyeSimulator  # here: the workers above need not import Numba

    eyes = EyeSimulator(EyeSimulator.Config(width=30, height=18))
    plain = ImageFolder(simulate("eyes", eyes, SimulateJob(out=tmp_path / "plain", count=5), quiet=True))
    forms: tuple[Format, ...] = ("webdataset", "parquet")
    for form in forms:
        made = ImageFolder(simulate("eyes", eyes, SimulateJob(out=tmp_path / form, count=5, format=form, shard=2),
                                    quiet=True))
        ours, theirs = made.read(range(5)), plain.read(range(5))
        assert list(ours) == list(theirs) and len(theirs) > 15
        assert all(torch.equal(ours[key].nan_to_num(), theirs[key].nan_to_num()) for key in theirs)
