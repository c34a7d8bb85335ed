"""What a voxel field reaches in minutes of one GPU, by the torch engine: quality against time on held-out views.

    python benchmarks/gpu.py fields --data LEGO             # LEGO: `migaki import transforms`, 200 px or larger
    python benchmarks/gpu.py fields                         # on a ring of views of a rendered scene
    python benchmarks/gpu.py fields --device cpu --tiny     # the same in small

The first steps measure the speed; then as many updates are planned as fit, so that the learning rate ends where it
should. Rays a step are halved until they fit into memory. Everything is float32: the time goes into reading rows of the
table and adding up their gradients, and colour and geometry are no place for bf16.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from fields import scores  # beside this file

from migaki.data.batches.ray_pixels import RayPixels, divide_views
from migaki.data.folder import ImageFolder
from migaki.metrics.restoration import psnr
from migaki.simulate.scene import SceneSimulator
from migaki.stages.simulate import SimulateJob, simulate
from migaki.systems.voxel_field import VoxelField

PUBLISHED = "lego at 800 px: Plenoxels 34.1 to 34.3 dB, NeRF 32.5; ours at 200 px, 10 minutes of a CPU: 32.4"
_JUDGED = 0.08  # of the budget, kept for the last judgement
_WARM = 4  # steps before the measured ones
_MEASURED = 12


def fields(device: torch.device, data: Path | None, budget: float, say: Callable[[str], None], *,
           is_tiny: bool = False) -> str:
    """Measure within `budget` seconds; returns a Markdown table, and says it whenever a row is known."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        views = data or _rendered(Path(folder) / "views", is_tiny)
        rows = {"nearest view of those learned from": (f"{_nearest(views):.2f} dB", "costs nothing")}
        config, seconds = _planned(views, device, is_tiny)
        left = budget * (1 - _JUDGED) - (time.perf_counter() - start)
        steps = 6 if is_tiny else max(6, int(left / seconds))
        config = replace(config, steps=steps)
        rows["rays a step, updates planned"] = (f"{config.batch_size:,}, {steps:,}", f"{device.type}, float32")
        say(table(rows))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        _train(views, config, device, start + budget * (1 - _JUDGED), max(budget / 6, 1e-3), rows,
               lambda: say(table(rows)))
    if device.type == "cuda":
        rows["memory, peak"] = (f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", "")
    rows["seconds in all"] = (f"{time.perf_counter() - start:.0f}", f"budget {budget:g}")
    return table(rows)


def _rendered(out: Path, is_tiny: bool) -> Path:
    side, count = (16, 8) if is_tiny else (200, 48)
    scene = SceneSimulator.Config(kind="ring", views=count, height=side, width=side, truth="depth")
    simulate("scene", SceneSimulator(scene), SimulateJob(out=out, count=count), quiet=True)
    return out


def _planned(views: Path, device: torch.device, is_tiny: bool) -> tuple[Any, float]:
    """The configuration, with as many rays as fit, and the seconds that a step is expected to take on average.

    A ray takes the same number of samples whatever is empty, so a step of a later stage takes longer by their ratio.
    """
    config = VoxelField.Config(engine="torch", shown=1000, batch_size=32 if is_tiny else 8192)
    if is_tiny:
        config = replace(config, sides=(6, 8), begins=(0.5,), rows=1000, carvings=1)
    while True:
        try:
            return config, _seconds_a_step(views, config, device)
        except torch.cuda.OutOfMemoryError:
            if config.batch_size <= 512:
                raise
            torch.cuda.empty_cache()
            config = replace(config, batch_size=config.batch_size // 2)


def _seconds_a_step(views: Path, config: Any, device: torch.device) -> float:
    # The finest steps in the first grid take as much memory as the first ones of the last grid.
    ratio = config.sides[-1] / config.sides[0] * config.step[0] / config.step[-1]
    trial = replace(config, step=(max(0.05, config.step[0] / ratio),))
    system, source = _opened(views, trial, device)
    began = time.perf_counter()
    for step in range(_WARM + _MEASURED):
        if step == _WARM:
            _synchronise(device)
            began = time.perf_counter()
        system.update(_batch(source, step, device), step)
    _synchronise(device)
    last = (time.perf_counter() - began) / _MEASURED
    begins = (0.0, *config.begins, 1.0)
    samples = [side / config.step[min(stage, len(config.step) - 1)] for stage, side in enumerate(config.sides)]
    shares = [after - before for before, after in pairwise(begins)]
    return last * sum(share * count for share, count in zip(shares, samples, strict=True)) / samples[-1]


def _opened(views: Path, config: Any, device: torch.device) -> tuple[VoxelField, RayPixels]:
    torch.manual_seed(0)
    config, source = VoxelField.open(VoxelField.Data(data=views), config, 0)
    assert isinstance(source, RayPixels)
    return VoxelField(config).to(device).train(), source


def _train(views: Path, config: Any, device: torch.device, until: float, every: float,
           rows: dict[str, tuple[str, str]], tell: Callable[[], None]) -> None:
    """Train until the plan or the clock (`time.perf_counter`) ends; adds a row every so many seconds and at the end."""
    system, source = _opened(views, config, device)
    spent, due, done = 0.0, every, 0
    began = time.perf_counter()
    for step in range(config.steps):
        torch.manual_seed(1_000_003 + step)
        system.update(_batch(source, step, device), step)
        done = step + 1
        if done % 10 and done < config.steps:
            continue
        _synchronise(device)  # else the clock runs ahead of the device
        now = time.perf_counter()
        is_last = done == config.steps or now > until
        if is_last or spent + now - began > due:
            spent, due = spent + now - began, spent + now - began + every
            found = scores(system, source, device)
            rows[f"after {spent:.0f} s, {done:,} updates"] = ("{:.2f} dB, SSIM {:.4f}".format(*found),
                                                              PUBLISHED if is_last else "")
            tell()
            began = time.perf_counter()
        if is_last:
            break
    rows["rays a second"] = (f"{done * config.batch_size / max(spent, 1e-9):,.0f}", "27,000 by compiled kernels")


def _batch(source: RayPixels, step: int, device: torch.device) -> dict[str, torch.Tensor]:
    return {key: value.to(device) for key, value in source.batch(step).items()}


def _nearest(views: Path) -> float:
    """PSNR of the view from the nearest camera that is learned from, the mean over held-out views."""
    folder = ImageFolder(views, channels=3)
    learned, held = divide_views(folder, VoxelField.Config().hold_out)
    centres = folder.read_label("camera_to_world", range(len(folder)))[:, :, 3]
    found = []
    for place in held:
        near = learned[int((centres[learned] - centres[place]).norm(dim=1).argmin())]
        one, other = (folder.read([number], ("image",))["image"] for number in (place, near))
        found.append(float(psnr(other, one)))
    return sum(found) / len(found)


def table(rows: dict[str, tuple[str, str]]) -> str:
    """The rows as Markdown."""
    return "\n".join(["| a voxel field, held-out views | here | beside it |", "|---|---|---|",
                      *(f"| {name} | {value} | {beside} |" for name, (value, beside) in rows.items())])


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
