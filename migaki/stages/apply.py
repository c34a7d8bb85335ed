"""apply: a trained system to a folder, into a folder; the metadata is carried over row by row, names are kept."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

from migaki import __version__
from migaki.core import hardware
from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import digest
from migaki.core.progress import Bar
from migaki.core.seeds import generator
from migaki.core.trained import load_system, read_record
from migaki.data.folder import ImageFolder
from migaki.data.writer import FolderWriter, batch_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class ApplyJob:
    """What to apply to what."""

    input: Path  # a folder of images, labelled or not
    out: Path  # the folder to write; an unfinished one is gone on with
    batch_size: int = 64  # images at once
    seed: int = 0  # of the noise input, where the refiner takes one
    variants: int = 1  # refined images of each input, for a refiner with a noise input
    device: hardware.Device = "auto"
    precision: hardware.Precision = "auto"
    resume: bool = True  # go on with a folder that was begun before


def apply(run: Path, job: ApplyJob, *, command: str = "", quiet: bool = False) -> Path:
    """Apply the trained system in the folder `run` to `job.input`.

    A picture that the system predicts (`refined`) becomes the image of the same name in `job.out`; numbers that it
    predicts become columns `predicted_...`. Every other column of the input is carried over. Raises UserError if the
    images do not fit the system.
    """
    if job.batch_size < 1:
        raise UserError(f"--batch-size {job.batch_size}: at least 1")
    system = load_system(run)
    config = system.config
    folder = ImageFolder(job.input, size=(config.height, config.width), channels=config.channels)
    device = hardware.choose_device(job.device)
    precision = hardware.choose_precision(job.precision, device)
    noisy = getattr(config, "noise_channels", 0)
    if job.variants < 1 or (job.variants > 1 and not noisy):
        raise UserError(f"--variants {job.variants}: only a refiner trained with --noise-channels makes several images")
    system.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    info = {
        "command": command, "system": read_record(run)["system"], "run": digest((run / "config.json").read_text()),
        "parent": str(job.input), "parent_fingerprint": folder.fingerprint, "seed": job.seed,
        "variants": job.variants, "precision": precision, "version": __version__,
    }
    total = len(folder) * job.variants
    with FolderWriter(job.out, info, total, resume=job.resume) as writer:
        left = writer.missing(range(total))
        with Bar("apply", total, total - len(left), quiet) as bar:
            for places, batch in _read_ahead(folder, left, job):
                if noisy:
                    batch["noise"] = _noise(places, job.seed, noisy, folder.shape)
                moved = {key: value.to(device) for key, value in batch.items()}
                with torch.inference_mode(), hardware.autocast(device, precision):
                    made = system.predict(moved)
                _write(writer, folder, places, batch, {k: v.float().cpu() for k, v in made.items()}, job.variants)
                bar.advance(len(places))
                bar.advance(0, f"{bar.rate():.0f} images/s")
    return job.out


def _read_ahead(folder: ImageFolder, left: list[int], job: ApplyJob) -> Iterator[tuple[list[int], Batch]]:
    """Batches of the images still to be done, each decoded while the one before is worked on."""
    chunks = [left[start : start + job.batch_size] for start in range(0, len(left), job.batch_size)]

    def read(chunk: list[int]) -> Batch:
        keys = ("image", "side") if "side" in folder.labels else ("image",)
        return folder.read([place // job.variants for place in chunk], keys)

    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        ahead = [pool.submit(read, chunk) for chunk in chunks[:2]]
        for number, chunk in enumerate(chunks):
            batch = ahead.pop(0).result()
            if number + 2 < len(chunks):
                ahead.append(pool.submit(read, chunks[number + 2]))
            yield chunk, batch


def _noise(places: list[int], seed: int, channels: int, shape: tuple[int, int, int]) -> torch.Tensor:
    """The noise input of each image, the same whatever the batch it stands in."""
    return torch.stack([torch.randn(channels, *shape[1:], generator=generator(seed, place)) for place in places])


def _write(writer: FolderWriter, folder: ImageFolder, places: list[int], batch: Batch, made: Batch,
           variants: int) -> None:
    images = made.pop("refined", made.pop("target", batch["image"]))
    named = {f"predicted_{key}": value for key, value in made.items()}
    columns = [_predicted_row(row) for row in batch_rows(made)] if named else [{} for _ in places]
    for place, image, predicted in zip(places, images, columns, strict=True):
        row = dict(folder.rows[place // variants])
        name = PurePosixPath(row.pop("file_name"))
        stem = str(name.with_suffix("")) if variants == 1 else f"{name.with_suffix('')}_{place % variants}"
        row = {key: value for key, value in row.items() if not key.endswith("_file_name")}
        writer.write(place, stem, image, {**row, **predicted})


def _predicted_row(row: dict[str, object]) -> dict[str, object]:
    return {f"predicted_{key}": value for key, value in row.items()}

