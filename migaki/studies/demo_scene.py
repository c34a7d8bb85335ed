"""Scene: a table with things on it is rendered, learned from pictures alone, flown round and made a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from migaki.changes.mesh import ARRAYS, Mesh
from migaki.changes.orbit import Orbit
from migaki.core.errors import UserError
from migaki.core.files import make_folder, read_json, write_json
from migaki.core.fit import Run
from migaki.core.trained import load_system
from migaki.data.batches.ray_pixels import divide_views, evenly
from migaki.data.folder import ImageFolder
from migaki.judges.views import Views
from migaki.lab.chain import Phase
from migaki.lab.demo import Demo
from migaki.lab.steps import alone_step, call_step, change_step, judge_step, simulate_step, train_step
from migaki.lab.study import Plan
from migaki.lab.study_report import StudyReport
from migaki.report.figures import training_curves
from migaki.report.page import Number
from migaki.report.sheets import sheet
from migaki.report.tables import Table
from migaki.simulate.scene import SceneSimulator
from migaki.stages.apply_job import ApplyJob
from migaki.stages.simulate import SimulateJob
from migaki.studies.fields import curve_of
from migaki.studies.parts.mesh_truth import compare_with_truth
from migaki.systems.voxel_field import VoxelField

_SHOWN = 4  # held-out views on the sheet


class SceneDemo(Demo):
    """The defaults take two and a half minutes of CPU time: under four minutes on two cores."""

    title = "A scene from anywhere"
    subtitle = "migaki rendered a table with things on it, learned the scene from pictures and their cameras alone, " \
               "flew round it and made it a mesh. The truth is used to judge only."
    measures = ()
    folder = Path("demo-scene")

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """How large the demo is."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "seed steps views size frames"}

        seed: int = 0  # of all random draws, and of the scene
        steps: int = 1500  # updates of the field, of 1,024 rays
        views: int = 36  # pictures once round the table; every eighth is held out
        size: int = 160  # px, sides of the pictures
        frames: int = 60  # of the film
        sides: tuple[int, ...] = (48, 96, 160)  # cells along a side, stage by stage
        rows: int = 600_000  # vertices that may hold something
        points: int = 160  # of the grid that the mesh is drawn from, along its longest side
        faces: int = 40_000  # triangles of the mesh at most

        def __post_init__(self) -> None:
            if min(self.steps, self.frames) < 1 or self.views < 8 or not 16 <= self.size <= 1024:
                raise UserError("migaki demo scene: --steps and --frames are at least 1, --views at least 8, --size is "
                                "16 to 1024")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: render, learn, then judge, film and mesh; no arms."""
        config, field, views = self.config, out / "field", out / "views"
        scene = SceneSimulator.Config(kind="ring", views=config.views, height=config.size, width=config.size)
        begins = (0.03, 0.12)[: len(config.sides) - 1]
        learner = VoxelField.Config(steps=config.steps, sides=config.sides, begins=begins, rows=config.rows)
        mesh = Mesh.Config(model=field, points=config.points, faces=config.faces)
        return Plan(arms=(), phases=(
            Phase(title="render views of a scene", steps=(simulate_step("scene", scene, SimulateJob(
                out=views, count=config.views, seed=config.seed), quiet, cost=6),)),
            Phase(title="learn the scene", steps=(train_step("voxel_field", VoxelField.Data(data=views), learner, Run(
                seed=config.seed, sample_every=0), field, quiet, cost=config.steps / 18),)),
            Phase(title="judge, fly round it, make a mesh", steps=(
                judge_step(Views(Views.Config(data=views)), [field], out / "judged", quiet=quiet, cost=8),
                alone_step("orbit", Orbit.Config(model=field, frames=config.frames, rate=20, picture="all"),
                           out / "film" / "tour.mp4", quiet, cost=config.frames),
                change_step("mesh", mesh, ApplyJob(input=views, out=out / "mesh"), quiet, cost=45))),
            Phase(title="compare the mesh with the truth", steps=(call_step(
                "compare the mesh with the surfaces and colours of the simulator",
                lambda: write_json(make_folder(out / "truth") / "truth.json", compare_with_truth(
                    out / "mesh" / ARRAYS, views, views / "scene_0000.obj")),
                out / "truth" / "truth.json", [out / "mesh", views], cost=5),))))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: the film, views beside the truth, the mesh, and the figures."""
        out = report.out
        judged = read_json(out / "judged" / "evaluation.json")
        figures, nearest = judged["figures"], judged["costs_nothing"]["figures"]
        truth = read_json(out / "truth" / "truth.json")
        report.numbers([
            Number("views never seen", f"{figures['psnr']:.1f} dB", f"PSNR, mean of {figures['num_views']}; the "
                   f"nearest picture that was seen: {nearest['psnr']:.1f} dB"),
            *([Number("depth", f"{figures['depth_error']:.3f}", "mean error, scene units; the table is 2.1 wide")]
              if "depth_error" in figures else []),
            Number("mesh", f"{truth['chamfer']:.2f} %", "distance from the true surface (Chamfer), of the scene's "
                   f"size; its box: {truth['chamfer_box']:.1f} %"),
            report.time_card()])
        report.section("The film")
        report.page.film((out / "film" / "tour.mp4").read_bytes(), "Once round the scene, from cameras that nobody "
                         "had: colour, depth (bright where near), normals. The file is film/tour.mp4.")
        report.section("Views never seen")
        report.figure("views", _views(out), "Pictures that the field did not learn from, what it shows of their "
                      "cameras, and the picture from the nearest camera that it learned from: what costs nothing.")
        report.section("The mesh")
        report.page.mesh((out / "mesh" / "mesh.glb").read_bytes(), "Drag to turn it; two fingers or the wheel come "
                         "nearer. Own colours are the albedo, the light divided out. The file is mesh/mesh.glb; "
                         "it opens in Blender and in browsers.")
        report.table("truth", _table(truth))
        report.section("Learning")
        points = [{"seconds": time, "PSNR of held-out views, dB": value} for time, value in curve_of(out / "field")]
        if points:
            report.figure("learning", training_curves(points, x="seconds"), "Each point is a validation while the "
                          "field learned.", is_chart=True)
        report.section("What was known to whom", is_folded=True)
        report.text(_PROTOCOL.format(views=self.config.views, held=figures["num_views"], size=self.config.size))


