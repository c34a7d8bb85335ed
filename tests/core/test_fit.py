"""The training loop: cadence, what it leaves, several processes, seeds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from migaki.core import notices, processes
from migaki.core.alarms import alarms
from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.fit import Run, _note, fit
from migaki.core.seeds import fold, generator
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend


class Line(System):
    """Fits a line; it tells of itself."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        steps: int = 7
        rate: float = 0.1

    Data = Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        torch.manual_seed(0)
        self.net = nn.Linear(2, 1)
        self.optimizers = {"net": torch.optim.Adam(self.net.parameters(), lr=config.rate)}
        self.seen: list[int] = []
        self.finished = 0

    @classmethod
    def open(cls, data: Any, config: Any, seed: int) -> tuple[Any, Source]:
        return config, Points()

    @classmethod
    def tiny(cls) -> tuple[Any, Batch]:
        return cls.Config(), Points().batch(0)

    def update(self, batch: Batch, step: int) -> Scalars:
        assert self.training
        self.seen.append(step)
        loss = (self.net(batch["x"]) - batch["y"]).square().mean()
        descend(loss, self.optimizers["net"])
        return {"net/step": torch.tensor(float(step)), "net/draw": torch.rand(())}

    def predict(self, batch: Batch) -> Batch:
        return {"y": self.net(batch["x"])}

    def sheet(self, batch: Batch) -> Sheet:
        assert not self.training
        return [("images", torch.rand(3, 1, 4, 5))]

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        return ["mind the step"] if step >= 4 else []

    def finish(self, source: Source) -> None:
        self.finished += 1


class Points:
    def batch(self, step: int) -> Batch:
        x = torch.randn(8, 2, generator=generator(1, step))
        return {"x": x, "y": x.sum(1, keepdim=True)}


RUN = Run(device="cpu", precision="fp32", log_every=2, sample_every=3, checkpoint_every=3)


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_cadence_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    system = fit(Line(Line.Config()), Points(), RUN, out, quiet=True)
    assert isinstance(system, Line) and system.seen == list(range(7)) and system.finished == 1
    assert [row["step"] for row in rows(out)] == [2, 4, 6, 7]
    assert [row["net/step"] for row in rows(out)] == [0.5, 2.5, 4.5, 6.0]  # means over the interval
    assert sorted(p.name for p in (out / "samples").iterdir()) == [f"{n:06d}.png" for n in (0, 3, 6, 7)]
    with Image.open(out / "samples" / "000003.png") as picture:
        assert picture.size[0] == 3 * 5 * 2
    assert rows(out)[1]["watch"] == ["mind the step"] and "watch" not in rows(out)[0]
    assert capsys.readouterr().err.count("mind the step") == 1  # said once, logged every time
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: migaki\n") and "\n# Line\n" in card
    assert "Fits a line" in card and "mind the step" in card and "7 steps" in card
    record = json.loads((out / "config.json").read_text())
    assert record["config"] == {"steps": 7, "rate": 0.1} and record["run"]["seed"] == 0 and record["version"]


def test_alarms_are_dated_and_told_when_they_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Wary(Line):
        """Fits a line and worries."""

        def watch(self, scalars: dict[str, float], step: int) -> list[str]:
            found = super(Line, self).watch(scalars, step)
            found += ["it is early"] if step in (2, 3, 6) else []
            return found + (["it is late"] if step >= 5 else [])

    run = Run(device="cpu", precision="fp32", log_every=1, sample_every=0, checkpoint_every=1)
    fit(Wary(Line.Config()), Points(), run, tmp_path / "run", quiet=True)
    said = [line for line in capsys.readouterr().err.splitlines() if "watch: " in line]
    assert said == ["watch: it is early", "watch: passed by step 4: it is early", "watch: it is late"]
    card = (tmp_path / "run" / "README.md").read_text()
    assert "- from step 2 to 6, passed by step 7: it is early\n" in card
    assert "- from step 5 to the end: it is late\n" in card
    found = {alarm.line: alarm for alarm in alarms([{"step": 3, "watch": ["a"]}, {"step": 6}])}
    assert found["a"].when == "at step 3, passed by step 6"


def test_skipped_steps_are_an_alarm_of_every_system() -> None:
    system = Line(Line.Config())
    assert System.watch(system, {"net/skipped": 0.0, "net/step": 9.0}, 20) == []
    assert "not finite" in System.watch(system, {"net/skipped": 0.05}, 20)[0]


def test_every_step_is_seeded_by_its_number(tmp_path: Path) -> None:
    """What is drawn at a step does not depend on what was drawn before it, or on sheets and checkpoints."""
    fit(Line(Line.Config()), Points(), RUN, tmp_path / "a", quiet=True)
    every = Run(device="cpu", precision="fp32", log_every=1, sample_every=0, checkpoint_every=1)
    fit(Line(Line.Config()), Points(), every, tmp_path / "b", quiet=True)
    draws = [row["net/draw"] for row in rows(tmp_path / "b")]
    assert draws[6] == rows(tmp_path / "a")[3]["net/draw"]
    torch.manual_seed(fold(0, 1, 6, 0))
    assert draws[6] == pytest.approx(float(torch.rand(())))


