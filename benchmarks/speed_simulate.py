"""Times the eye simulator: two cores against one, and against the 23 ms per image that UnityEyes' authors print."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median

from speed_row import Row, in_turns, seconds

from migaki.core.engine import cores
from migaki.simulate.eyes import EyeSimulator
from migaki.stages.simulate import SimulateJob, simulate

UNITYEYES = 1 / 0.023  # images/s: Wood et al., ETRA 2016, "on average 23ms" on a GPU, at 640x480 or less


def measure(folder: Path, quick: bool) -> list[Row]:
    """Rendering in memory by threads; to a folder by threads and by processes."""
    count, repeats = (300, 2) if quick else (1500, 3)

    def eyes(threads: int) -> EyeSimulator:
        return EyeSimulator(EyeSimulator.Config(width=60, height=36, threads=threads))

    times = in_turns(*(partial(eyes(threads).render, 0, range(count)) for threads in (2, 1)), repeats)
    two, one = (count / median(part) for part in zip(*times, strict=True))
    rows = [
        Row(what="simulate eyes 60x36, two cores", figure=f"{two:.0f} images/s",
            baseline=f"one core: {one:.0f} images/s", ratios=tuple(b / a for a, b in times),
            baselines=tuple(b for _, b in times), wanted=">= 1.8"),
        Row(what="simulate eyes 60x36 with all labels, two cores", figure=f"{two:.0f} images/s",
            baseline=f"UnityEyes' printed 23 ms: {UNITYEYES:.0f} images/s",
            ratios=tuple(count / a / UNITYEYES for a, _ in times), wanted=">= 1"),
    ]
    threads = [_seconds(eyes(0), folder / f"threads{turn}", count, 1) / count for turn in range(2)]
    rows.append(_to_folder("threads", threads, two, ""))
    pairs = [[_seconds(eyes(0), folder / f"processes{turn}_{number}", number, 2) for number in (count, 5 * count)]
             for turn in range(2)]
    each = [(long - short) / (4 * count) for short, long in pairs]  # the start of the processes is taken off
    start = median(short - count * one for (short, _), one in zip(pairs, each, strict=True))
    rows.append(_to_folder("two processes", each, two, f" after a start of {start:.1f} s"))
    return rows


def _seconds(simulator: EyeSimulator, out: Path, count: int, workers: int) -> float:
    job = SimulateJob(out=out, count=count, workers=workers)
    return seconds(partial(simulate, "eyes", simulator, job, quiet=True))


def _to_folder(what: str, each: list[float], bare: float, start: str) -> Row:
    return Row(what=f"simulate eyes to a folder, {what}", figure=f"{1 / median(each):.0f} images/s{start}",
               baseline=f"in memory, {min(2, cores())} cores: {bare:.0f} images/s",
               ratios=tuple(1 / one / bare for one in each))
