"""apply: runs a trained system or a named change on every row of a data set; keeps labels and file names."""

from __future__ import annotations

from pathlib import Path

from migaki.core.change import Change
from migaki.core.discovery import find_class, names_in
from migaki.core.errors import UserError
from migaki.core.files import apart, show
from migaki.core.outline import load
from migaki.core.progress import Bar
from migaki.core.trained import applied_by, load_system
from migaki.data.files.image_file import EXTENSIONS
from migaki.data.walk import walk
from migaki.stages.apply_job import AloneJob, ApplyJob
from migaki.stages.change_work import ChangeWork
from migaki.stages.film import change_film, is_film, system_film
from migaki.stages.system_work import SystemWork
from migaki.stages.whole_work import WholeWork

__all__ = ["AloneJob", "ApplyJob", "apply", "apply_alone", "apply_change"]


def apply(what: Path | str, job: ApplyJob, *, command: str = "", quiet: bool = False) -> Path:
    """Apply the trained system in the folder `what`, or the change of that name with its defaults, to `job.input`.

    The first output picture becomes the image of the same name in `job.out`. Further pictures, planes and series
    become files. Numbers become columns (`predicted_...` for a system). Class logits become the column
    `predicted_label`, which holds the class name if there is one. All other columns and files of the input are
    copied or moved by the rule of `data.sets.carry`. With an estimator the column `drift` holds its estimate of how far
    the label moved (unit: `drift_unit` in dataset.json); with several labels each also has a column `drift_<label>`.
    A film in a file becomes a film (.mp4), without flicker: see `stages.film`. Returns the path of the folder or film
    written. Raises UserError for pictures that do not fit.
    """
    if isinstance(what, str) and what in names_in("changes", "Change"):
        return apply_change(what, find_class("changes", what, Change)(), job, command=command, quiet=quiet)
    _check_out(job)
    run = Path(what)
    if by := applied_by(run):
        cls = find_class("changes", by, Change)
        return apply_change(by, cls(cls.Config(run=run)), job, command=command, quiet=quiet)
    apart(job.out, job.input)
    whole = load_system(run).tiling is not None
    if job.input.is_file():
        if is_film(job.input):
            return system_film(run, job, quiet=quiet)
        _require_picture(job.input)
    walk(WholeWork if whole else SystemWork, (run, job), job, command=command, quiet=quiet)
    return job.out


def apply_change(name: str, change: Change, job: ApplyJob, *, command: str = "", quiet: bool = False) -> Path:
    """Apply the change to every row of `job.input` and write `job.out`; see `apply`."""
    if change.by_itself:
        raise UserError(f"apply {name}: reads no set: leave out --input")
    _check_out(job)
    apart(job.out, job.input, *change.reads().values())
    if job.input.is_file() and not is_film(job.input):
        _require_picture(job.input)
    if change.stage:
        load(change.stage)(name, change, job, command=command, quiet=quiet)
        return job.out
    if job.input.is_file() and is_film(job.input):
        return change_film(name, change, job, quiet=quiet)
    walk(ChangeWork, (name, change, job), job, command=command, quiet=quiet)
    if change.page:
        load(change.page)(job.out, job.input, change)
    return job.out


def apply_alone(name: str, change: Change, job: AloneJob, *, quiet: bool = False) -> Path:
    """Let a change that reads no set (`Change.by_itself`) make `job.out`; returns its path."""
    with Bar(f"apply {name}", 0, quiet=quiet) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.advance(done - bar.done)

        change.write(job.out, progress)
    return job.out


def _check_out(job: ApplyJob) -> None:
    """UserError if a folder would get the name of a film."""
    if is_film(job.out) and not is_film(job.input):
        raise UserError(f"--out {show(job.out)}: only a film becomes a film: give --input a film, or --out a folder")


def _require_picture(path: Path) -> None:
    if path.suffix.lower() not in EXTENSIONS:
        raise UserError(f"{path}: neither a picture nor a video that is known: {', '.join(sorted(EXTENSIONS))}")
