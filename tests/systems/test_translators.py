"""CUT and CycleGAN: what D is shown, what is mirrored, what is averaged, watchmen, sources, and bf16."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from twin_parts import Reader

from migaki.core.discovery import find_class
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.system import System, model_state
from migaki.data.writers.writer import FolderWriter
from migaki.stages.apply import apply
from migaki.stages.apply_job import ApplyJob
from migaki.stages.train import train
from migaki.systems.cut import Cut

NAMES = ("cut", "cyclegan")
both = pytest.mark.parametrize("name", NAMES)


def build(name: str, **changes: Any) -> tuple[Any, dict[str, Tensor]]:
    cls = find_class("systems", name, System)
    config, batch = cls.tiny()
    torch.manual_seed(0)
    return cls(replace(config, **changes)).train(), batch


def folder(path: Path, count: int, low: float, high: float, size: tuple[int, int] = (16, 18)) -> Path:
    """Noise in colour between two tones, with a class."""
    draw = np.random.default_rng(len(path.name))
    with FolderWriter(path, {}, count) as writer:
        for place in range(count):
            image = low + (high - low) * draw.random((3, *size), np.float32)
            writer.write(place, f"{place:03}", image, {"label": place % 3})
    return path


def spied(module: torch.nn.Module) -> list[Tensor]:
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[-1].detach().clone()))
    return seen


@both
def test_the_discriminator_sees_older_pictures_from_the_history(name: str) -> None:
    system, batch = build(name, history=8, flip=False) if name == "cut" else build(name, history=8)
    seen = spied(system.discriminator)
    for step in range(4):
        stored = system.history.images.clone()
        filled = system.history.filled
        seen.clear()
        system.update(batch, step)
        shown = seen[0] if name == "cut" else seen[1]  # CycleGAN's generators come first
        old = {tuple(image.flatten().tolist()) for image in stored[:filled]}
        found = [tuple((2 * image - 1).flatten().tolist()) for image in shown]
        close = sum(any(np.allclose(one, other, atol=1e-5) for other in old) for one in found)
        assert close >= (2 if filled >= 2 else 0)
    assert system.history.filled == 8


def test_fastcut_translates_the_mirrored_input_at_every_other_step() -> None:
    for flip, step, mirrored in ((True, 0, False), (True, 1, True), (False, 1, False)):
        system, batch = build("cut", flip=flip)
        seen = spied(system.refiner)
        system.update(batch, step)
        wanted = batch["image"] * 2 - 1
        assert torch.equal(seen[0], wanted.flip(3) if mirrored else wanted)


def test_the_preset_is_fastcut() -> None:
    assert (Cut.Config.fast().nce, Cut.Config.fast().nce_identity, Cut.Config.fast().flip) == (10.0, 0.0, True)


@both
def test_apply_uses_the_average_and_saves_no_more_than_it_needs(name: str) -> None:
    system, batch = build(name, ema=0.9)
    mean = [value.clone() for value in system.refiner.parameters()]
    for step in range(3):
        system.update(batch, step)
        d = min(0.9, (1 + step) / (10 + step))
        mean = [d * old + (1 - d) * new.detach() for old, new in zip(mean, system.refiner.parameters(), strict=True)]
    for value, wanted in zip(system.average.parameters(), mean, strict=True):
        torch.testing.assert_close(value, wanted)
    made = system.predict({"image": batch["image"]})["refined"]
    torch.testing.assert_close(made, ((system.average(batch["image"] * 2 - 1) + 1) / 2).clamp(0, 1))
    assert {key.split(".")[0] for key in model_state(system)} == {"refiner", "average"}
    without, _ = build(name, ema=0.0)
    assert without.average is None and without.predict(batch)["refined"].shape == batch["image"].shape


@both
def test_the_estimator_stays_as_it_is_and_its_drift_is_logged(name: str) -> None:
    system, batch = build(name)
    reader = Reader(batch["image"][0].numel())
    system.readings.add(reader)
    (meter,) = system.readings.meters
    meter.calibrate([meter.read(batch)])
    before = [value.clone() for value in reader.parameters()]
    scalars = [system.update(batch, step) for step in range(3)]
    assert all(torch.equal(old, new) for old, new in zip(before, reader.parameters(), strict=True))
    assert float(scalars[0]["drift/std"]) == pytest.approx(0, abs=1e-3)  # it starts as the identity
    assert float(scalars[-1]["drift/std"]) > 0 and not system.train().readings.estimators[0].training


@both
def test_under_bf16_the_losses_stay_near_and_of_32_bits(name: str) -> None:
    found = []
    for is_short in (False, True):
        system, batch = build(name, shortcut=False)
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_short):
            found.append(system.update(batch, 0))
    for key, value in found[0].items():
        other = found[1][key]
        assert other.dtype == torch.float32, key
        if "accuracy" not in key:
            assert float(other) == pytest.approx(float(value), rel=0.1, abs=0.02), key


@both
def test_watchmen_speak_when_there_is_cause_and_name_options_that_exist(name: str) -> None:
    system, _ = build(name, steps=1000)
    quiet = {"refiner/change": 0.1, "refiner/diversity": 0.9, "discriminator/accuracy_refined": 0.7,
             "discriminator/accuracy_real": 0.7, "drift/percent": 1.0, "layout/gap": 0.5}
    assert system.watch(quiet, 900) == []
    fields = {f"--{field.replace('_', '-')}" for field in system.config.__dataclass_fields__}
    for bad, word in (({"refiner/change": 0.001}, "identity"), ({"refiner/diversity": 0.1}, "collapsed"),
                      ({"discriminator/accuracy_refined": 0.99, "discriminator/accuracy_real": 0.98}, "has won"),
                      ({"drift/percent": 9.0}, "labels drift by more than 5 percent")):
        (said,) = system.watch(quiet | bad, 900)
        assert word in said and system.watch(quiet | bad, 10) == []
        named = {part.strip(",:.") for part in said.split() if part.startswith("--")}
        assert named and named <= fields


@both
def test_training_moves_dark_drawings_towards_bright_photographs(name: str, tmp_path: Path) -> None:
    drawn, photos = folder(tmp_path / "drawn", 12, 0.1, 0.4), folder(tmp_path / "photographs", 9, 0.5, 0.9, (20, 20))
    cls = find_class("systems", name, System)
    short = {"nce": 0.1, "nce_identity": 0.0} if name == "cut" else {"cycle": 0.5}
    config = cls.Config(steps=30, batch_size=4, features=4, blocks=1, patch_layers=1, discriminator_features=8,
                        learning_rate=3e-3, ema=0.0, **short)
    run = Run(device="cpu", precision="fp32", sample_every=30, log_every=10)
    out = train(cls, cls.Data(synthetic=drawn, real=photos), config, run, tmp_path / "run", quiet=True)
    assert out is not None and list((tmp_path / "run" / "samples").iterdir())
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["refiner/change"] > 0.02 and rows[-1]["layout/gap"] >= 0
    apply(tmp_path / "run", ApplyJob(input=drawn, out=tmp_path / "refined"), quiet=True)
    made = [json.loads(line) for line in (tmp_path / "refined" / "metadata.jsonl").read_text().splitlines()]
    assert [row["label"] for row in made] == [place % 3 for place in range(12)]


@both
def test_mistakes_are_one_line(name: str, tmp_path: Path) -> None:
    cls = find_class("systems", name, System)
    with pytest.raises(UserError, match=r"images of 10x10 px are too small .* take 12x12: lower"):
        cls(cls.Config(channels=1, height=10, width=10))
    with pytest.raises(UserError, match="must be positive"):
        cls(cls.Config(channels=1, height=32, width=32, blocks=0))
    if name == "cut":
        with pytest.raises(UserError, match=r"--temperature 0.*must be above 0"):
            cls(cls.Config(channels=1, height=32, width=32, temperature=0.0))
    drawn = folder(tmp_path / "drawn", 4, 0, 1)
    with pytest.raises(UserError, match="missing"):
        cls.open(cls.Data(synthetic=drawn, real=tmp_path / "missing"), cls.Config(), 0)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "a.png").write_bytes((drawn / "000.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"a\.png"):
        cls.open(cls.Data(synthetic=drawn, real=tmp_path / "torn"), cls.Config(), 0)[1].batch(0)


@both
def test_without_an_estimator_the_label_term_is_off(name: str, tmp_path: Path) -> None:
    drawn, photos = folder(tmp_path / "drawn", 4, 0, 0.5), folder(tmp_path / "photographs", 4, 0.5, 1)
    cls = find_class("systems", name, System)
    config, source = cls.open(cls.Data(synthetic=drawn, real=photos), cls.Config(batch_size=3), 0)
    assert config.consistency == 0 and (config.channels, config.height, config.width) == (3, 16, 18)
    batch = source.batch(0)
    assert batch["image"].shape == batch["real"].shape == (3, 3, 16, 18)
