"""Several real processes that train one model: two of batch b follow one of 2b; killed, resumed, by fewer or more."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_folders import write_folder
from warm_processes import warm_context

from migaki.core import processes
from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.system import System
from migaki.stages.train import train
from migaki.systems.adapted_classifier import AdaptedClassifier
from migaki.systems.classifier import Classifier
from migaki.systems.simgan import SimGAN

RUN = Run(device="cpu", precision="fp32", log_every=1, sample_every=0, checkpoint_every=2)
PLAIN = replace(SimGAN.Config.pixels(), steps=5, batch_size=4, features=8, blocks=1, history=0,
                discriminator_pretraining=1, discriminator_width=0.1, augment=False, instance_noise=0.0, r1=0.1,
                learning_rate=1e-3)
FULL = replace(PLAIN, batch_size=2, history=4, augment=True, instance_noise=0.1, noise_channels=1, steps=7,
               match=True, statistics=0.5, layout="scales")
KEPT = replace(PLAIN, history=1000)
NORMED = Classifier.Config(steps=7, batch_size=4, features=4)
ADAPTED = AdaptedClassifier.Config(steps=7, batch_size=4, features=4, threshold=0.0, first=0.1)
KILLED = {"full": FULL, "normed": NORMED, "adapted": ADAPTED}
"""Runs that are killed in their sixth step and continued, by the folder of the uninterrupted run."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training by several processes; in the step `fatal` the last of them is killed."""

    config: Any
    out: Path
    port: int
    fatal: int = -1


def work(rank: int, world: int, root: Path, jobs: list[Job]) -> None:
    """What each process does: the jobs, one after the other."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1"}
    for job in jobs:
        os.environ["MASTER_PORT"] = str(job.port)
        kind = kind_of(job.config)
        try:
            run(_dying(kind, job.fatal) if rank == world - 1 and job.fatal >= 0 else kind, job.config, root, job.out)
        except UserError as error:
            assert "another process of this training has ended" in str(error), error
            os._exit(2)


def kind_of(config: Any) -> type[System]:
    return next(kind for kind in (SimGAN, Classifier, AdaptedClassifier) if isinstance(config, kind.Config))


def run(kind: type[System], config: Any, root: Path, out: Path) -> None:
    data: Any = SimGAN.Data(synthetic=root / "synthetic", real=root / "real")
    if kind is Classifier:
        data = Classifier.Data(data=(root / "synthetic",))
    if kind is AdaptedClassifier:
        data = AdaptedClassifier.Data(data=(root / "synthetic",), photos=root / "real")
    train(kind, data, config, RUN, out, quiet=True)


def _dying(kind: type[System], fatal: int) -> type[System]:
    update = kind.update

    def die(self: System, batch: Batch, step: int) -> Scalars:
        if step == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return update(self, batch, step)

    kind.update = die  # type: ignore[method-assign]
    return kind


def ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    found = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return found


def together(world: int, root: Path, *jobs: Job) -> list[int | None]:
    """Exit codes of `world` processes that do the jobs."""
    context = warm_context()
    workers = [context.Process(target=work, args=(rank, world, root, list(jobs))) for rank in range(world)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    return [worker.exitcode for worker in workers]


def state(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(out / "checkpoint", weights_only=True)
    return found


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def files(out: Path) -> dict[str, Any]:
    """Contents by name; a checkpoint as its numbers (pickle's bytes depend on which strings are one object)."""
    found: dict[str, Any] = {name: (out / name).read_bytes() for name in ("metrics.jsonl", "model.safetensors")}
    return found | flat(state(out), "checkpoint")


def flat(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, torch.Tensor):
        return {name: value.detach().contiguous().numpy().tobytes()}
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: part for inner, item in items for key, part in flat(item, f"{name}/{inner}").items()}
    return {name: value}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders, and what two processes made of them in one sitting."""
    root = tmp_path_factory.mktemp("processes")
    write_folder(root / "synthetic", 11, (16, 24))
    write_folder(root / "real", 9, (16, 24), real=True, labels=())
    straight = {"half": replace(PLAIN, batch_size=2), "kept": replace(KEPT, batch_size=2), **KILLED}
    jobs = [Job(config=config, out=root / name, port=port)
            for (name, config), port in zip(straight.items(), ports(len(straight)), strict=True)]
    assert together(2, root, *jobs) == [0, 0]
    for (name, config), port in zip(KILLED.items(), ports(len(KILLED)), strict=True):
        fatal = Job(config=config, out=root / f"{name}_killed", port=port, fatal=5)
        assert together(2, root, fatal) == [2, -signal.SIGKILL]
    return root


def test_two_of_batch_b_follow_one_of_batch_2b(root: Path) -> None:
    run(SimGAN, PLAIN, root, root / "one")
    one, two = state(root / "one"), state(root / "half")
    moved = 0.0
    torch.manual_seed(0)
    for name, value in one["system"].items():
        if not name.startswith(SimGAN.per_process):
            torch.testing.assert_close(two["system"][name], value, rtol=1e-4, atol=2e-6, msg=name)
            moved += float(value.float().abs().sum())
    assert moved > 0
    alike = {"refiner/self_regularisation", "refiner/adversarial", "refiner/change", "discriminator/loss",
             "discriminator/accuracy_real", "layout/gap"}
    for ours, theirs in zip(rows(root / "one"), rows(root / "half"), strict=True):
        assert ours.keys() == theirs.keys()
        for key in alike & ours.keys():
            assert theirs[key] == pytest.approx(ours[key], rel=1e-3, abs=1e-5), key


def test_each_process_sees_its_share_and_keeps_its_own_history(root: Path) -> None:
    found = state(root / "kept")
    filled = int(found["system"]["history.count"])
    ours, theirs = found["system"]["history.images"][:filled], found["others"][0]["history.images"][:filled]
    assert filled == int(found["others"][0]["history.count"]) == 2 * 5 and len(found["others"]) == 1
    assert not torch.equal(ours, theirs)
    # Both shares together are the images that one process of twice the batch puts into its buffer: to rounding in the
    # first round, and nearly ever after, when each has drawn from a history of its own.
    run(SimGAN, KEPT, root, root / "one_kept")
    whole = state(root / "one_kept")["system"]["history.images"][: 2 * filled]
    both = torch.cat([part for pair in zip(ours.split(2), theirs.split(2), strict=True) for part in pair])
    torch.testing.assert_close(both[:4], whole[:4], rtol=1e-3, atol=1e-4)
    assert (both - whole).abs().mean() < 0.1 * (both - whole.roll(1, 0)).abs().mean()


@pytest.mark.parametrize("name", [name if name == "full" else pytest.param(name, marks=pytest.mark.long)
                                  for name in KILLED])
def test_killed_and_resumed_they_come_to_the_same_bits(root: Path, name: str) -> None:
    """Also without the killed process' own state on its disk: process 0 tells what the checkpoint holds."""
    out = root / f"{name}_killed"
    assert state(out)["step"] == 4 and not (out / "model.safetensors").exists()
    shutil.copytree(out, root / f"{name}_again")
    assert together(2, root, Job(config=KILLED[name], out=root / f"{name}_again", port=ports(1)[0])) == [0, 0]
    assert files(root / f"{name}_again") == files(root / name)


