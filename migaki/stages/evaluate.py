"""evaluate: runs a judge on trained runs and data sets, and writes figures, files and one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.files import apart, exclusive, refuse_link, refuse_strangers, show
from migaki.core.judge import Findings, Judge
from migaki.core.progress import Bar
from migaki.core.system import System
from migaki.data.folder import ImageFolder
from migaki.judges.labels import Labels, metric_of, open_for
from migaki.report.findings import write_findings

__all__ = ["EvaluateJob", "evaluate", "evaluate_into", "judge_into", "measure", "open_for", "run_judge"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateJob:
    """How to evaluate a trained system's predictions: the options of the judge `labels`, and where to write."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "out exclude by calibrate", "run": "batch_size device precision"}

    data: Path  # a folder with labels
    out: Path | None = None  # folder for evaluation.json and the curve; default: the run's folder
    exclude: tuple[str, ...] = ()  # leave out rows where these columns are true, such as bad_crop
    by: tuple[str, ...] = ()  # columns whose values make groups, such as person: figures for each, the worst first
    calibrate: int = 0  # of gaze: labelled looks of each group (--by) that an affine map is fitted on; 0 = none
    draws: int = 20  # times the looks of --calibrate are drawn
    batch_size: int = 256  # images at once
    device: hardware.Device = "auto"  # auto: a GPU if there is one
    precision: hardware.Precision = "auto"  # auto: bf16 if the hardware computes in it


def run_judge(judge: Judge, runs: Sequence[Path] = (), *, quiet: bool = False) -> Findings:
    """Run the judge and return its findings; writes nothing."""
    with Bar("evaluate", 0, quiet=quiet) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.advance(done - bar.done)

        return judge.judge(runs, progress)


def judge_into(judge: Judge, runs: Sequence[Path] = (), out: Path | None = None, *, command: str = "",
               quiet: bool = False) -> tuple[Path, Findings]:
    """Run the judge and write its findings to `out` (default: the judge's choice); returns the folder and the findings.

    Raises UserError if the folder holds images or a run, and for everything that the judge refuses.
    """
    if runs and not judge.takes_runs:
        raise UserError(f"{show(runs[0])}: the judge '{type(judge).__module__.rsplit('.', 1)[-1]}' compares sets and "
                        "takes no trained run: leave the run out, or name another judge (`migaki list`)")
    place = out or judge.default_out(runs)
    if place is None:
        raise UserError("--out: give the folder for the figures and the page")
    if out is None:
        refuse_link(place)
    apart(place, *judge.sources())
    require_own(place)
    with exclusive(place):
        pages = (path.name for path in place.glob("*.html") if path.with_suffix(".json").exists())
        refuse_strangers(place, {f"{judge.file_name}.html", *pages})  # the page is what is written first
        findings = run_judge(judge, runs, quiet=quiet)
        write_findings(place, findings, judge.file_name, command)
    return place, findings


def evaluate(run: Path, job: EvaluateJob, *, quiet: bool = False) -> dict[str, Any]:
    """Returns the figures, ready for JSON, of the trained system in the folder `run` on the labels of `job.data`."""
    return run_judge(labels_of(job), [run], quiet=quiet).figures


def evaluate_into(run: Path, job: EvaluateJob, *, command: str = "",
                  quiet: bool = False) -> tuple[Path, dict[str, Any]]:
    """Do the same as `evaluate`, and write JSON, every image's error, pictures and a page to `job.out`."""
    out, findings = judge_into(labels_of(job), [run], job.out, command=command, quiet=quiet)
    return out, findings.figures


def measure(system: System, folder: ImageFolder, job: EvaluateJob, *, quiet: bool = False) -> dict[str, Any]:
    """Run `system` on `folder` and compute its metric; raises UserError if the labels it needs are missing."""
    with Bar("evaluate", len(folder), quiet=quiet) as bar:
        return metric_of(system, folder, job, lambda done: bar.advance(done - bar.done)).compute()


def labels_of(job: EvaluateJob) -> Labels:
    """Returns the judge `labels` with the options of a job."""
    return Labels(Labels.Config(data=job.data, exclude=job.exclude, by=job.by, calibrate=job.calibrate, draws=job.draws,
                                batch_size=job.batch_size, device=job.device, precision=job.precision))


def require_own(out: Path) -> None:
    """Raises UserError if `out` holds images or a run: results must not be mixed with what is judged."""
    for name in ("dataset.json", "metadata.jsonl", "metadata.csv", "config.json"):
        if (out / name).exists():
            raise UserError(f"{out}: holds {name}, so it cannot hold an evaluation: choose a new folder")