_PROTOCOL = """\
Of {views} pictures of {size} px, with the camera of each, {held} were held out. The field learned from the others; it \
saw no depth, no mask and no surface. The mesh is made of the depth that the field shows, and coloured from all \
pictures. The simulator's surfaces, albedo and normals are used for the table alone.

`migaki serve scene FIELD --mesh MESH` shows both in a browser, from wherever the camera is dragged. Photographs of \
one's own: docs/fields.md.
"""


def _table(truth: dict[str, float]) -> Table:
    rows: list[list[Any]] = [
        ["distance from the true surface, % of the size, of what pictures show", f"{truth['chamfer']:.2f}",
         f"{truth['chamfer_box']:.2f} (the box round it)"],
        ["the same of the whole mesh", f"{truth['chamfer_whole']:.2f}", ""],
        ["own colours, PSNR in dB", f"{truth['albedo']:.1f}", f"{truth['albedo_undivided']:.1f} (as seen, undivided)"],
        ["in a light never seen, PSNR in dB", f"{truth['relit']:.1f}", f"{truth['relit_undivided']:.1f} (undivided)"]]
    return Table(["the mesh against the simulator", "mesh", "costs nothing"], rows, "Distances: the mean of both "
                 "directions. Colours are compared in linear light after one scale for each channel, since no picture "
                 "says how bright the lamp was.")


def _views(out: Path) -> bytes:
    system: Any = load_system(out / "field")
    folder = ImageFolder(out / "views", size=system.shape[1:], channels=3)
    learned, held = divide_views(folder, system.config.hold_out)
    chosen = evenly(held, _SHOWN)
    batch = folder.read(chosen, ("image", "camera_to_world", "intrinsics"))
    centres = folder.read_label("camera_to_world", range(len(folder)))[:, :, 3]
    near = [learned[int((centres[learned] - centres[place]).norm(dim=1).argmin())] for place in chosen]
    with torch.inference_mode():
        made = system.predict(batch)["rendered"]
    return sheet([("truth", batch["image"]), ("field", made), ("nearest", folder.read(near, ("image",))["image"]),
                  ("error x 4", (4 * (made - batch["image"]).abs()).clamp(0, 1))], min_side=160)
