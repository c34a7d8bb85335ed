"""fit: the only training loop. It handles device, precision, logging, checkpoints and stopping, but no maths."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from migaki import __version__
from migaki.core import hardware, processes
from migaki.core.batch import Batch
from migaki.core.checkpoint import load_checkpoint, load_model, save_checkpoint, save_model
from migaki.core.config import to_dict
from migaki.core.errors import Interrupted, UserError
from migaki.core.files import (
    atomic_write,
    exclusive,
    explain,
    make_inner_folder,
    read_json,
    settle,
    settle_names,
    write_json,
    write_text,
)
from migaki.core.log import Log
from migaki.core.loggers import Name as LoggerName
from migaki.core.loggers import begin_all, require
from migaki.core.model_card import model_card
from migaki.core.notices import notice
from migaki.core.pictures import contact_sheet
from migaki.core.progress import Bar
from migaki.core.seeds import fold
from migaki.core.source import Source
from migaki.core.start import start_lines
from migaki.core.system import System, data_fields
from migaki.core.validation import held_out_figures, is_due

_SHEET_BATCHES = 8  # so that the nearest real image is searched among a few hundred
_SHEET_IMAGES = 256  # at most, of each batch: a sheet shows twelve, and a batch of thousands would fill the memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """How to run a training (not what to train)."""

    GROUPS: ClassVar[dict[str, str]] = {
        "usual": "seed",
        "run": "device precision resume log_every sample_every checkpoint_every keep_every logger tensorboard",
    }

    seed: int = 0  # of the initial weights, the order of the data and all random numbers
    device: hardware.Device = "auto"  # auto: a GPU where there is one
    precision: hardware.Precision = "auto"  # auto: bf16 if the hardware supports it, else fp32
    resume: bool = True  # continue an earlier run of the same configuration in OUT; --no-resume starts again
    log_every: int = 20  # steps between rows of metrics.jsonl
    sample_every: int = 200  # steps between contact sheets; 0 = none
    checkpoint_every: int = 200  # steps between checkpoints; rounded up to a multiple of log_every
    keep_every: int = 0  # steps between snapshots: runs below snapshots/, to choose from later; 0 = none
    logger: tuple[LoggerName, ...] = ()  # trackers to write to as well (extras: migaki[tensorboard], [trackio], ...)
    tensorboard: bool = False  # the same as --logger tensorboard


def fit(system: System, source: Source, run: Run, out: Path, *, data: Any = None,
        contents: Mapping[str, list[str]] | None = None, quiet: bool = False) -> System:
    """Train `system` on `source`; writes to the folder `out` and continues an earlier run of the same configuration.

    `contents` describes the contents of each folder of `data` (`data.contents`); a run on other images counts as
    another run. Writes config.json, metrics.jsonl, samples/, checkpoint, model.safetensors and README.md. Raises
    UserError if `out` holds a run of another configuration, and Interrupted after SIGINT or SIGTERM (call it again to
    continue).
    """
    if min(run.log_every, run.checkpoint_every) < 1 or min(run.sample_every, run.keep_every) < 0:
        raise UserError("--log-every and --checkpoint-every must be at least 1, --sample-every and --keep-every at "
                        "least 0")
    trackers = (*run.logger, *(("tensorboard",) if run.tensorboard else ()))
    require(trackers)
    device = hardware.choose_device(run.device)
    processes.join(device)
    precision = hardware.choose_precision(run.precision, device)
    system.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with exclusive(out) if processes.rank() == 0 else nullcontext():
        record = _record(system, run, precision, data, contents)
        start, is_whole = _begin(system, run, out, record)
        for optimizer in system.optimizers.values():
            _move_state(optimizer, device)
        if is_whole:
            return system
        for line in system.remarks:
            notice(line)
        if start == 0:
            system.begin(out, run, quiet or processes.rank() != 0)
        opened = begin_all(trackers, out, record) if processes.rank() == 0 else ()
        with closing(Log(out if processes.rank() == 0 else None, start, opened)) as log:
            _train(system, source, run, out, device, precision, log, start, quiet=quiet or processes.rank() != 0)
        if processes.rank() == 0:
            write_text(out / "README.md", model_card(system, record, log.rows, world=processes.world()))
            settle(out)
            save_model(out / "model.safetensors", system)  # last: a run with this file is whole, after a power cut too
            settle_names(out)
    return system


def _record(system: System, run: Run, precision: str, data: Any,
            contents: Mapping[str, list[str]] | None) -> dict[str, Any]:
    """Returns the content of config.json: everything that determines the bits of the result, and the version."""
    return {
        "system": type(system).__module__.rsplit(".", 1)[-1],
        "config": to_dict(system.config),
        "data": data_fields(data) if data is not None else {},
        "contents": dict(contents or {}),
        "run": {"seed": run.seed, "precision": precision, "log_every": run.log_every,
                "sample_every": run.sample_every, "checkpoint_every": run.checkpoint_every,
                **({"keep_every": run.keep_every} if run.keep_every else {})},
        "version": __version__,
    }


def _begin(system: System, run: Run, out: Path, record: dict[str, Any]) -> tuple[int, bool]:
    """Process 0 reads OUT and sends its state to the others, which may not see that disk.

    Returns the number of steps taken and whether the run is finished."""
    if processes.rank() != 0:
        found, blob = json.loads(processes.share(b"")), processes.share(b"")
        if found["file"] == "checkpoint":
            load_checkpoint(out / "checkpoint", system, blob)
        elif found["file"]:
            load_model(out / found["file"], system, blob)
        return found["start"], found["whole"]
    file = _prepare(system, run, out, record)
    steps = int(system.config.steps)
    start = load_checkpoint(out / file, system) if file == "checkpoint" else steps if file else 0
    whole = start >= steps and _has_model(out, system, needed=file != "checkpoint")
    if processes.world() > 1:
        processes.share(json.dumps({"start": start, "whole": whole, "file": file}).encode())
        processes.share((out / file).read_bytes() if file else b"")
    return start, whole


def _has_model(out: Path, system: System, needed: bool) -> bool:
    """Load the model of a finished run.

    Returns False if it is missing or damaged but not `needed`, because the checkpoint can restore it."""
    if not os.path.lexists(out / "model.safetensors"):
        return False
    try:
        load_model(out / "model.safetensors", system)
    except UserError:
        if needed:
            raise
        return False
    return True


def _prepare(system: System, run: Run, out: Path, record: dict[str, Any]) -> str:
    """Write or compare config.json; returns the file to resume from: a checkpoint, a finished model, or ""."""
    path = out / "config.json"
    learned = [name for name in ("checkpoint", "model.safetensors") if os.path.lexists(out / name)]
    if os.path.lexists(path) and run.resume:
        _require_same(out, record, bool(learned))
        if learned:
            return learned[0]
    elif not os.path.lexists(path) and any(p for p in out.iterdir() if not p.name.startswith(".")):
        raise UserError(f"{out}: the folder holds other files and no run: choose an empty or new --out")
    try:  # the model first: while it exists the run counts as finished
        for stale in ("model.safetensors", "checkpoint", "metrics.jsonl", "timing.jsonl", "README.md", "report.html"):
            (out / stale).unlink(missing_ok=True)
    except OSError as error:
        raise explain(error, out / stale) from error
    for stale in ("samples", "tensorboard", "evaluation", "snapshots"):  # those of an earlier model are not this one's
        shutil.rmtree(out / stale, ignore_errors=True)
    write_json(path, record)
    return ""


def _require_same(out: Path, record: dict[str, Any], learned: bool) -> None:
    """Raises UserError if config.json in OUT is of another run; `learned`: whether that run has taken any step."""
    earlier = read_json(out / "config.json")
    if not isinstance(earlier, dict):
        raise UserError(f"{out / 'config.json'}: not the configuration of a run: restore it or choose another --out")
    for part in ("system", "config", "data", "contents", "run"):
        if part == "contents" and (part not in earlier or not learned):
            continue  # written by a version without contents, or nothing has been learned from them yet
        if earlier.get(part) != record[part]:
            what = (_difference(earlier.get(part), record[part], part) if part != "contents" else
                    _changed(earlier[part], record))
            raise UserError(f"{out} holds a run of another configuration ({what}): choose another --out, "
                            "or start over with --no-resume")


def _difference(old: Any, new: Any, where: str) -> str:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return f"{where}: {str(old)[:60]} there, {str(new)[:60]} asked for"
    for key in new:
        if old.get(key) != new[key]:
            return _difference(old.get(key), new[key], f"{where}.{key}" if where != "config" else key)
    return where


def _changed(earlier: Any, record: dict[str, Any]) -> str:
    """Returns which folder holds other images than at the start of the run."""
    known = earlier if isinstance(earlier, dict) else {}
    changed = [name for name, found in record["contents"].items() if known.get(name) != found]
    if not changed:
        return "the folders were others"
    name = changed[0]
    folders = record["data"].get(name, name)
    return f"the content of {folders if isinstance(folders, str) else ' or '.join(folders)} was another"


def _move_state(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.dim() > 0:
                state[name] = value.to(device)


def _train(system: System, source: Source, run: Run, out: Path, device: torch.device, precision: Any,
           log: Log, start: int, quiet: bool) -> None:
    steps = int(system.config.steps)
    every = -(-run.checkpoint_every // run.log_every) * run.log_every
    name = type(system).__name__
    if run.sample_every and start == 0:
        _write_sheet(system, source, out, 0, device, precision)
    system.train()
    # Closed explicitly: a second signal during garbage collection would print a traceback.
    with (_stop_signals() as stop, Bar(f"train {name}", steps, start, quiet) as bar,
          closing(_prefetch(source, start, steps, pin=device.type == "cuda")) as batches):
        if not quiet:
            for line in start_lines(system, source, run, out, device, str(precision), start):
                bar.message(line)
        if not log.is_whole and not quiet:
            bar.message(f"train: {out / 'metrics.jsonl'}: its rows up to step {start} are damaged or "
                        "gone; the log continues behind them")
        for step, batch in batches:
            torch.manual_seed(fold(run.seed, 1, step, processes.rank()))
            moved = _to(batch, device)
            with hardware.autocast(device, precision):
                log.add(system.update(moved, step))
            bar.advance(1)
            done = step + 1
            stopping = False
            if done % run.log_every == 0 or done == steps:
                stopping = processes.any_of(stop.is_set())
                _average_norms(system)
                if is_due(done, steps, run.log_every):
                    log.add(held_out_figures(system, source, device, precision))
                means = log.write(done, system, bar)
                bar.advance(0, _note(means, bar.rate() * next(iter(batch.values())).shape[0], system.batch_of))
            if run.sample_every and (done % run.sample_every == 0 or done == steps):
                _write_sheet(system, source, out, done, device, precision)
            if run.keep_every and done % run.keep_every == 0 and processes.rank() == 0:
                _keep(system, out, done)
            if done == steps:
                with hardware.autocast(device, precision):
                    system.finish(source)
                _average_norms(system)
            if done % every == 0 or done == steps or stopping:
                save_checkpoint(out / "checkpoint", system, done)
            # Stop only after a log row, so that the resumed run writes the same rows.
            if stopping and done % run.log_every == 0:
                raise Interrupted(f"stopped after step {done} of {steps}: run the same command again to go on")


def _keep(system: System, out: Path, step: int) -> None:
    """Write the model as it is after `step` updates to `snapshots/STEP`, a run that all commands take."""
    folder = make_inner_folder(make_inner_folder(out / "snapshots") / f"{step:06d}")
    write_json(folder / "config.json", read_json(out / "config.json"))
    save_model(folder / "model.safetensors", system)


@torch.no_grad()
def _average_norms(system: System) -> None:
    """Average batch norm's running statistics over the processes, because each process saw only a part of the images.

    Done only at the steps that write a log row. Checkpoints are written at these steps only, so a resumed run rounds
    in the same way as an uninterrupted one.
    """
    norms = [module for module in system.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    processes.average([part for norm in norms for part in (norm.running_mean, norm.running_var) if part is not None])


def _prefetch(source: Source, start: int, steps: int, pin: bool) -> Generator[tuple[int, Batch]]:
    """Yields the batches of the steps; each is made during the step before. A GPU copies pinned batches by itself."""
    def make(step: int) -> Batch:
        batch = source.batch(step)
        return {key: value.pin_memory() for key, value in batch.items()} if pin else batch

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        ahead = pool.submit(make, start) if start < steps else None
        for step in range(start, steps):
            assert ahead is not None
            batch = ahead.result()
            ahead = pool.submit(make, step + 1) if step + 1 < steps else None
            yield step, batch


def _to(batch: Batch, device: torch.device) -> Batch:
    # Copied first, then changed to channels_last on the device: in the other order the host waits for the copy.
    moved = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
    return {key: value.to(memory_format=torch.channels_last) if value.dim() == 4 else value
            for key, value in moved.items()}


def _is_worth_a_place(key: str, value: float) -> bool:
    """Whether a figure is worth a place on the line of progress: updates that were skipped are, once there are any."""
    return value != 0 or not key.endswith("/skipped")


def _note(means: dict[str, float], rate: float, noun: str = "image") -> str:
    # Both networks, or training and held-out images, may have a figure of the same name: such names stay whole.
    short = {key: key.split("/", 1)[-1] for key in means if _is_worth_a_place(key, means[key])}
    names = list(short.values())
    shown = [f"{name if names.count(name) == 1 else key.replace('/', ' ').replace('_', ' ')} {means[key]:.3g}"
             for key, name in list(short.items())[:6]]
    return "  ".join([f"{rate:.0f} {noun}s/s", *shown] if rate else shown)  # no rate before the second step


def _write_sheet(system: System, source: Source, out: Path, step: int, device: torch.device, precision: Any) -> None:
    if processes.rank() != 0:
        return
    batches = [{key: value[:_SHEET_IMAGES].clone() for key, value in source.batch(number).items()}
               for number in range(_SHEET_BATCHES)]
    together = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
    system.eval()
    with torch.no_grad(), hardware.autocast(device, precision):
        rows = system.sheet(_to(together, device))
    system.train()
    if rows:
        with atomic_write(make_inner_folder(out / "samples") / f"{step:06d}.png") as file:
            file.write(contact_sheet(rows))


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a second one acts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, _: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
