"""Fields: how a scene's picture gets better with time, by the size of the grid and by what a voxel holds.

    migaki study fields --out DIR                   # a ring of views of a scene that is rendered for it
    migaki study fields --data CAPTURE --out DIR    # a posed set of one's own, such as of `migaki import transforms`

Every field learns from the same views and is judged on those held out, beside the nearest training view.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.log import read_rows
from migaki.core.trained import load_system
from migaki.data.batches.ray_pixels import divide_views, evenly
from migaki.data.folder import ImageFolder
from migaki.judges.views import Views
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import judge_step, simulate_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.report.figures import training_curves
from migaki.report.sheets import sheet
from migaki.simulate.scene import SceneSimulator
from migaki.stages.simulate import SimulateJob
from migaki.systems.voxel_field import VoxelField

_SHOWN = 5  # held-out views on the sheet
_PROTOCOL = """\
All fields see the same training views, with the same rays a step. Time is that of the training alone, validation \
included, on the machine named below. PSNR and SSIM are means over the held-out views, values clipped to [0, 1]. What \
costs nothing is the training view from the nearest camera."""

ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "degree_0": ("one colour a voxel (degree 0)", {"degree": 0}),
    "usual": ("harmonics of degree 1, coarse to fine", {}),
    "degree_2": ("harmonics of degree 2", {"degree": 2}),
    "coarse": ("half the cells along a side", {"halved": True}),
    "at_once": ("fine from the start, no coarse stage", {"at_once": True}),
    "rough": ("no total variation, no clear rays, no colour of their own, light not drawn together", {
        "smooth_density": 0.0, "smooth_colour": 0.0, "clear": 0.0, "own_colour": 0.0, "spread": 0.0}),
}
"""Slug: name, and what differs from the usual field."""


class Fields(Study):
    """PSNR and SSIM of held-out views against time, by arm and seed, with the pictures themselves."""

    title = "Radiance fields on a CPU"
    subtitle = "Posed pictures of one scene; a grid of voxels learns it; views that it never saw are rendered."
    measures = (
        Measure(key="psnr", name="PSNR, dB", higher_is_better=True, places=2),
        Measure(key="ssim", name="SSIM", higher_is_better=True, places=3),
    )

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The capture and the budget."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "data size views arms seed seeds steps sides"}

        data: Path | None = None  # a posed set; None: a ring of views of a scene is rendered
        size: int = 0  # px, sides of the pictures; 0 = as --data has them, 128 of the rendered scene
        views: int = 48  # of the rendered scene
        arms: tuple[str, ...] = ("degree_0", "usual", "degree_2", "coarse", "at_once", "rough")  # that are compared
        seed: int = 0  # the first seed
        seeds: int = 2  # runs; may be raised later, finished ones are kept
        steps: int = 6000  # updates of a run
        batch_size: int = 1024  # rays
        sides: tuple[int, ...] = (48, 96, 160)  # cells along a side, stage by stage
        begins: tuple[float, ...] = (0.05, 0.2)  # shares of the steps after which later stages begin
        rows: int = 600_000  # vertices that may hold something

        @classmethod
        def quick(cls) -> Fields.Config:
            """One seed of few steps on small pictures, to see how it goes: the figures mean little."""
            return cls(seeds=1, size=48, views=24, steps=300, sides=(16, 32), begins=(0.3,), rows=60_000,
                       arms=("degree_0", "usual"))

        def __post_init__(self) -> None:
            if unknown := [arm for arm in self.arms if arm not in ARMS]:
                raise UserError(f"--arms {unknown[0]}: known are {', '.join(ARMS)}")
            if not self.arms or min(self.seeds, self.steps, self.views) < 1 or self.size < 0:
                raise UserError("migaki study fields: give an arm, and --seeds, --steps and --views of at least 1")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: render a scene if none is given, train and judge each field."""
        config, phases = self.config, []
        if config.data is None:
            size = config.size or 128
            scene = SceneSimulator.Config(kind="ring", views=config.views, height=size, width=size)
            job = SimulateJob(out=out / "scene", count=config.views, seed=config.seed)
            phases.append(Phase(title="render a scene", steps=(simulate_step("scene", scene, job, quiet,
                                                                             cost=config.views),)))
        else:
            ImageFolder(config.data).require("camera_to_world", "intrinsics")
        seeds = range(config.seed, config.seed + config.seeds)
        phases += [Phase(title=f"seed {seed}", steps=tuple(
            step for slug in config.arms for step in self._steps(out, slug, seed, quiet))) for seed in seeds]
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=ARMS[slug][0], slug=slug, saw="the training views", trials=tuple(
                Trial(seeds=(seed,), evaluation=out / f"{slug}_{seed}_judged") for seed in seeds))
            for slug in config.arms))

    def _steps(self, out: Path, slug: str, seed: int, quiet: bool) -> Sequence[Step]:
        config, changes = self.config, dict(ARMS[slug][1])
        sides, begins = config.sides, config.begins
        if changes.pop("halved", False):
            sides = tuple(max(2, side // 2) for side in sides)
        if changes.pop("at_once", False):
            # As fine a grid as the rows hold, before anything is known to be empty.
            sides, begins = (min(config.sides[-1], int(config.rows ** (1 / 3)) - 2),), ()
        field = VoxelField.Config(steps=config.steps, batch_size=config.batch_size, sides=sides, begins=begins,
                                  rows=config.rows, height=config.size, width=config.size, **changes)
        data, run = self._data(out), out / f"{slug}_{seed}"
        train = train_step("voxel_field", VoxelField.Data(data=data), field, Run(seed=seed, sample_every=0), run, quiet,
                           cost=config.steps * config.batch_size / 50_000)
        judged = judge_step(Views(Views.Config(data=data)), [run], out / f"{slug}_{seed}_judged", quiet=quiet, cost=10)
        return train, judged

    def compose(self, report: StudyReport) -> None:
        """Compose the page: the table, quality against time, and views."""
        slugs = list(report.outcomes)
        report.section("Held-out views")
        report.compare("fields", slugs)
        if "usual" in slugs and len(slugs) > 1:
            report.differences("against_usual", "usual", [slug for slug in slugs if slug != "usual"])
        report.section("Quality against time")
        points = [{"seconds": time, f"PSNR of held-out views, dB/{slug}": value} for slug in slugs
                  for time, value in curve_of(report.out / f"{slug}_{self.config.seed}")]
        if points:
            report.figure("time", training_curves(points, x="seconds"),
                          "The first seed. Each point is a validation while the field learned.")
        report.section("Views")
        report.figure("views", sheet(self._pictures(report.out, slugs), min_side=128),
                      "Held-out views, evenly chosen, of the first seed.")
        report.section("Protocol", is_folded=True)
        report.text(_PROTOCOL)

    def _data(self, out: Path) -> Path:
        return self.config.data or out / "scene"

    def _pictures(self, out: Path, slugs: Sequence[str]) -> list[tuple[str, torch.Tensor]]:
        rows: list[tuple[str, torch.Tensor]] = []
        for slug in slugs:
            system: Any = load_system(out / f"{slug}_{self.config.seed}")
            folder = ImageFolder(self._data(out), size=system.shape[1:], channels=3)
            chosen = evenly(divide_views(folder, system.config.hold_out)[1], _SHOWN)
            batch = folder.read(chosen, ("image", "camera_to_world", "intrinsics"))
            rows = rows or [("truth", batch["image"])]
            with torch.inference_mode():
                rows.append((slug, system.predict(batch)["rendered"]))
        return rows


def curve_of(run: Path) -> list[tuple[float, float]]:
    """Returns (seconds, PSNR) of each validation of a run, from its two logs."""
    times, total = {}, 0.0
    for line in (run / "timing.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        total += row["seconds"]
        times[row["step"]] = total
    return [(times[row["step"]], row["held_out/psnr"]) for row in read_rows(run / "metrics.jsonl")
            if "held_out/psnr" in row and row["step"] in times]
