"""Where the scalars of a training go besides its own files: trackers of experiments, each behind three methods.

A tracker's library is imported when a run begins, and only if `--logger` names it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from migaki.core.errors import UserError
from migaki.core.files import make_inner_folder

Name = Literal["tensorboard", "trackio", "wandb", "mlflow"]


class Logger(Protocol):
    """A tracker of experiments."""

    def begin(self, out: Path, record: Mapping[str, Any]) -> None:
        """A run begins, or goes on: its folder, and the content of its config.json. UserError without the library."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """The means of the interval that ends with `step`."""

    def end(self) -> None:
        """The run has ended, or stopped."""


class TensorBoard:
    """Event files in OUT/tensorboard."""

    def begin(self, out: Path, record: Mapping[str, Any]) -> None:
        """Open a file of events."""
        made = _library("tensorboard").SummaryWriter
        self.writer = made(str(make_inner_folder(out / "tensorboard")))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write a row."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def end(self) -> None:
        """Close the file."""
        self.writer.close()


class Trackio:
    """Trackio's dashboard on this machine; the project is the method, the run OUT's name."""

    def begin(self, out: Path, record: Mapping[str, Any]) -> None:
        """Open the run."""
        self.library = _library("trackio")
        self.library.init(project=_project(record), name=_title(out), config=dict(record), resume="allow")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write a row."""
        self.library.log(dict(values), step=step)

    def end(self) -> None:
        """Close the run."""
        self.library.finish()


class WeightsAndBiases:
    """Weights & Biases, with the settings of its own environment variables (WANDB_MODE=offline and so on)."""

    def begin(self, out: Path, record: Mapping[str, Any]) -> None:
        """Open the run."""
        library = _library("wandb")
        self.run = library.init(project=_project(record), name=_title(out), config=dict(record), dir=str(out))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write a row."""
        self.run.log(dict(values), step=step)

    def end(self) -> None:
        """Close the run."""
        self.run.finish()


class MLflow:
    """MLflow: the server that MLFLOW_TRACKING_URI names, else a database OUT/mlflow.db."""

    def begin(self, out: Path, record: Mapping[str, Any]) -> None:
        """Open the run."""
        self.library = _library("mlflow")
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            self.library.set_tracking_uri(f"sqlite:///{out.resolve() / 'mlflow.db'}")
        self.library.set_experiment(_project(record))
        self.library.start_run(run_name=_title(out))
        self.library.log_params({name: str(value)[:500] for name, value in record.get("config", {}).items()})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write a row."""
        self.library.log_metrics(dict(values), step=step)

    def end(self) -> None:
        """Close the run."""
        self.library.end_run()


_MODULES = {"tensorboard": "torch.utils.tensorboard", "trackio": "trackio", "wandb": "wandb", "mlflow": "mlflow"}

_LOGGERS: dict[str, type[TensorBoard | Trackio | WeightsAndBiases | MLflow]] = {
    "tensorboard": TensorBoard, "trackio": Trackio, "wandb": WeightsAndBiases, "mlflow": MLflow}


def begin_all(names: Sequence[str], out: Path, record: Mapping[str, Any]) -> list[Logger]:
    """Open the trackers of these names, each once."""
    found: list[Logger] = [_LOGGERS[name]() for name in dict.fromkeys(names)]
    for logger in found:
        logger.begin(out, record)
    return found


def require(names: Sequence[str]) -> None:
    """UserError if the library of one of these trackers is not installed; asked before anything is written."""
    for name in names:
        _library(name)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(_MODULES[name])
    except ImportError as error:
        raise UserError(f"--logger {name} needs an extra: pip install 'migaki[{name}]'") from error


def _project(record: Mapping[str, Any]) -> str:
    return f"migaki-{record.get('system', 'run')}"


def _title(out: Path) -> str:
    return out.resolve().name or "run"
