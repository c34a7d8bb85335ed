"""Models, checkpoints and arrays of strangers run no code, and false sizes in them allocate no memory."""

from __future__ import annotations

import json
import pickle
import pickletools
import shutil
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from refusals import message

from migaki.cli import main
from migaki.core.checkpoint import load_checkpoint
from migaki.core.config import to_dict
from migaki.core.errors import UserError
from migaki.core.system import System
from migaki.core.trained import load_system
from migaki.data.files.image_file import read_image
from migaki.data.sets.metadata import read_metadata
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fuzz"))

from targets import write_model

# ------------------------------------------------------------------------------------------------ no code is run


class Evil:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def as_pickle(path: Path, evil: Evil) -> None:
    path.write_bytes(pickle.dumps({"step": evil, "system": evil}))


def as_torch_archive(path: Path, evil: Evil) -> None:
    torch.save({"step": evil, "system": {"net": evil}, "optimizers": {}}, path)


def as_old_torch_file(path: Path, evil: Evil) -> None:
    torch.save({"step": evil}, path, _use_new_zipfile_serialization=False)


def as_array(path: Path, evil: Evil) -> None:
    with open(path, "wb") as file:
        np.save(file, np.array([evil], object), allow_pickle=True)


def as_arrays(path: Path, evil: Evil) -> None:
    with open(path, "wb") as file:
        np.savez(file, x_train=np.array([evil], object), y_train=np.array([evil], object), allow_pickle=True)


