"""What `core.system.System` promises, for every system there is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from migaki.core.batch import Batch
from migaki.core.config import from_dict, to_dict
from migaki.core.discovery import find_class, names_in
from migaki.core.errors import Interrupted, UserError
from migaki.core.files import exclusive
from migaki.core.fit import Run, fit
from migaki.core.glossary import glossary
from migaki.core.system import System, model_state
from migaki.core.trained import check_network, load_system
from migaki.systems.depth import Depth

SYSTEMS = sorted(names_in("systems", "System"))
RUN = Run(seed=3, device="cpu", precision="fp32", log_every=1, checkpoint_every=2, sample_every=0)
every_system = pytest.mark.parametrize("name", SYSTEMS)


class Killed(Exception):
    """Stands for the end of the process in the middle of a step."""


@dataclasses.dataclass
class Toy:
    """The batch of `tiny()` in another order at every step; at `fatal` it does `act` first."""

    data: Batch
    fatal: int = -1
    act: Any = None

    def batch(self, step: int) -> Batch:
        if step == self.fatal:
            self.act()
        return {key: value.roll(step, 0) for key, value in self.data.items()}


def die() -> None:
    raise Killed


def build(name: str, seed: int = RUN.seed, **changes: Any) -> tuple[System, Batch]:
    """The tiny system of this name, freshly drawn."""
    cls = find_class("systems", name, System)
    config, batch = cls.tiny()
    torch.manual_seed(seed)
    return cls(replace(config, **changes)), batch


def trained(name: str, out: Path, run: Run = RUN, fatal: int = -1, act: Any = die) -> System:
    """Train the tiny system into `out`; `act` happens when the batch of step `fatal` is asked for."""
    system, batch = build(name, run.seed)
    return fit(system, Toy(batch, fatal, act), run, out, quiet=True)


def everything(out: Path) -> dict[str, str]:
    """A fingerprint of each file of a run that must not depend on how it was interrupted."""
    files = ("config.json", "metrics.jsonl", "model.safetensors", "README.md")
    found = {file: hashlib.sha256((out / file).read_bytes()).hexdigest() for file in files}
    state = torch.load(out / "checkpoint", weights_only=True)
    return found | {"checkpoint": fingerprint(state)}


def fingerprint(value: Any) -> str:
    """A digest of nested containers of tensors and numbers, exact to the bit."""
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{tuple(value.shape)}" + hashlib.sha256(
            value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{fingerprint(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(fingerprint, value)) + "]"
    return repr(value)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run without incident of every system."""
    outs = {name: tmp_path_factory.mktemp("straight") / name for name in SYSTEMS}
    for name, out in outs.items():
        trained(name, out)
    return outs


def test_all_are_found() -> None:
    assert {"simgan", "gaze", "classifier", "deep_detail", "pix2pix"} <= set(SYSTEMS)


@pytest.mark.long  # that a killed run goes on to the same bits says it too, of runs that are not killed besides
@every_system
def test_same_seed_same_bits(name: str, straight: dict[str, Path], tmp_path: Path) -> None:
    trained(name, tmp_path / "run")
    assert everything(tmp_path / "run") == everything(straight[name])


@every_system
def test_another_seed_is_another_run(name: str, straight: dict[str, Path], tmp_path: Path) -> None:
    trained(name, tmp_path / "run", replace(RUN, seed=4))
    assert everything(tmp_path / "run")["metrics.jsonl"] != everything(straight[name])["metrics.jsonl"]


@every_system
@pytest.mark.parametrize("fatal", [5, *(pytest.param(step, marks=pytest.mark.long) for step in (1, 3))])
def test_a_killed_run_goes_on_to_the_same_bits(name: str, fatal: int, straight: dict[str, Path],
                                               tmp_path: Path) -> None:
    with pytest.raises(Killed):
        trained(name, tmp_path / "run", fatal=fatal)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    trained(name, tmp_path / "run")
    assert everything(tmp_path / "run") == everything(straight[name])


