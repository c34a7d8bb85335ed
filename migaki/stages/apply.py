"""apply: a trained system to a folder, into a folder; the metadata is carried over row by row, names are kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Literal

import torch

from migaki import __version__
from migaki.core import engine, hardware
from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import apart, digest
from migaki.core.progress import Bar
from migaki.core.seeds import generator
from migaki.core.trained import load_system, read_record
from migaki.data.files.encoding import to_bytes
from migaki.data.files.image_file import show
from migaki.data.folder import ImageFolder
from migaki.data.sets.labels import batch_rows
from migaki.data.writers.formats import open_writer
from migaki.data.writers.record import Record, plan
from migaki.metrics.drift import Tolerance, parse_tolerance
from migaki.stages.drift import FolderMeter, stem_of, written
from migaki.stages.output import OutputJob

_MAX_LANES = 8  # batches at a time: each holds its activations in memory
_PIECE = 2**15  # px that a network works on at once on a CPU: so many that what it remembers of them stays in the cache


@dataclass(frozen=True, kw_only=True, slots=True)
class ApplyJob(OutputJob):
    """What to apply to what."""

    GROUPS: ClassVar[dict[str, str]] = {
        "usual": "seed variants estimator reject_drift rejected",
        "run": "batch_size device precision",
    }

    input: Path  # a folder of images, labelled or not
    batch_size: int = 64  # images at once
    seed: int = 0  # of the noise input, where the refiner takes one
    variants: int = 1  # refined images of each input, for a refiner with a noise input
    estimator: Path | None = None  # a run that tells each image's drift, a column; none: the refiner's own, if any
    reject_drift: str = ""  # images whose labels drift by more are rejected, such as 2deg or 1px
    rejected: Literal["drop", "flag"] = "drop"  # leave them out, or keep them with 1 in the column `rejected`
    device: hardware.Device = "auto"  # auto: a GPU where there is one
    precision: hardware.Precision = "auto"  # auto: bf16 where the hardware computes in it


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What became of one input: the picture and its row, or nothing (`row` None) where its label drifted too far."""

    place: int
    stem: str
    image: torch.Tensor  # uint8
    row: dict[str, Any] | None


