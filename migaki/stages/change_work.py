"""Applies a change to the rows of a data set, each picture at its own size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch

from migaki import __version__
from migaki.core.batch import Batch
from migaki.core.change import AFFINE, ROW, Change
from migaki.core.config import to_dict
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.seeds import fold
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image, show
from migaki.data.files.names import stem_of
from migaki.data.folder import ImageFolder
from migaki.data.further import carried_files
from migaki.data.sets.carry import Move, carried, places
from migaki.data.sets.clips import CLIP, FRAME
from migaki.data.sets.contents import contents
from migaki.data.sets.labels import batch_rows
from migaki.data.sets.said import said_of
from migaki.data.walk import Done, Work
from migaki.data.writers.record import Record, plan
from migaki.stages.apply_job import ApplyJob, naming
from migaki.stages.in_films import InFilms

_FORMATS = {"auto": "png", "png": "png", "jpg": "jpg", "tiff": "tiff", "npy": "npy"}


class ChangeWork(Work):
    """Applies a change to any rows of the job's data set, in any order and in any process.

    Rows of one size go through the change together. Place p of `total` is variant p mod `variants` of row
    p // `variants`; its seed is `fold(job.seed, p)`. Pictures are converted to `channels` (None: as in the file,
    without alpha). Variant numbers in names have `digits` digits. Raises UserError for a data set that does not fit.
    """

    def __init__(self, name: str, change: Change, job: ApplyJob, channels: int | None = None, digits: int = 0) -> None:
        self.name, self.change, self.job = name, change, job
        self.channels = channels
        self.folder = ImageFolder(job.input)
        if job.batch_size < 1 or job.variants < 1:
            raise UserError(f"--batch-size {job.batch_size} --variants {job.variants}: both are at least 1")
        _refuse_estimators(name, job)
        self.batch_size = min(job.batch_size, change.most_at_once or job.batch_size)
        self.total = len(self.folder) * job.variants
        self.parts = change.parts
        self.image_format = _FORMATS[job.file_format]
        try:
            self.folder.require(*(key for key in change.inputs if key != "image"))
        except UserError as error:
            raise UserError(f"{error}{change.without}") from error
        self.reads = (*(key for key in change.inputs if key != "image"),
                      *(key for key in change.hints if key in self.folder.labels or key in self.folder.files))
        self.name_of = naming(self.folder, job, digits)
        change.open(job.input)
        self.films = InFilms.of(self.folder, job, measures=type(change).measured is not Change.measured)
        if change.is_film and self.films.clips is not None:
            raise UserError(f"{show(job.input)}: its pictures are frames of films already: give stills to {name}")
        self._info = {
            "change": name, "config": to_dict(change.config), "seed": job.seed, "variants": job.variants,
            "parent": str(job.input), "parent_fingerprint": self.folder.fingerprint, "version": __version__,
            **{f"{option}_contents": contents(path) for option, path in change.reads().items()},
            **{option: list(value) for option, value in (("keep", job.keep), ("drop", job.drop)) if value},
            **({"channels": channels} if channels is not None else {}),
            **said_of(self.folder), **self.films.info, **change.names,
        }

    @property
    def info(self) -> dict[str, Any]:
        """The record of what makes the images."""
        return self._info

    def do(self, places: list[int]) -> list[Done]:
        """Read, change and encode the rows at these places."""
        done: list[Done] = []
        rows = [place // self.job.variants for place in places]
        pictures = {row: self._picture(row) for row in dict.fromkeys(rows)}  # variants share one
        read = [(place, pictures[row]) for place, row in zip(places, rows, strict=True)]
        for _, group in groupby(read, key=lambda one: one[1].shape):
            done += self._together(list(group))
        return done

    def _picture(self, index: int) -> torch.Tensor:
        """Returns image `index` as (C, H, W) float32 in [0, 1] at its own size."""
        path = self.folder.file(index)
        array = framing.check_values(read_image(path), self.job.value_range, path)
        has_alpha = path.suffix.lower() != ".npy" and array.shape[0] in (2, 4) and read_header(path).has_alpha
        wanted = array.shape[0] - has_alpha if self.channels is None else self.channels
        unit = framing.to_unit(framing.convert_channels(array, wanted, has_alpha=has_alpha, path=path))
        return torch.from_numpy(np.ascontiguousarray(unit))

    def _together(self, read: Sequence[tuple[int, torch.Tensor]]) -> list[Done]:
        """Change and encode rows of one size as one batch."""
        places = [place for place, _ in read]
        rows = [place // self.job.variants for place in places]
        batch = self._batch(places, [picture for _, picture in read])
        seeds = torch.tensor([fold(self.job.seed, self._origin(place)) for place in places])
        try:
            made = self.change.change(batch | self.films.steady(places, self._measured), seeds)
        except UnfitPicture as error:
            raise UserError(f"{show(self.folder.file(rows[0]))}: {error}") from error
        columns = [self._part(made, part, rows, batch["image"]) for part in self.change.parts]
        return [Done(place=place, records=tuple(
            self._record(place, row, *column[number]) for column in columns))
            for number, (place, row) in enumerate(zip(places, rows, strict=True))]

    def _batch(self, places: list[int], pictures: list[torch.Tensor]) -> Batch:
        """Returns pictures of one size with what else the change reads at these places."""
        batch: Batch = {"image": torch.stack(pictures)}
        batch |= self.folder.read([place // self.job.variants for place in places], self.reads)
        if self.change.by_row:
            batch[ROW] = torch.tensor([place // self.job.variants for place in places])
        if self.change.is_film:
            batch[FRAME] = torch.tensor([place % self.job.variants for place in places])
        return batch

    def _origin(self, place: int) -> int:
        """The place whose seed `place` has: that of the first frame of its film."""
        return place - place % self.job.variants if self.change.is_film else self.films.origin(place)

    def _measured(self, places: list[int]) -> Batch:
        """What the change measures at these places, one picture at a time: frames may differ in size."""
        found = [self.change.measured(self._batch([place], [self._picture(place // self.job.variants)]))
                 for place in places]
        return {key: torch.cat([one[key] for one in found]) for key in found[0]}

    def _film_columns(self, place: int, row: dict[str, Any]) -> dict[str, Any]:
        """The columns that say which film a picture belongs to."""
        if not self.change.is_film:
            return self.films.columns(place, row)
        index, frame = divmod(place, self.job.variants)
        return {CLIP: stem_of(self.folder.names[index]), FRAME: frame}

    def _part(self, made: Batch, part: str, rows: list[int],
              given: torch.Tensor) -> list[tuple[torch.Tensor, dict[str, Any], Move]]:
        """Returns for each row what one output folder receives: the picture, the columns, and how pixels moved."""
        start = f"{part}/" if part else ""
        own = {key.removeprefix(start): value for key, value in made.items() if key.startswith(start)}
        matrices, images = own.pop(AFFINE, None), own.pop("image", given)
        columns = batch_rows(own) if own else [{} for _ in rows]
        before, after = (given.shape[2], given.shape[3]), (images.shape[2], images.shape[3])
        moves = [self._move(row, before, after, None if matrices is None else matrices[number])
                 for number, row in enumerate(rows)]
        return list(zip(images, columns, moves, strict=True))

    def _move(self, row: int, before: tuple[int, int], after: tuple[int, int], matrix: torch.Tensor | None) -> Move:
        if matrix is not None:
            return Move(matrix.double().numpy(), before, after)
        files = [key for key, names in self.folder.files.items() if names[row] is not None]
        spoken = {*self.job.drop, *self.job.keep}
        lost = [name for name in (*files, *places(self.folder.rows[row])) if name not in spoken]
        if after != before and lost:
            raise UserError(f"{self.name}: makes pictures of another size and does not say where pixels went, so "
                            f"{', '.join(lost)} of '{show(self.folder.names[row])}' cannot follow: leave them out with "
                            f"--drop {' '.join(lost)}")
        return Move(np.eye(2, 3), after, after)

    def _record(self, place: int, index: int, image: torch.Tensor, columns: dict[str, Any], move: Move) -> Record:
        job = self.job
        where = f"{show(job.input)}: '{show(self.folder.names[index])}'"
        row = carried(self.folder.rows[index], move, where, keep=job.keep, drop={*job.drop, *columns})
        row |= carried_files(self.folder, index, move, drop={*job.drop, *columns}) | columns
        row |= self._film_columns(place, row)
        try:
            return plan(self.name_of(place), image, row, self.image_format).encode(self.image_format)
        except ValueError as error:
            raise UserError(f"{show(self.folder.file(index))}: {error}: choose another --file-format") from error


def _refuse_estimators(name: str, job: ApplyJob) -> None:
    if job.min_confidence:
        raise UserError(f"apply {name}: only a trained system is sure or unsure: leave out --min-confidence")
    if job.estimator is not None or job.reject_drift or job.rejected != "drop":
        raise UserError(f"apply {name}: only a trained system has an estimate of drift: leave out --estimator, "
                        "--reject-drift and --rejected")