def test_another_number_goes_on_to_one_result(root: Path) -> None:
    made: dict[str, dict[str, Any]] = {}
    for name in ("first", "second"):
        shutil.copytree(root / "full_killed", root / f"alone_{name}")
        shutil.copytree(root / "full_killed", root / f"three_{name}")
        run(SimGAN, FULL, root, root / f"alone_{name}")
        made[f"alone_{name}"] = files(root / f"alone_{name}")
    one, two = ports(2)
    assert together(3, root, Job(config=FULL, out=root / "three_first", port=one),
                    Job(config=FULL, out=root / "three_second", port=two)) == [0, 0, 0]
    assert made["alone_first"] == made["alone_second"] and "others" not in state(root / "alone_first")
    assert files(root / "three_first") == files(root / "three_second") != made["alone_first"]
    assert len(state(root / "three_first")["others"]) == 2
    assert [row["step"] for row in rows(root / "three_first")] == list(range(1, 8))


@pytest.mark.slow
@pytest.mark.long  # two processes that are started without it are tested above
def test_torchrun(root: Path) -> None:
    """The command line as the manual has it: one set of files, one line of output."""
    out = root / "torchrun"
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "migaki",
             "train", "classifier", "--data", str(root / "synthetic"), "--out", str(out), "--steps", "3",
             "--batch-size", "4", "--features", "4", "--precision", "fp32", "--log-every", "1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained:") == 1
    assert [row["step"] for row in rows(out)] == [1, 2, 3] and (out / "model.safetensors").exists()
    assert "2 processes" in (out / "README.md").read_text() and not (out / ".lock").exists()


def test_alone_every_message_is_ones_own() -> None:
    tensor = torch.ones(3)
    processes.average([tensor])
    processes.add_up([tensor])
    assert torch.equal(tensor, torch.ones(3)) and processes.share(b"abc") == b"abc"
    assert processes.any_of(True) and not processes.any_of(False)
    assert torch.equal(processes.collect(tensor)[0], tensor) and processes.rank() == 0 and processes.world() == 1