class Applier:
    """A trained system, ready to be applied to any images of the job's folder, in any order and any process.

    Place p of `total` is variant p mod `variants` of image p // `variants`. Raises UserError if the images do not fit
    the system or the options do not fit each other.
    """

    def __init__(self, run: Path, job: ApplyJob) -> None:
        self.job = job
        self.system = load_system(run)
        config = self.system.config
        self.folder = ImageFolder(job.input, size=(config.height, config.width), channels=config.channels)
        self.device = hardware.choose_device(job.device)
        # A GPU is kept busy by one batch, and should not hold several in its memory.
        self._turn = nullcontext() if self.device.type == "cpu" else Lock()
        self.precision = hardware.choose_precision(job.precision, self.device)
        self.noisy: int = getattr(config, "noise_channels", 0)
        if job.batch_size < 1:
            raise UserError(f"--batch-size {job.batch_size}: at least 1")
        if job.variants < 1 or (job.variants > 1 and not self.noisy):
            raise UserError(f"--variants {job.variants}: only a refiner trained with --noise-channels makes several "
                            "images")
        self.total = len(self.folder) * job.variants
        self.system.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        record = read_record(run)
        self.info: dict[str, Any] = {
            "system": record["system"], "run": digest((run / "config.json").read_text()), "parent": str(job.input),
            "parent_fingerprint": self.folder.fingerprint, "seed": job.seed, "variants": job.variants,
            "precision": self.precision, "version": __version__,
        }
        self.limit: Tolerance | None = None
        self.meter: FolderMeter | None = None
        self.lost, estimator = estimator_of(record, job)
        self._open_meter(estimator)

    def _open_meter(self, estimator: Path | None) -> None:
        job = self.job
        if job.rejected != "drop" and not job.reject_drift:
            raise UserError(f"--rejected {job.rejected}: nothing is rejected without a limit: give --reject-drift, "
                            "such as 2deg or 1px")
        if job.reject_drift:
            self.limit = parse_tolerance(job.reject_drift, "--reject-drift")
            if estimator is None:
                raise UserError(f"--reject-drift {self.limit}: only an estimator can tell the drift: give --estimator, "
                                "a run of `migaki train` on the synthetic images")
        if estimator is None:
            return
        self.meter = FolderMeter(estimator, self.folder, self.device)
        if self.limit is not None:
            self.limit.require(self.meter.unit, "--reject-drift", estimator)
        self.info |= {"estimator": digest((estimator / "config.json").read_text()), "drift_unit": self.meter.unit}
        if self.limit is not None:
            self.info |= {"reject_drift": str(self.limit), "rejected": job.rejected}

    def read(self, places: list[int]) -> Batch:
        """The inputs of these places on the CPU."""
        keys = ("image", "side") if "side" in self.folder.labels else ("image",)
        batch = self.folder.read([place // self.job.variants for place in places], keys)
        if self.noisy:
            batch["noise"] = _noise(places, self.job.seed, self.noisy, self.folder.shape)
        return batch

    def make(self, places: list[int], batch: Batch) -> list[Made]:
        """What the system makes of the inputs of these places."""
        moved = {key: value.to(self.device) for key, value in batch.items()}
        made = self._predict(moved)
        picture = made.pop("refined", made.pop("target", None))
        columns: list[dict[str, Any]] = [{} for _ in places]
        if made:
            columns = [{f"predicted_{key}": value for key, value in row.items()} for row in batch_rows(made)]
        if self.meter is not None:
            for row, drift in zip(columns, self._drifts(self.meter, moved, picture), strict=True):
                row |= drift
        images = to_bytes(batch["image"] if picture is None else picture)  # all at once
        return [self._made(place, image, row) for place, image, row in zip(places, images, columns, strict=True)]

    def _predict(self, batch: Batch) -> Batch:
        """What the system makes of a batch, float32 on the CPU, which a CPU works on in pieces."""
        image = batch["image"]
        piece = len(image) if self.device.type != "cpu" else max(1, _PIECE // (image.shape[2] * image.shape[3]))
        cut = {key: torch.split(value, piece) for key, value in batch.items()}
        with torch.inference_mode(), hardware.autocast(self.device, self.precision):
            found = [self.system.predict(dict(zip(cut, parts, strict=True)))
                     for parts in zip(*cut.values(), strict=True)]
            return {key: torch.cat([part[key].float() for part in found]).cpu() for key in found[0]}

    def do(self, places: list[int]) -> list[Result]:
        """Read, make and encode the images of these places; called by several threads at a time."""
        batch = self.read(places)
        with self._turn:
            made = self.make(places, batch)
        return [(one.place, None if one.row is None else plan(one.stem, one.image, one.row, "png").encode("png"))
                for one in made]

    def _drifts(self, meter: FolderMeter, moved: Batch, picture: torch.Tensor | None) -> list[dict[str, float]]:
        """The columns `drift`, `drift_...` of each image."""
        if picture is None:
            raise UserError("--estimator: this system makes no pictures whose labels could drift: leave it out")
        return meter.columns(moved, moved | {"image": written(picture).to(self.device)})

    def _made(self, place: int, image: torch.Tensor, columns: dict[str, Any]) -> Made:
        variants = self.job.variants
        row = self.folder.row(place // variants)
        stem = stem_of(row.pop("file_name"))
        stem += f"_{place % variants}" if variants > 1 else ""  # of all images or of none: no two share a name
        row |= columns
        if self.limit is not None:
            bad = row["drift"] is None or row["drift"] > self.limit.value  # None: not a number
            if bad and self.job.rejected == "drop":
                return Made(place=place, stem=stem, image=image, row=None)
            if self.job.rejected == "flag":
                row["rejected"] = int(bad)
        return Made(place=place, stem=stem, image=image, row=row)


def apply(run: Path, job: ApplyJob, *, command: str = "", quiet: bool = False) -> Path:
    """Apply the trained system in the folder `run` to `job.input`.

    A picture that the system predicts (`refined`) becomes the image of the same name in `job.out`; numbers that it
    predicts become columns `predicted_...`. Every other column of the input is carried over. With an estimator the
    column `drift` tells by how much it thinks that the label has moved (its unit: `drift_unit` in dataset.json), and
    with several labels `drift_<label>` for each. Raises UserError if the images do not fit the system.
    """
    engine.check(job.workers, job.engine, job.address)
    apart(job.out, job.input)
    work = Applier(run, job)
    if job.format == "folder":  # in shards pictures are told apart by numbers
        _require_own_names(work.folder)
    info = {"command": command, **work.info}
    with open_writer(job.format, job.out, info, work.total, resume=job.resume, shard=job.shard) as writer:
        chunks, left = _chunks(set(writer.missing(range(work.total))), work.total, job.batch_size)
        with Bar("apply", work.total, work.total - sum(left.values()), quiet) as bar:
            if work.lost is not None:
                bar.say(f"apply: {work.lost}: the estimator that this refiner was trained with is gone, so no drift is "
                        "written: give another with --estimator")
            for chunk, results in _results(work, run, chunks):
                writer.write_all(results)
                bar.advance(left[chunk[0]])
    return job.out


def _require_own_names(folder: ImageFolder) -> None:
    """UserError where two images would get one name; the writer would say so only once it comes to the second."""
    stems: dict[str, str] = {}
    for name in folder.names:
        other = stems.setdefault(stem_of(name), name)
        if other != name:
            raise UserError(f"{show(folder.path)}: what is made of '{show(other)}' and '{show(name)}' would have one "
                            "name: give each its own name, not its own ending")


def _chunks(missing: set[int], total: int, size: int) -> tuple[list[list[int]], dict[int, int]]:
    """The batches in which something is missing, and how much, by their first place.

    They begin at multiples of `size` wherever an earlier run was interrupted, so that every image is worked on in
    the company that it would have had: networks round differently in batches of another size.
    """
    chunks = [list(range(start, min(start + size, total))) for start in range(0, total, size)]
    left = {chunk[0]: sum(place in missing for place in chunk) for chunk in chunks}
    return [chunk for chunk in chunks if left[chunk[0]]], left


def _results(work: Applier, run: Path, chunks: list[list[int]]) -> Iterator[tuple[list[int], list[Result]]]:
    """What becomes of each batch: made here, several at a time, or by workers."""
    job = work.job
    lanes, threads = _lanes()
    if job.workers != 1 or job.engine != "local":
        task = ApplyTask(run=run, job=job, threads=threads)
        yield from engine.work(task, chunks, workers=job.workers, engine=job.engine, address=job.address)
        return
    with _torch_threads(threads):
        yield from _side_by_side(work.do, chunks, lanes)


def _lanes() -> tuple[int, int]:
    """How many batches are worked on at a time, and PyTorch's threads for each.

    One thread a batch from reading to encoding keeps all cores at work: threads that share a batch wait for each
    other at every layer, the more so while others decode. It also makes the images the same bits on any machine of
    up to `_MAX_LANES` cores, as PyTorch's sums may depend on how many threads share them.
    """
    threads = torch.get_num_threads()
    lanes = min(threads, _MAX_LANES)
    return lanes, threads // lanes


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """So many threads for each operation of PyTorch, also in threads that are started within."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _side_by_side(do: Callable[[list[int]], list[Result]], chunks: list[list[int]],
                  lanes: int) -> Iterator[tuple[list[int], list[Result]]]:
    """The chunks in their order with what `do` makes of them, `lanes` at a time and no more than one ahead each."""
    pool = ThreadPoolExecutor(lanes, thread_name_prefix="apply")
    try:
        ahead: deque[tuple[list[int], Future[list[Result]]]] = deque()
        for chunk in chunks:
            ahead.append((chunk, pool.submit(do, chunk)))
            if len(ahead) > 2 * lanes:
                first, future = ahead.popleft()
                yield first, future.result()
        for first, future in ahead:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


Result = tuple[int, Record | None]
"""A place, and the image for it, encoded: None where it is left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApplyTask(engine.Task[list[Result]]):
    """The same in another process, which sends the content of files and not pixels."""

    run: Path
    job: ApplyJob
    threads: int  # of PyTorch: as many as here, because sums are split between them

    def open(self) -> Callable[[list[int]], list[Result]]:
        """Load the system."""
        torch.set_num_threads(self.threads)
        return Applier(self.run, self.job).do


def estimator_of(record: dict[str, Any], job: ApplyJob) -> tuple[Path | None, Path | None]:
    """The estimator with which the refiner was trained if that is gone and no other given, and the one to use."""
    own = record.get("data", {}).get("estimator")
    if job.estimator is not None or own is None:
        return None, job.estimator
    return (None, Path(own)) if (Path(own) / "model.safetensors").is_file() else (Path(own), None)


def _noise(places: list[int], seed: int, channels: int, shape: tuple[int, int, int]) -> torch.Tensor:
    """The noise input of each image, the same whatever the batch it stands in."""
    return torch.stack([torch.randn(channels, *shape[1:], generator=generator(seed, place)) for place in places])
