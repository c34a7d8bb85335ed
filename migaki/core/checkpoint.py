"""Checkpoints continue a training to the same bits; models hold what prediction needs. Neither is ever unpickled."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import safetensors
import safetensors.torch
import torch

from migaki.core import processes
from migaki.core.errors import UserError
from migaki.core.files import atomic_write, explain, open_plain
from migaki.core.optimizer_state import check_optimizer
from migaki.core.system import System, model_state


def save_checkpoint(path: Path, system: System, step: int) -> None:
    """Write everything that training needs to continue after `step` updates (atomically).

    With several processes, all of them must call it, and process 0 writes one file. The file holds the state that
    differs between processes (`System.per_process`) for each of them: process 0's in `system`, the others' in `others`.
    """
    whole = system.state_dict()
    own = {name: processes.collect(whole[name]) for name in whole if name.startswith(system.per_process or ("\0",))}
    if processes.rank() != 0:
        return
    state = {
        "step": step,
        "system": whole,
        "optimizers": {name: optimizer.state_dict() for name, optimizer in system.optimizers.items()},
    }
    if processes.world() > 1:
        state["others"] = [{name: parts[number] for name, parts in own.items()}
                           for number in range(1, processes.world())]
    with atomic_write(path) as file:
        try:
            torch.save(_unshared(state), file)
        except RuntimeError as error:  # says only that the archive could not be closed
            reason: BaseException | None = error  # a full disk, or a signal that came while the archive was written
            while isinstance(reason, RuntimeError):
                reason = reason.__context__
            raise reason or error from None


def _unshared(value: Any) -> Any:
    """Returns a copy in which no object occurs twice: a pickle records shared objects, and loading changes the sharing.

    An interrupted run therefore writes the same bytes as an uninterrupted one. Tensors are not copied.
    """
    if isinstance(value, dict):
        return {_unshared(key): _unshared(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_unshared(item) for item in value])
    return sys.intern(value) if isinstance(value, str) else value


def load_checkpoint(path: Path, system: System, data: bytes | None = None) -> int:
    """Restore `system` in place and return the number of updates done so far.

    `data` is the content of the file, if it has been read already. Process r of W' takes the per-process state of
    process r mod W of the W processes that wrote it. If W' = W, training continues to the same bits; another W' gives
    another result, which is also deterministic.
    """
    try:
        with open_plain(path) if data is None else io.BytesIO(data) as file:
            _check_archive(file)
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        step, others = state["step"], state.get("others", [])
        if type(step) is not int or not 0 < step <= int(system.config.steps):
            raise ValueError(f"no number of steps of this run: {step!r}")
        place = processes.rank() % (1 + len(others))
        whole = state["system"] if place == 0 else state["system"] | others[place - 1]
        for name, value in whole.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and not torch.isfinite(value).all():
                raise ValueError(f"'{name}' holds numbers that are not finite")
        system.load_state_dict(whole)
        for name, optimizer in system.optimizers.items():
            check_optimizer(optimizer, state["optimizers"][name])
            optimizer.load_state_dict(state["optimizers"][name])
        return step
    except OSError as error:
        raise explain(error, path) from error
    except UserError:
        raise
    except Exception as error:  # the unpickler may raise anything for damaged data
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]  # EOFError has no text
        raise UserError(f"{path}: the checkpoint does not fit this run or is damaged ({reason}): start over with "
                        "--no-resume, or choose another --out") from error


def _check_archive(file: IO[bytes]) -> None:
    """ValueError unless the file is an archive as `torch.save` writes it. Its entries are not compressed, so that
    reading takes no more memory than the file has bytes."""
    with zipfile.ZipFile(file) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("its archive is compressed")
        if any(entry.filename.endswith("constants.pkl") for entry in archive.infolist()):
            raise ValueError("it holds a program instead of a checkpoint")
        claimed = sum(entry.file_size for entry in archive.infolist())
    if claimed > file.seek(0, io.SEEK_END):
        raise ValueError("its archive announces more bytes than it has")
    file.seek(0)


def save_model(path: Path, system: System) -> None:
    """Write what `predict` needs as safetensors (atomically)."""
    with atomic_write(path) as file:
        file.write(safetensors.torch.save(model_state(system)))


def check_shapes(path: Path, system: System) -> None:
    """Compare the names, shapes and types in a file of weights with `system`, which may be on the device meta.

    Only the header of the file is read. UserError if it is damaged or belongs to another configuration.
    """
    try:
        with _readable(path) as name, safetensors.safe_open(name, framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118, no dict
    except OSError as error:
        raise explain(error, path) from error
    except (safetensors.SafetensorError, ValueError) as error:
        raise _not_whole(path, error) from error
    for name, value in system.state_dict().items():
        if not name.startswith(system.training_only) and found.get(name) != tuple(value.shape):
            raise UserError(f"{path}: '{name}' is missing or has another shape: the file belongs to another model")


def load_model(path: Path, system: System, data: bytes | None = None) -> None:
    """Load what `save_model` wrote; UserError if the file is damaged or belongs to another configuration.

    `data` is the content of the file, if it has been read already.
    """
    try:
        if data is None:
            open_plain(path).close()  # opening a pipe would block the calls below for ever
            check_shapes(path, system)
            with _readable(path) as name:
                state = safetensors.torch.load_file(name)
        else:
            state = safetensors.torch.load(data)
    except OSError as error:
        raise explain(error, path) from error
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise _not_whole(path, error) from error
    wanted = model_state(system)
    for name, value in wanted.items():
        kinds = state[name].is_floating_point(), state[name].is_complex()
        if kinds != (value.is_floating_point(), value.is_complex()):
            raise UserError(f"{path}: '{name}' is {state[name].dtype}, not {value.dtype}: the file belongs to another "
                            "model")
        if kinds[0] and not torch.isfinite(state[name].float()).all():
            raise UserError(f"{path}: '{name}' holds numbers that are not finite: train again")
    system.load_state_dict({name: state[name] for name in wanted}, strict=False)


@contextmanager
def _readable(path: Path) -> Iterator[str]:
    """Yields a path of the file that is valid UTF-8, as safetensors requires: its own path or that of a link to it."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = os.path.join(folder, "model")
            os.symlink(os.path.abspath(path), link)
            yield link
    else:
        yield os.fspath(path)


def _not_whole(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not a whole safetensors file ({' '.join(str(error).split())[:200]}): train again or "
                     "restore it")
