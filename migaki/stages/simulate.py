"""simulate: labelled images from nothing, into a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migaki import __version__
from migaki.core.config import to_dict
from migaki.core.errors import UserError
from migaki.core.progress import Bar
from migaki.core.simulator import Simulator
from migaki.data.writer import FolderWriter, batch_rows

_CHUNK = 256  # images rendered at once: enough to keep every core busy, few enough to stay small in memory


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulateJob:
    """How many images, and where to."""

    out: Path  # the folder to write; an unfinished one is gone on with
    count: int = 1000  # images
    seed: int = 0  # image i of a seed is always the same
    resume: bool = True  # go on with a folder that was begun before


def simulate(name: str, simulator: Simulator, job: SimulateJob, *, command: str = "", quiet: bool = False) -> Path:
    """Render `job.count` images of `simulator` (called `name`) with their labels into the folder `job.out`.

    An interrupted run goes on where it stopped, to the same files. Raises UserError if the folder holds something
    else.
    """
    if job.count < 1:
        raise UserError(f"--count {job.count}: give the number of images, at least 1")
    info: dict[str, Any] = {
        "command": command, "simulator": name, "config": portable(to_dict(simulator.config)), "seed": job.seed,
        "version": __version__, "licence": "made by migaki; textures under the licence of their assets, if any",
    }
    with FolderWriter(job.out, info, job.count, resume=job.resume) as writer:
        left = writer.missing(range(job.count))
        with Bar(f"simulate {name}", job.count, job.count - len(left), quiet) as bar:
            for start in range(0, len(left), _CHUNK):
                indices = left[start : start + _CHUNK]
                batch = simulator.render(job.seed, indices)
                images = batch.pop("image")
                rows = batch_rows(batch) if batch else [{} for _ in indices]  # a camera gives no labels
                for index, image, row in zip(indices, images, rows, strict=True):
                    writer.write(index, f"{index:06d}", image, row)
                bar.advance(len(indices))
                bar.advance(0, f"{bar.rate():.0f} images/s")
    return job.out


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """A simulator's configuration without what only says how it is computed."""
    return {key: value for key, value in config.items() if key != "threads"}