@every_system
def test_sigterm_leaves_a_run_that_goes_on_to_the_same_bits(name: str, straight: dict[str, Path],
                                                            tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="run the same command again"):
        trained(name, tmp_path / "run", fatal=2, act=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert (tmp_path / "run" / "checkpoint").exists()
    trained(name, tmp_path / "run")
    assert everything(tmp_path / "run") == everything(straight[name])


def test_sigkill_in_another_process(straight: dict[str, Path], tmp_path: Path) -> None:
    """The real thing, once: nothing in Python gets a chance to tidy up."""
    program = ("import sys, os, signal, pathlib; sys.path.insert(0, sys.argv[1]); import torch;"
               "torch.set_num_threads(1); import test_system_contract as t;"
               "t.trained('simgan', pathlib.Path(sys.argv[2]), fatal=5, "
               "act=lambda: os.kill(os.getpid(), signal.SIGKILL))")
    out = tmp_path / "run"
    done = subprocess.run([sys.executable, "-c", program, str(Path(__file__).parent), str(out)], timeout=120)
    assert done.returncode == -signal.SIGKILL and (out / "checkpoint").exists()
    trained("simgan", out)
    assert everything(out) == everything(straight["simgan"])


@every_system
def test_a_finished_run_is_left_alone(name: str, straight: dict[str, Path]) -> None:
    before = {path: path.stat().st_mtime_ns for path in straight[name].iterdir() if path.suffix == ".safetensors"}
    system = trained(name, straight[name], fatal=0)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert fingerprint(model_state(system)) == fingerprint(model_state(load_system(straight[name])))


@every_system
def test_exactly_the_parameters_that_should_move_do_move(name: str) -> None:
    system, batch = build(name)
    owners: dict[int, list[str]] = {}
    for key, optimizer in system.optimizers.items():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                owners.setdefault(id(parameter), []).append(key)
    before = {key: value.detach().clone() for key, value in system.named_parameters()}
    for parameter in system.parameters():
        assert len(owners.get(id(parameter), [])) == int(parameter.requires_grad)
    system.train()
    for step in range(system.config.steps):
        scalars = system.update(Toy(batch).batch(step), step)
        assert all(value.ndim == 0 and not value.requires_grad for value in scalars.values())
        assert all(torch.isfinite(value) for value in scalars.values())
    for key, parameter in system.named_parameters():
        follows = key.startswith("average.")  # moving averages are moved, but not by an optimiser
        moved = not torch.equal(parameter, before[key])
        assert moved == (parameter.requires_grad or follows), key
        assert parameter.grad is None, f"{key} keeps a gradient"


@every_system
def test_frozen_parameters_stay(name: str) -> None:
    """What another module put into the system would not be trained: only an optimiser's own parameters move."""
    system, batch = build(name)
    stranger = torch.nn.Conv2d(1, 1, 3)
    system.add_module("stranger", stranger)
    before = stranger.weight.detach().clone()
    system.train().update(batch, 0)
    assert torch.equal(stranger.weight, before) and stranger.weight.grad is None


@every_system
def test_predict_changes_no_state_and_draws_nothing(name: str) -> None:
    system, batch = build(name)
    for mode in (False, True) if name in ("simgan", "deep_detail") else (False,):
        system.train(mode)
        before, chance = fingerprint(system.state_dict()), torch.get_rng_state()
        first = system.predict(batch)
        assert fingerprint(system.state_dict()) == before
        assert torch.equal(torch.get_rng_state(), chance)
        assert fingerprint({k: v.detach() for k, v in system.predict(batch).items()}) == fingerprint(
            {k: v.detach() for k, v in first.items()})


@every_system
def test_predict_needs_inputs_only_and_takes_images_one_by_one(name: str) -> None:
    system, batch = build(name)
    system.eval()
    inputs, count = {key: batch[key] for key in system.inputs}, len(batch["image"])
    with torch.inference_mode():
        together = system.predict(inputs)
        alone = [system.predict({key: value[row][None] for key, value in inputs.items()}) for row in range(count)]
    for key, value in together.items():
        assert len(value) == count and torch.isfinite(value).all()
        torch.testing.assert_close(value, torch.cat([one[key] for one in alone]), atol=1e-4, rtol=1e-4)
        if key in ("refined", "target"):
            assert value.shape[0] == batch["image"].shape[0] and value.min() >= 0 and value.max() <= 1


@every_system
def test_what_it_speaks_of_stands_in_the_glossary(name: str) -> None:
    system, batch = build(name)
    known = set(glossary())
    assert set(batch) <= known and set(system.eval().predict(batch)) <= known
    metric = system.metric()
    if metric is not None:
        assert set(metric.keys) <= set(batch)
        metric.update(system.predict(batch), batch)
        json.dumps(metric.compute(), allow_nan=False)


@every_system
def test_sheets_are_pictures(name: str) -> None:
    system, batch = build(name)
    before = fingerprint(system.state_dict())
    with torch.no_grad():
        for caption, images in system.eval().sheet(batch):
            assert caption and images.ndim == 4 and images.min() >= 0 and images.max() <= 1
    assert fingerprint(system.state_dict()) == before


def test_saved_models_predict_the_same_in_a_fresh_process(straight: dict[str, Path], tmp_path: Path) -> None:
    program = ("import sys, pathlib, torch; torch.set_num_threads(1);"
               "from migaki.core.trained import load_system\n"
               "for run in map(pathlib.Path, sys.argv[2:]):\n"
               "    system = load_system(run); batch = type(system).tiny()[1]\n"
               "    with torch.inference_mode(): made = system.predict(batch)\n"
               "    torch.save(dict(made), pathlib.Path(sys.argv[1]) / run.name)\n"
               # Loading it doubles the start of a prediction. (Those that calculate in their constructors do.)
               "    assert run.name != 'simgan' or 'torch._dynamo' not in sys.modules")
    first = ["classifier", "gaze", "detector", "segmenter", "keypoints", "simgan"]
    runs = [str(straight[name]) for name in [*first, *sorted({*SYSTEMS} - {*first})]]
    subprocess.run([sys.executable, "-c", program, str(tmp_path), *runs], check=True, timeout=120)
    for name in SYSTEMS:
        system = load_system(straight[name])
        with torch.inference_mode():
            expected = system.predict(build(name)[1])
        found = torch.load(tmp_path / name, weights_only=True)
        assert fingerprint(found) == fingerprint(dict(expected)), name


@every_system
def test_the_model_leaves_out_what_only_training_needs(name: str, straight: dict[str, Path]) -> None:
    cls = find_class("systems", name, System)
    saved = set(model_state(load_system(straight[name])))
    assert not [key for key in saved if key.startswith(cls.training_only or ("\0",))]
    assert saved


@every_system
def test_config_round_trips_through_json(name: str) -> None:
    cls = find_class("systems", name, System)
    presets = [getattr(cls.Config, key)() for key, value in vars(cls.Config).items() if isinstance(value, classmethod)]
    for config in (cls.Config(), cls.tiny()[0], *presets):
        assert from_dict(cls.Config, json.loads(json.dumps(to_dict(config)))) == config
        assert dataclasses.is_dataclass(config) and config.steps >= 1
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.steps = 1


@every_system
def test_an_unknown_key_gets_a_suggestion(name: str) -> None:
    cls = find_class("systems", name, System)
    with pytest.raises(UserError, match="did you mean 'batch_size'"):
        from_dict(cls.Config, {"batchsize": 3})
    with pytest.raises(UserError, match="field 'steps': expected int"):
        from_dict(cls.Config, {"steps": "many"})


@every_system
def test_another_configuration_in_the_same_folder_is_refused(name: str, straight: dict[str, Path]) -> None:
    before = everything(straight[name])
    system, batch = build(name, steps=9)
    with pytest.raises(UserError, match=r"another configuration \(steps: 6 there, 9 asked for\)"):
        fit(system, Toy(batch), RUN, straight[name], quiet=True)
    with pytest.raises(UserError, match=r"run\.seed: 3 there, 8 asked for"):
        trained(name, straight[name], replace(RUN, seed=8))
    assert everything(straight[name]) == before


def test_a_system_is_named_once() -> None:
    with pytest.raises(UserError) as caught:
        check_network(Depth, replace(Depth.tiny()[0], share=3.0))
    assert str(caught.value) == "migaki train depth: --share 3: give 0 to 1"


@every_system
def test_two_cannot_train_into_one_folder(name: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with exclusive(out), pytest.raises(UserError, match="another process is writing there"):
        trained(name, out)
    assert not out.exists()  # made for nothing, so it goes again


@every_system
def test_wrong_sizes_are_refused_in_one_line(name: str) -> None:
    """A configuration that was never completed from data cannot be built by accident."""
    cls = find_class("systems", name, System)
    with pytest.raises(UserError) as caught:
        cls(replace(cls.tiny()[0], channels=0))
    assert "\n" not in str(caught.value)
