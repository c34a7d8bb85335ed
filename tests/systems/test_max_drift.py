"""--max-drift: the user gives a tolerance in the label's unit, and the refiner keeps it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_folders import write_folder

from migaki.core.errors import Interrupted, UserError
from migaki.core.fit import Run
from migaki.core.trained import load_system
from migaki.data.batches.rounds import Rounds
from migaki.stages.train import train
from migaki.systems import simgan
from migaki.systems.simgan import SimGAN

RUN = Run(device="cpu", precision="fp32", log_every=5, checkpoint_every=10, sample_every=0)
SMALL = SimGAN.Config(steps=30, batch_size=8, features=4, blocks=1, history=16, discriminator_width=0.2,
                      discriminator_pretraining=0, shortcut=False, lambda_reg=0.05, learning_rate=2e-3, match=False,
                      statistics=0.0, psi="identity")
"""A refiner that begins far from the identity with a weak consistency: its labels drift."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, estimators: dict[str, Path]) -> dict[str, Path]:
    """Synthetic and real discs and estimators of all kinds."""
    real = write_folder(tmp_path_factory.mktemp("parts") / "real", 16, (24, 40), real=True, labels=())
    return estimators | {"synthetic": estimators["seen"], "real": real}


def refine(parts: dict[str, Path], out: Path, estimator: str | None, **changes: Any) -> list[dict[str, Any]]:
    """Train a refiner; returns the rows of metrics.jsonl."""
    data = SimGAN.Data(synthetic=parts["synthetic"], real=parts["real"],
                       estimator=parts[estimator] if estimator else None)
    train(SimGAN, data, replace(SMALL, **changes), RUN, out, quiet=True)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.long  # the law itself: tests/losses/test_steering.py
@pytest.mark.parametrize("consistency", [0.0, 2.0])
def test_a_tighter_tolerance_is_held_by_a_greater_weight(parts: dict[str, Path], tmp_path: Path,
                                                         consistency: float) -> None:
    rows = {limit: refine(parts, tmp_path / limit, "places", max_drift=limit, consistency=consistency, steps=140)
            for limit in ("1.5px", "6px")}
    tight, loose = rows["1.5px"], rows["6px"]
    assert max(row["drift/px"] for row in loose) > 3  # nothing holds it by itself
    late = [sum(row["drift/px"] for row in each[-6:]) / 6 for each in (tight, loose)]
    assert late[0] < 1.8 and late[0] < late[1]
    assert tight[-1]["drift/log10_strength"] > loose[-1]["drift/log10_strength"] + 0.3


@pytest.mark.parametrize(("estimator", "limit", "name"), [("gaze", "3deg", "deg"), ("classes", "5%", "percent")])
def test_every_estimator_in_its_own_unit(parts: dict[str, Path], tmp_path: Path, estimator: str, limit: str,
                                         name: str) -> None:
    rows = refine(parts, tmp_path / "run", estimator, max_drift=limit)
    assert all(f"drift/{name}" in row and "drift/log10_strength" in row for row in rows)
    free = refine(parts, tmp_path / "free", estimator)
    assert f"drift/{name}" in free[0] and "drift/log10_strength" not in free[0]


def test_an_interrupted_run_goes_on_to_the_same_bits(parts: dict[str, Path], tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    refine(parts, tmp_path / "straight", "gaze", max_drift="1deg")
    batch = Rounds.batch

    def dying(self: Rounds, step: int) -> Any:
        if step == 17:
            raise Interrupted
        return batch(self, step)

    monkeypatch.setattr(Rounds, "batch", dying)
    with pytest.raises(Interrupted):
        refine(parts, tmp_path / "killed", "gaze", max_drift="1deg")
    monkeypatch.undo()
    state = torch.load(tmp_path / "killed" / "checkpoint", weights_only=True)
    assert state["step"] == 10 and float(state["system"]["steering.count"]) == 10
    refine(parts, tmp_path / "killed", "gaze", max_drift="1deg")
    for name in ("metrics.jsonl", "model.safetensors", "config.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name
    model = load_system(tmp_path / "straight")
    assert isinstance(model, SimGAN) and model.config.max_drift == "1deg"  # loads where no estimator is
    assert b"steering" not in (tmp_path / "straight" / "model.safetensors").read_bytes()[:20000]


def test_the_watchman_tells_a_tolerance_that_is_not_held() -> None:
    torch.manual_seed(0)
    system = SimGAN(replace(SimGAN.tiny()[0], max_drift="1px", steps=900))
    assert "--max-drift 1px" in " ".join(system.watch({"drift/px": 1.5}, 500))
    assert system.watch({"drift/px": 1.1}, 500) == system.watch({"drift/px": 9.0}, 100) == []


@pytest.mark.parametrize(("estimator", "limit", "complaint"), [
    (None, "1px", "--max-drift 1px: only an estimator can tell the drift: give --estimator"),
    ("gaze", "1px", "--max-drift 1px: the estimator .*gaze reads deg, not px"),
    ("places", "2deg", "reads px, not deg"), ("classes", "2deg", "reads %, not deg"), ("gaze", "1", "such as 1px"),
    ("synthetic", "1px", "no config.json"),
])
def test_tolerances_that_cannot_be_given(parts: dict[str, Path], tmp_path: Path, estimator: str | None, limit: str,
                                        complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        refine(parts, tmp_path / "run", estimator, max_drift=limit)
    assert "\n" not in str(caught.value) and not (tmp_path / "run" / "metrics.jsonl").exists()


def test_an_estimator_of_other_images(parts: dict[str, Path], tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", 8, (30, 44))
    data = SimGAN.Data(synthetic=other, real=parts["real"], estimator=parts["gaze"])
    with pytest.raises(UserError, match="reads images of 40x24 px in 1 channels, not of 44x30"):
        train(SimGAN, data, SMALL, RUN, tmp_path / "run", quiet=True)


def test_several_processes_steer_by_their_common_drift(parts: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sees its own images; the weights must stay the same in all."""
    torch.manual_seed(0)
    system = SimGAN(replace(SMALL, channels=1, height=24, width=40, max_drift="1px")).train()
    system.readings.add(load_system(parts["places"]))
    monkeypatch.setattr(simgan.processes, "average", lambda tensors: [one.fill_(7.5) for one in tensors])
    monkeypatch.setattr(simgan, "descend", lambda *_: torch.zeros(()))
    scalars = system._refiner_step(torch.rand(4, 1, 24, 40) * 2 - 1, adversarial=True)
    assert system.steering is not None and float(system.steering.drift()) == pytest.approx(7.5)
    assert scalars["drift/px"] != 7.5