def test_killed_between_the_last_checkpoint_and_the_model(tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(Line(Line.Config()), Points(), RUN, out, quiet=True)
    whole = (out / "model.safetensors").read_bytes()
    (out / "model.safetensors").unlink()
    system = fit(Line(Line.Config()), Points(), RUN, out, quiet=True)
    assert isinstance(system, Line) and system.seen == [] and (out / "model.safetensors").read_bytes() == whole


def test_a_torn_last_line_of_the_log_is_written_again(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    class Dying(Points):
        def batch(self, step: int) -> Batch:
            if step == 6:
                raise Stop
            return super().batch(step)

    fit(Line(Line.Config()), Points(), RUN, tmp_path / "whole", quiet=True)
    with pytest.raises(Stop):
        fit(Line(Line.Config()), Dying(), RUN, tmp_path / "run", quiet=True)
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "net/st')
    fit(Line(Line.Config()), Points(), RUN, tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for resume in (True, False):
        with pytest.raises(UserError, match="other files and no run"):
            fit(Line(Line.Config()), Points(), Run(device="cpu", resume=resume), tmp_path, quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_remarks_are_said_where_a_run_begins_and_not_where_it_is_refused(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_given", set())
    system = Line(Line.Config())
    system.remarks = ("--data few: 3 pictures",)
    other = Run(device="cpu", precision="fp32", seed=1)
    fit(Line(Line.Config()), Points(), other, tmp_path / "run", quiet=True)
    with pytest.raises(UserError, match="another configuration"):
        fit(system, Points(), RUN, tmp_path / "run", quiet=True)
    assert "3 pictures" not in capsys.readouterr().err
    fit(system, Points(), RUN, tmp_path / "new", quiet=True)
    assert capsys.readouterr().err.count("migaki: --data few: 3 pictures") == 1


def test_starting_over_leaves_nothing_of_the_old_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(Line(Line.Config()), Points(), RUN, out, quiet=True)
    for name in ("evaluation", "tensorboard"):
        (out / name).mkdir()
        (out / name / "of_the_old_model").touch()
    short = Run(device="cpu", precision="fp32", log_every=2, sample_every=5, checkpoint_every=3, resume=False)
    fit(Line(Line.Config()), Points(), short, out, quiet=True)
    assert sorted(p.name for p in (out / "samples").iterdir()) == [f"{n:06d}.png" for n in (0, 5, 7)]
    assert not (out / "evaluation").exists() and not (out / "tensorboard").exists()


def test_a_sheet_takes_little_of_a_large_batch(tmp_path: Path) -> None:
    shown: list[int] = []

    class Many(Points):
        def batch(self, step: int) -> Batch:
            x = torch.randn(3000, 2, generator=generator(1, step))
            return {"x": x, "y": x.sum(1, keepdim=True)}

    class Shown(Line):
        def sheet(self, batch: Batch) -> Sheet:
            shown.append(len(batch["x"]))
            return []

    fit(Shown(Line.Config()), Many(), RUN, tmp_path / "run", quiet=True)
    assert set(shown) == {8 * 256}


def test_cadences_that_cannot_be(tmp_path: Path) -> None:
    for run in (Run(log_every=0), Run(checkpoint_every=0), Run(sample_every=-1)):
        with pytest.raises(UserError, match="must be at least"):
            fit(Line(Line.Config()), Points(), run, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_no_cuda_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="use --device cpu"):
        fit(Line(Line.Config()), Points(), Run(device="cuda"), tmp_path / "run", quiet=True)


def test_tensorboard_events(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra migaki[tensorboard]")
    run = Run(device="cpu", precision="fp32", log_every=2, sample_every=0, tensorboard=True)
    fit(Line(Line.Config()), Points(), run, tmp_path / "run", quiet=True)
    assert any(p.stat().st_size > 100 for p in (tmp_path / "run" / "tensorboard").iterdir())


def test_alone_there_is_nothing_to_average() -> None:
    tensor: Tensor = torch.ones(3)
    processes.average([tensor])
    assert processes.rank() == 0 and processes.world() == 1 and torch.equal(tensor, torch.ones(3))


def test_the_line_of_progress_keeps_names_apart() -> None:
    means = {"net/loss": 0.5, "net/accuracy": 0.9, "net/skipped": 0.0, "held_out/accuracy": 0.6}
    assert _note(means, 0.0) == "loss 0.5  net accuracy 0.9  held out accuracy 0.6"
    assert _note({"net/skipped": 0.25}, 10.0) == "10 images/s  skipped 0.25"
    assert _note({"net/loss": 0.5}, 10.0, "ray") == "10 rays/s  loss 0.5"
