"""Applies a trained system of fixed picture size to the rows of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from migaki import __version__
from migaki.core import hardware
from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.glossary import glossary, keys_of
from migaki.core.seeds import generator
from migaki.core.system import System
from migaki.core.trained import load_system, read_record
from migaki.data.files.encoding import to_bytes
from migaki.data.files.image_file import show
from migaki.data.folder import ImageFolder
from migaki.data.further import carried_files
from migaki.data.sets.box_classes import name_boxes
from migaki.data.sets.class_labels import predicted_classes, predicted_lists
from migaki.data.sets.contents import contents
from migaki.data.sets.labels import batch_rows
from migaki.data.sets.mask_classes import mask_names_of
from migaki.data.sets.said import said_of
from migaki.data.walk import Done, Work
from migaki.data.writers.record import plan
from migaki.judges.drift_meter import FolderMeter, written
from migaki.metrics.drift import Tolerance, parse_tolerance
from migaki.stages.apply_job import ApplyJob, naming
from migaki.stages.in_films import InFilms
from migaki.stages.unsure import check_confidence, sure_only

_PIECE = 2**15  # px that a network processes at once on a CPU: its activations then fit into the cache
_UNCHANGED = "unchanged"


class SystemWork(Work):
    """Applies a trained system to any rows of the job's data set, in any order and in any process.

    Place p of `total` is variant p mod `variants` of row p // `variants`. Raises UserError if the pictures do not fit
    the system or if the options contradict each other.
    """

    def __init__(self, run: Path, job: ApplyJob) -> None:
        self.job = job
        self.run = run
        self.system = load_system(run)
        shape = self.system.shape
        self.folder = ImageFolder(job.input, size=None if shape is None else shape[1:],
                                  channels=None if shape is None else shape[0])
        self.device = hardware.choose_device(job.device)
        # One batch keeps a GPU busy, and its memory should not hold several.
        self._turn = nullcontext() if self.device.type == "cpu" else Lock()
        self.precision = hardware.choose_precision(job.precision, self.device)
        self.drawn = self.system.drawn()
        _check(job, bool(self.drawn))
        self.batch_size = job.batch_size
        self.total = len(self.folder) * job.variants
        self.folder.require(*self.system.inputs)
        self.films = InFilms.of(self.folder, job, measures=type(self.system).measured is not System.measured)
        self.reads = (*self.system.inputs, *(key for key in self.system.hints if key in self.folder.labels))
        self.name_of = naming(self.folder, job)
        self.folder.row(0, keep=job.keep, drop=job.drop)  # refuses labels that cannot be kept before any work begins
        self.system.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        record = read_record(run)
        self._info: dict[str, Any] = {
            "system": record["system"], "run": contents(run), "parent": str(job.input),
            "parent_fingerprint": self.folder.fingerprint, "seed": job.seed, "variants": job.variants,
            "precision": self.precision, "version": __version__,
        } | said_of(self.folder, self.system.config) | mask_names_of(self.system.config) | self.films.info
        self.limit: Tolerance | None = None
        self.meter: FolderMeter | None = None
        self.lost, estimator = estimator_of(record, job)
        self._open_meter(estimator)

    @property
    def info(self) -> dict[str, Any]:
        """The record of what makes the images."""
        named = {name: list(value) for name, value in (("keep", self.job.keep), ("drop", self.job.drop)) if value}
        least = {"min_confidence": self.job.min_confidence} if self.job.min_confidence else {}
        return self._info | named | least

    def _open_meter(self, estimator: Path | None) -> None:
        job = self.job
        if job.reject_drift:
            self.limit = parse_tolerance(job.reject_drift, "--reject-drift")
            if estimator is None:
                raise UserError(f"--reject-drift {self.limit}: drift needs an estimator: give --estimator, "
                                "a run of `migaki train` on the synthetic images")
        if estimator is None:
            return
        self.meter = FolderMeter(estimator, self.folder, self.device)
        if self.limit is not None:
            self.limit.require(self.meter.unit, "--reject-drift", estimator)
        self._info |= {"estimator": contents(estimator), "drift_unit": self.meter.unit}
        if self.limit is not None:
            self._info |= {"reject_drift": str(self.limit), "rejected": job.rejected}

    def announcements(self) -> list[str]:
        """Returns a message if the estimator is missing."""
        if self.lost is None:
            return []
        return [f"apply: {self.lost}: the estimator that this refiner was trained with is gone, so no drift is "
                "written: give another with --estimator"]

    def summary(self, notes: Counter[str], made: int) -> list[str]:
        """Returns a message if pictures came out unchanged: a refiner that changes nothing has learned nothing."""
        same = notes[_UNCHANGED]
        if not same:
            return []
        return [f"apply: {same} of {made} pictures were not changed: the system has no effect on "
                "them; if it should, train it for more --steps"]

    def do(self, places: list[int]) -> list[Done]:
        """Read the rows at these places, apply the system and encode the results."""
        rows, batch = self._read(places)
        with self._turn:
            batch |= self.films.steady(places, lambda near: self._run(self.system.measured, self._read(near)[1]))
            return self._made(places, rows, batch)

    def _read(self, places: list[int]) -> tuple[list[int], Batch]:
        """Returns the rows at these places and what the system needs of them, random draws included."""
        rows = [place // self.job.variants for place in places]
        batch = self.folder.read(rows, self.reads)
        for key, shape in self.drawn.items():
            batch[key] = torch.stack([torch.randn(shape, generator=generator(self.job.seed, self.films.origin(place)))
                                      for place in places])
        return rows, batch

    def _made(self, places: list[int], rows: list[int], batch: Batch) -> list[Done]:
        moved = {key: value.to(self.device) for key, value in batch.items()}
        outputs = self._run(self.system.predict, moved)
        if self.job.min_confidence:
            outputs = sure_only(self.system, self._run, moved, outputs, self.job.min_confidence)
        picture, made = split_made(outputs)
        if "image" not in batch and (picture is None or self.meter is not None):
            moved |= {key: value.to(self.device) for key, value in self.folder.read(rows, ("image",)).items()}
        columns = _columns(made, len(places))
        if "logits" in made:
            for column, found in zip(columns, predicted_classes(made["logits"], self.system.config), strict=True):
                column["predicted_label"] = found
        if "label_scores" in made:
            for column, classes in zip(columns, predicted_lists(made["label_scores"], self.system.config), strict=True):
                column["predicted_labels"] = classes
        name_boxes(columns, self.system.config)
        if self.meter is not None:
            for row, drift in zip(columns, self._drifts(self.meter, rows, moved, picture), strict=True):
                row |= drift
        given = to_bytes(moved["image"].cpu()) if "image" in moved else None
        images = given if picture is None else to_bytes(picture)  # all at once
        assert images is not None
        same = [False] * len(places) if picture is None or given is None or given.shape != images.shape else [
            torch.equal(one, other) for one, other in zip(given, images, strict=True)]
        return [self._done(place, row, image, own, is_same) for place, row, image, own, is_same
                in zip(places, rows, images, columns, same, strict=True)]

    def _run(self, what: Callable[[Batch], Batch], batch: Batch) -> Batch:
        """Returns the system's outputs for a batch, float32 on the CPU; a CPU processes the batch in pieces."""
        batch = {key: value.to(self.device) for key, value in batch.items()}
        count = len(next(iter(batch.values())))
        image = batch.get("image")
        pixels = 1 if image is None else image.shape[2] * image.shape[3]
        piece = count if self.device.type != "cpu" else max(1, _PIECE // pixels)
        cut = {key: torch.split(value, piece) for key, value in batch.items()}
        with torch.inference_mode(), hardware.autocast(self.device, self.precision):
            found = [what(dict(zip(cut, parts, strict=True))) for parts in zip(*cut.values(), strict=True)]
            whole = {key: torch.cat([part[key] for part in found]).cpu() for key in found[0]}
            return {key: value.float() if value.is_floating_point() else value for key, value in whole.items()}

    def _drifts(self, meter: FolderMeter, rows: list[int], moved: Batch,
                picture: torch.Tensor | None) -> list[dict[str, float]]:
        """Returns the columns `drift` and `drift_<label>` of each image."""
        if picture is None:
            raise UserError("--estimator: this system makes no pictures whose labels could drift: leave it out")
        before = meter.complete(self.folder, rows, moved)
        return meter.columns(before, before | {"image": written(picture).to(self.device)})

    def _done(self, place: int, index: int, image: torch.Tensor, columns: dict[str, Any], same: bool) -> Done:
        job, notes = self.job, (_UNCHANGED,) * same
        row = self.folder.row(index, keep=job.keep, drop=job.drop)
        files = carried_files(self.folder, index, self.folder.move(index), drop=job.drop)
        if twice := sorted(files.keys() & columns.keys()):
            raise UserError(f"{show(job.input)}: has a {twice[0]} of its own, and the system makes one too: leave out "
                            f"the set's with --drop {twice[0]}")
        row |= self.films.columns(place, row) | files | columns
        if self.limit is not None:
            bad = row["drift"] is None or row["drift"] > self.limit.value  # None: not a number
            if bad and job.rejected == "drop":
                return Done(place=place, records=(None,), notes=notes)
            if job.rejected == "flag":
                row["rejected"] = int(bad)
        record = plan(self.name_of(place), image, row, self.image_format).encode(self.image_format)
        return Done(place=place, records=(record,), notes=notes)


def _check(job: ApplyJob, makes_several: bool) -> None:
    check_confidence(job.min_confidence)
    if job.batch_size < 1:
        raise UserError(f"--batch-size {job.batch_size}: at least 1")
    if job.variants < 1 or (job.variants > 1 and not makes_several):
        raise UserError(f"--variants {job.variants}: only a refiner trained with --noise-channels makes several images")
    if job.rejected != "drop" and not job.reject_drift:
        raise UserError(f"--rejected {job.rejected}: nothing is rejected without a limit: give --reject-drift, "
                        "such as 2deg or 1px")


def split_made(made: Batch) -> tuple[torch.Tensor | None, Batch]:
    """Split a system's outputs into the picture that replaces the image (the first picture, or None) and the rest."""
    name = next((key for key in made if key in keys_of("picture")), None)
    return (None, made) if name is None else (made[name], {key: made[key] for key in made if key != name})


def _columns(made: Batch, count: int) -> list[dict[str, Any]]:
    """Returns a system's other outputs as columns: numbers as `predicted_...`, files under their own names."""
    if not made:
        return [{} for _ in range(count)]
    kinds = {name: key.kind for name, key in glossary().items()}
    files = {name for name, kind in kinds.items() if kind in ("picture", "plane", "vectors", "signal")}
    return [{name if name in files else f"predicted_{name}": value for name, value in row.items()}
            for row in batch_rows(made)]


def estimator_of(record: dict[str, Any], job: ApplyJob) -> tuple[Path | None, Path | None]:
    """Returns two estimators: the refiner's own if it is missing and no other was given, and the one to use."""
    own = record.get("data", {}).get("estimator")
    if job.estimator is not None or own is None:
        return None, job.estimator
    return (None, Path(own)) if (Path(own) / "model.safetensors").is_file() else (Path(own), None)
