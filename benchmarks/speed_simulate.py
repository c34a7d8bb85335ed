"""The eye simulator: two cores against one, and against the 23 ms an image that UnityEyes' authors print."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from speed_row import Row, best

from migaki.core.engine import cores
from migaki.simulate.eyes import EyeSimulator
from migaki.stages.simulate import SimulateJob, simulate

UNITYEYES = 1 / 0.023  # images/s: Wood et al., ETRA 2016, "on average 23ms" on a GPU, at 640x480 or less


def measure(folder: Path, quick: bool) -> list[Row]:
    """Rendering in memory by threads; to a folder by threads and by processes."""
    count, repeats = (300, 2) if quick else (1500, 3)

    def eyes(threads: int) -> EyeSimulator:
        return EyeSimulator(EyeSimulator.Config(width=60, height=36, threads=threads))

    one, two = (count / best(partial(eyes(threads).render, 0, range(count)), repeats) for threads in (1, 2))
    rows = [
        Row(what="simulate eyes 60x36, two cores", figure=f"{two:.0f} images/s",
            baseline=f"one core: {one:.0f} images/s", ratio=two / one, wanted=">= 1.8"),
        Row(what="simulate eyes 60x36 with all labels, two cores", figure=f"{two:.0f} images/s",
            baseline=f"UnityEyes' printed 23 ms: {UNITYEYES:.0f} images/s", ratio=two / UNITYEYES, wanted=">= 1"),
    ]
    rows.append(_to_folder("threads", _seconds(eyes(0), folder / "threads", count, 1) / count, two, ""))
    short, long = (_seconds(eyes(0), folder / f"processes{number}", number, 2) for number in (count, 5 * count))
    each = (long - short) / (4 * count)  # what is left when the start of the processes is taken off
    rows.append(_to_folder("two processes", each, two, f" after a start of {short - count * each:.1f} s"))
    return rows


def _seconds(simulator: EyeSimulator, out: Path, count: int, workers: int) -> float:
    job = SimulateJob(out=out, count=count, workers=workers)
    return best(partial(simulate, "eyes", simulator, job, quiet=True), 1, warm=False)


def _to_folder(what: str, seconds: float, bare: float, start: str) -> Row:
    return Row(what=f"simulate eyes to a folder, {what}", figure=f"{1 / seconds:.0f} images/s{start}",
               baseline=f"in memory, {min(2, cores())} cores: {bare:.0f} images/s", ratio=1 / seconds / bare)
