"""Applies a change that makes one result of a whole set or film: a sound, a mesh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from migaki import __version__
from migaki.core.config import to_dict
from migaki.core.errors import UserError
from migaki.core.files import atomic_write, exclusive, make_folder, refuse_strangers, show, write_json
from migaki.core.outline import load
from migaki.core.progress import Bar
from migaki.core.reduction import Frames, Reduction
from migaki.data.files import framing
from migaki.data.files.image_file import read_image
from migaki.data.files.video import count_frames, frame_rate, frames_of
from migaki.data.folder import ImageFolder
from migaki.data.sets.clips import clips_of
from migaki.data.sets.contents import contents
from migaki.stages.apply_job import ApplyJob, refuse_row_options
from migaki.stages.film import is_film

Array = np.ndarray[Any, Any]


def reduce_set(name: str, change: Reduction, job: ApplyJob, *, command: str = "", quiet: bool = False) -> Path:
    """Make the result of `change`, called `name`, from the set or film `job.input`; returns the folder `job.out`.

    Nothing is written before the result is whole; the record `<record_name>.json` is written last. Raises UserError for
    options that belong to single rows, and for whatever the change refuses.
    """
    refuse_row_options(name, job)
    _require_own(name, job.out, change.first_file)
    change.open(job.input)
    frames = _film(job.input) if is_film(job.input) else _set(job.input, is_one_film=change.of_a_film)
    make_folder(job.out.parent)
    with exclusive(job.out):
        with Bar(name, frames.count, quiet=quiet) as bar:
            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.advance(done - bar.done)

            made = change.reduce(frames, job.out, progress)
        assert next(iter(made.files)) == change.first_file  # a folder with it is one of ours, also after a kill
        for file_name, content in made.files.items():
            with atomic_write(job.out / file_name) as file:
                file.write(content)
        write_json(job.out / f"{change.record_name}.json", {
            "change": name, "config": to_dict(change.config), "input": str(job.input), "version": __version__,
            **{f"{option}_contents": contents(path) for option, path in change.reads().items()},
            **({"command": command} if command else {}), **made.record})
        if change.page:
            load(change.page)(job.out, job.input, change)
    return job.out


def _require_own(name: str, out: Path, first_file: str) -> None:
    """UserError if `out` holds a set, a run or other files, or is the name of a film."""
    if is_film(out):
        raise UserError(f"--out {show(out)}: {name} makes no film: give a folder")
    for file in ("dataset.json", "metadata.jsonl", "metadata.csv", "config.json"):
        if (out / file).exists():
            raise UserError(f"{show(out)}: holds {file}, so the result of {name} cannot go there: choose a new folder")
    refuse_strangers(out, [first_file])


def _film(path: Path) -> Frames:
    def read() -> Iterator[Array]:
        return (framing.to_unit(frame) for frame in frames_of(path))

    return Frames(path=path, count=count_frames(path), rate=frame_rate(path), read=read)


def _set(path: Path, *, is_one_film: bool) -> Frames:
    """The pictures of a set in their order, or, of what is made of a film, the frames of the only one in time."""
    folder = ImageFolder(path)
    clips = clips_of(folder.rows, show(path)) if is_one_film else None
    if clips is not None and len(clips.films) > 1:
        raise UserError(f"{show(path)}: holds {len(clips.films)} films: give a set with the frames of one")
    order = clips.films[0] if clips is not None else list(range(len(folder)))

    def read() -> Iterator[Array]:
        for number in order:
            file = folder.file(number)
            yield framing.to_unit(framing.check_values(read_image(file), None, file))

    rate = folder.made.get("frame_rate", 0.0)
    return Frames(path=path, count=len(order), rate=float(rate) if isinstance(rate, int | float) else 0.0, read=read,
                  rows=[folder.rows[number] for number in order], said=folder.made)
