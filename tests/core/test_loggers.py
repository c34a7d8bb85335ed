"""Trackers of experiments: what each is told, and what happens where its library is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from migaki.core import loggers
from migaki.core.errors import UserError

RECORD = {"system": "gaze", "config": {"steps": 3}}


class Told(SimpleNamespace):
    """Stands for a library: remembers every call."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["calls"] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments: Any, **options: Any) -> Told:
            self.calls.append((name, arguments, options))
            return self

        return call


@pytest.mark.parametrize(("name", "names"), [
    ("trackio", ["init", "log", "finish"]), ("wandb", ["init", "log", "finish"]),
    ("mlflow", ["set_tracking_uri", "set_experiment", "start_run", "log_params", "log_metrics", "end_run"])])
def test_each_is_told_its_run(name: str, names: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = Told()
    monkeypatch.setitem(sys.modules, name, told)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (logger,) = loggers.begin_all((name, name), tmp_path / "run", RECORD)
    logger.scalars(7, {"net/loss": 0.5})
    logger.end()
    assert [call[0] for call in told.calls] == names
    row = next(call for call in told.calls if call[0] in ("log", "log_metrics"))
    assert row[1:] == (({"net/loss": 0.5},), {"step": 7})
    assert "migaki-gaze" in str(told.calls) and "'run'" in str(told.calls)


@pytest.mark.parametrize("name", ["trackio", "wandb", "mlflow", "tensorboard"])
def test_a_library_that_is_missing_is_named_before_anything_is_written(name: Any, tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    from migaki.core.fit import Run, fit
    from migaki.systems.classifier import Classifier

    monkeypatch.setitem(sys.modules, {"tensorboard": "torch.utils.tensorboard"}.get(name, name), None)
    config, batch = Classifier.tiny()
    source = SimpleNamespace(batch=lambda step: batch)
    with pytest.raises(UserError, match=rf"--logger {name} needs an extra: pip install 'migaki\[{name}\]'"):
        fit(Classifier(config), source, Run(logger=(name,)), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_run_ends_its_trackers_when_it_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from migaki.core.fit import Run, fit
    from migaki.systems.classifier import Classifier

    told = Told()
    monkeypatch.setitem(sys.modules, "wandb", told)
    config, batch = Classifier.tiny()
    served: list[int] = []

    def deliver(step: int) -> Any:
        served.append(step)
        if len(served) > 2:
            raise UserError("the disk is gone")
        return dict(batch)

    with pytest.raises(UserError, match="the disk"):
        fit(Classifier(config), SimpleNamespace(batch=deliver),
            Run(logger=("wandb",), log_every=1, sample_every=0, device="cpu"), tmp_path / "run", quiet=True)
    assert told.calls[0][0] == "init" and told.calls[-1][0] == "finish"