def as_script(path: Path, evil: Evil) -> None:
    """A TorchScript-like archive whose pickles do the harm."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("archive/data.pkl", "archive/constants.pkl"):
            archive.writestr(name, pickle.dumps(evil))
        archive.writestr("archive/version", "3")


KINDS = [as_pickle, as_torch_archive, as_old_torch_file, as_array, as_arrays, as_script]


def gaze_run(folder: Path) -> Path:
    folder.mkdir()
    write_model(folder)
    return folder


def open_checkpoint(folder: Path, make: Callable[[Path], None]) -> None:
    config = Gaze.Config(channels=1, height=24, width=24, features=2)
    make(folder / "checkpoint")
    load_checkpoint(folder / "checkpoint", Gaze(config))


def open_weights(folder: Path, make: Callable[[Path], None]) -> None:
    make(gaze_run(folder / "run") / "model.safetensors")
    load_system(folder / "run")


def open_config(folder: Path, make: Callable[[Path], None]) -> None:
    make(gaze_run(folder / "run") / "config.json")
    load_system(folder / "run")


def open_image(folder: Path, make: Callable[[Path], None]) -> None:
    make(folder / "a.npy")
    read_image(folder / "a.npy")


def open_picture(folder: Path, make: Callable[[Path], None]) -> None:
    make(folder / "a.png")
    read_image(folder / "a.png")


def open_metadata(folder: Path, make: Callable[[Path], None]) -> None:
    make(folder / "metadata.parquet")
    read_metadata(folder / "metadata.parquet")


def open_digits(folder: Path, make: Callable[[Path], None]) -> None:
    from migaki.importers.mnist import read_mnist

    make(folder / "mnist.npz")
    read_mnist(folder / "mnist.npz", "train")


PLACES = [open_checkpoint, open_weights, open_config, open_image, open_picture, open_metadata, open_digits]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_no_pickle_is_run(place: Callable[[Path, Callable[[Path], None]], None],
                          kind: Callable[[Path, Evil], None], tmp_path: Path) -> None:
    evil = Evil(tmp_path / "owned")
    text = message(lambda: place(tmp_path, lambda path: kind(path, evil)))
    assert str(tmp_path) in text and not evil.mark.exists()


@pytest.mark.parametrize("words", [["simulate", "eyes", "--count", "1", "--gaze-prior", "table", "--gaze-table"],
                                   ["simulate", "hands", "--count", "1", "--poses"]])
def test_no_pickle_is_run_of_tables(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = Evil(tmp_path / "owned")
    as_array(tmp_path / "table.npy", evil)
    code = main([*words, str(tmp_path / "table.npy"), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err  # of the table, and not of an option that is called otherwise by now
    assert code == 2 and "table.npy" in said and "lists the options" not in said and not evil.mark.exists()


def test_the_pickle_would_do_harm(tmp_path: Path) -> None:
    """Otherwise the tests above could not fail: its instructions, read and not followed, name `touch` and call it."""
    as_pickle(tmp_path / "file", Evil(tmp_path / "owned"))
    steps = [(step.name, argument) for step, argument, _ in pickletools.genops((tmp_path / "file").read_bytes())]
    assert "REDUCE" in [name for name, _ in steps] and "Path.touch" in [argument for _, argument in steps]


# ------------------------------------------------------------------------------------------------ lies about size


LARGE = 10**9


@pytest.mark.parametrize(("cls", "change"), [
    (Gaze, {"features": LARGE}), (Gaze, {"features": 10**15}), (Gaze, {"features": -3}), (Gaze, {"features": 3}),
    (Gaze, {"height": LARGE, "width": LARGE}), (Gaze, {"channels": LARGE}), (Gaze, {"dropout": 17.0}),
    (Gaze, {"learning_rate": -1.0}), (Gaze, {"net": "paper"}),
    (SimGAN, {"blocks": LARGE}), (SimGAN, {"history": LARGE}), (SimGAN, {"features": 10**6}),
    (SimGAN, {"discriminator_width": 1e9}), (SimGAN, {"noise_channels": LARGE}),
])
def test_configurations_that_lie(cls: type[System], change: dict[str, Any], tmp_path: Path) -> None:
    """Refused at once, and without the memory that they ask for (3 GB more would be noticed)."""
    import resource

    config = cls.Config(channels=1, height=24, width=40, features=2)
    with open(tmp_path / "config.json", "w") as file:
        json.dump({"system": cls.__module__.rsplit(".", 1)[-1], "config": to_dict(config) | change}, file)
    safetensors.torch.save_file({name: value.contiguous() for name, value in cls(config).state_dict().items()},
                                tmp_path / "model.safetensors")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    text = message(lambda: load_system(tmp_path))
    assert str(tmp_path) in text and time.process_time() - began < 60  # it must not set about the work
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 3e6  # kB


@pytest.mark.parametrize("change", [
    {}, {"net.weight": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}},
    {"net.weight": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}}, {"net.weight": 3},
    {"x" * 10**6: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}},
])
def test_headers_that_lie(change: dict[str, Any], tmp_path: Path) -> None:
    write_model(tmp_path)
    header = json.dumps(change).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert "model.safetensors" in message(lambda: load_system(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + header)
    assert "model.safetensors" in message(lambda: load_system(tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(value: float, tmp_path: Path) -> None:
    write_model(tmp_path)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    next(tensor for tensor in state.values() if tensor.is_floating_point()).view(-1)[0] = value
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    assert "not finite" in message(lambda: load_system(tmp_path))


def test_weights_of_another_type(tmp_path: Path) -> None:
    write_model(tmp_path)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    name = next(name for name, value in state.items() if value.is_floating_point())
    safetensors.torch.save_file(state | {name: state[name].to(torch.int64)}, tmp_path / "model.safetensors")
    assert "belongs to another model" in message(lambda: load_system(tmp_path))


@pytest.mark.parametrize("name", ["../core/fit", "/etc/passwd", "os", "", "gaze\0", "gaze\n", "__init__"])
def test_names_of_systems_that_climb(name: str, tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"system": name, "config": {}}))
    with pytest.raises(UserError):
        load_system(tmp_path)


def test_a_whole_model_opens_wherever_it_stands(tmp_path: Path) -> None:
    write_model(gaze_run(tmp_path / "run"))
    shutil.move(tmp_path / "run", tmp_path / "a new\nplace")
    assert load_system(tmp_path / "a new\nplace").config.features == 2
