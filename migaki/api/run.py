"""A trained run: apply it, ask it, judge it, export it, share it."""

from __future__ import annotations

import os
import shlex
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import torch

from migaki.api.evaluation import Evaluation
from migaki.api.folder import Folder, refuse_film
from migaki.api.options import build
from migaki.api.prediction import Picture, Prediction, Predictions, pixels_of
from migaki.api.show import chart_html, embedded, table_html, title_html
from migaki.core.alarms import alarms
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.log import read_rows
from migaki.core.outline import load as load_class
from migaki.core.system import System
from migaki.core.trained import load_system, read_record
from migaki.data.folder import ImageFolder
from migaki.lab.steps import option_words
from migaki.report.curves import curve_panels
from migaki.stages.predict import Predictor

_JUDGES = {False: "migaki.judges.labels:Labels", True: "migaki.judges.pairs:Pairs"}


class Run:
    """The folder of a trained run; it may be given wherever a path may.

    A notebook shows its last figures, its curves and what the watchmen said. Raises UserError for a folder that is no
    run.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.record = read_record(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Run('{show(self.path)}': {self.system}, {self._line()})"

    @property
    def system(self) -> str:
        """The name of the method."""
        return str(self.record["system"])

    @property
    def config(self) -> dict[str, Any]:
        """What was trained and how."""
        return dict(self.record.get("config", {}))

    @property
    def is_whole(self) -> bool:
        """Whether the training is finished."""
        return (self.path / "model.safetensors").is_file()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl: `step`, the means of each interval, and `watch`, what the watchmen said."""
        return read_rows(self.path / "metrics.jsonl")

    @property
    def figures(self) -> dict[str, float]:
        """The means of the last interval of the training."""
        rows = self.rows
        return {name: value for name, value in rows[-1].items() if isinstance(value, float)} if rows else {}

    @property
    def warnings(self) -> list[str]:
        """What the watchmen said, and when."""
        return [f"{alarm.when}: {alarm.line}" for alarm in alarms(self.rows)]

    @cached_property
    def model(self) -> System:
        """The trained system, on the CPU, in evaluation mode: a torch.nn.Module with `predict(batch)`."""
        return load_system(self.path)

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self.path)

    @overload
    def predict(self, what: Picture, *, seed: int = ...) -> Any: ...  # a folder's path gives Predictions

    @overload
    def predict(self, what: list[Picture] | tuple[Picture, ...] | Folder, *, seed: int = ...) -> Predictions: ...

    def predict(self, what: Any, *, seed: int = 0) -> Prediction | Predictions:
        """Returns what the run says of a picture, or of several.

        `what` is a path, a Pillow picture, an array, a tensor (C, H, W), or a list of these: see
        `migaki.api.prediction.pixels_of`. A folder, and a tensor (B, C, H, W), are several pictures. `seed` is that of
        the run's random draws. Raises UserError for what cannot be read.
        """
        classes = tuple(self.config.get("classes") or ())
        if isinstance(what, torch.Tensor) and what.ndim == 4:
            what = list(what)
        if isinstance(what, list | tuple):
            return Predictions(self._read(one, seed, classes) for one in what)
        if isinstance(what, Folder) or (isinstance(what, str | os.PathLike) and Path(what).is_dir()):
            folder = what.images if isinstance(what, Folder) else ImageFolder(Path(what))
            files = [folder.file(index) for index in range(len(folder))]
            return Predictions(self._read(file, seed, classes) for file in files)
        return self._read(what, seed, classes)

    def _read(self, picture: Any, seed: int, classes: tuple[str, ...]) -> Prediction:
        pixels, name = pixels_of(picture)
        return Prediction(self._predictor.read(pixels, seed), pixels, name, classes)

    def apply(self, input: str | os.PathLike[str], out: str | os.PathLike[str], *, quiet: bool = False,
              **options: Any) -> Folder:
        """Apply the run to a folder of images, as `migaki apply RUN` does; returns the folder written.

        The options are those of `migaki apply`. Raises UserError.
        """
        from migaki.stages.apply import apply

        refuse_film(input)
        job = build("apply", {"input": input, "out": out, **options}, job="migaki.stages.apply_job:ApplyJob")["job"]
        command = shlex.join(["migaki", "apply", str(self.path), *option_words(job)])
        return Folder(apply(self.path, job, command=command, quiet=quiet))

    def evaluate(self, data: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, *,
                 quiet: bool = False, **options: Any) -> Evaluation:
        """Judge the run by the labels of a folder (a restorer: by pairs), as `migaki evaluate RUN` does.

        Writes figures and a page to `out` (by default RUN/evaluation) and returns the figures. Raises UserError.
        """
        from migaki.stages.evaluate import judge_into

        reference = _JUDGES[self.model.tiling is not None]
        config = build("evaluate", {"data": data, **options}, config=f"{reference}.Config")["config"]
        judge = load_class(reference)(config)
        extra = ["--out", str(out)] if out is not None else []
        command = shlex.join(["migaki", "evaluate", str(self.path), *extra, *option_words(config)])
        place, findings = judge_into(judge, [self.path], None if out is None else Path(out), command=command,
                                     quiet=quiet)
        return Evaluation(findings, place, place / f"{judge.file_name}.html")

    def export(self, out: str | os.PathLike[str], size: tuple[int, int] | None = None, *, quiet: bool = False) -> Path:
        """Write the model as an ONNX file, checked in onnxruntime (extra: migaki[export]); returns its path."""
        from migaki.stages.export import export

        export(self.path, Path(out), size, quiet=quiet)
        return Path(out)

    def push_to_hub(self, name: str, *, private: bool = True, pictures: bool = False, token: str | None = None,
                    message: str = "", endpoint: str | None = None) -> str:
        """Upload the run to the Hugging Face hub as `name` ("org/model"; extra: migaki[hub]); returns its address.

        Weights, configuration without paths of this machine, card and curves go there; contact sheets, which show
        your photographs, only with `pictures`. `private` holds for a repository that is made. Raises UserError.
        """
        from migaki.api.hub import push

        if not self.is_whole:
            raise UserError(f"{self.path}: the training is not finished (no model.safetensors): run it again to go on")
        return push(self.path, name, private=private, pictures=pictures, token=token, message=message,
                    endpoint=endpoint)

    def _line(self) -> str:
        rows = self.rows
        steps = rows[-1]["step"] if rows else 0
        return f"{steps:,} of {self.config.get('steps', 0):,} steps" + ("" if self.is_whole else ", not finished")

    def _repr_html_(self) -> str:
        rows = self.rows
        shown = [title_html(f"{self.system}: {show(self.path)}", self._line())]
        shown += [title_html("Watch out", line) for line in self.warnings]
        if rows:
            shown += [chart_html(title, content) for title, content in curve_panels(rows)]
            shown.append(table_html(["term", "last mean"], [[name, f"{value:.4g}"] for name, value
                                                            in self.figures.items()]))
        sheets = sorted((self.path / "samples").glob("*.png"))
        if sheets:
            shown.append(embedded(sheets[-1].read_bytes(), "the last contact sheet"))
        return "".join(shown)
