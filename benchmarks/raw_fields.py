"""A field from noisy raws against the noisy view, its denoising, and a field from the same shots as 8-bit pictures.

    python benchmarks/raw_fields.py --out results     # renders a ring, photographs it in the dark
    python benchmarks/raw_fields.py --out results --exposure -6 --seed 1

All fields have the same grid, rays and steps. The twin has `voxel_field`'s defaults; a second one has ten times its
total variation, which noisy pictures may need. All are judged on held-out views against exact linear light
(`migaki evaluate raw_views`). Finished parts of OUT are kept; delete them to make them anew.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from migaki.core.fit import Run, fit
from migaki.judges.raw_views import RawViews
from migaki.simulate.scene import SceneSimulator
from migaki.simulate.sensor import Sensor
from migaki.stages.damage import DamageJob, damage_folder
from migaki.stages.evaluate import judge_into
from migaki.stages.simulate import SimulateJob, simulate
from migaki.systems.raw_field import RawField
from migaki.systems.voxel_field import VoxelField

_TWIN_SMOOTH = 1e-8  # total variation of the second twin


def photographed(given: argparse.Namespace, out: Path) -> Path:
    """A ring of views as a sensor in the dark sees them; returns the set of raws."""
    if not (out / "ring").exists():
        scene = SceneSimulator.Config(kind="ring", views=given.views, height=given.size, width=given.size, linear=True,
                                      truth="depth", background="black")
        simulate("scene", SceneSimulator(scene), SimulateJob(out=out / "ring", count=given.views, seed=given.seed))
    if not (out / "shot").exists():
        sensor = Sensor(Sensor.Config(exposure=given.exposure, electrons=given.electrons, read=given.read,
                                      shutters=tuple(given.shutters)))
        damage_folder("sensor", sensor, DamageJob(input=out / "ring", out=out / "shot", seed=given.seed))
    return out / "shot/input"


def learned(kind: Any, shot: Path, out: Path, seed: int, **options: Any) -> float:
    """Train a field of this kind into `out`; returns seconds of the process's CPU time."""
    data = kind.Data(data=shot)
    config, source = kind.open(data, kind.Config(**options), seed)
    system = kind(config)
    system.prepare(data)
    began = time.process_time()
    fit(system, source, Run(seed=seed, device="cpu", precision="fp32", sample_every=0), out)
    return time.process_time() - began


def main() -> None:
    """Read the command line, make what is missing, judge, and write figures.json."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--views", type=int, default=48)
    words.add_argument("--size", type=int, default=96, help="px")
    words.add_argument("--exposure", type=float, default=-4.0, help="stops from a radiance of 1 to white")
    words.add_argument("--electrons", type=float, default=1000.0, help="that fill a pixel")
    words.add_argument("--read", type=float, default=3.0, help="electrons of read noise")
    words.add_argument("--shutters", type=float, nargs="+", default=[1.0], help="s")
    words.add_argument("--steps", type=int, default=1200)
    words.add_argument("--rays", type=int, default=2048)
    words.add_argument("--sides", type=int, nargs="+", default=[32, 64])
    words.add_argument("--begins", type=float, nargs="*", default=[0.2])
    words.add_argument("--degree", type=int, default=1)
    words.add_argument("--last-rate", type=float, default=0.03, help="share of the learning rate at the end")
    words.add_argument("--seed", type=int, default=0)
    given = words.parse_args()
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    shot = photographed(given, out)
    options = {"steps": given.steps, "batch_size": given.rays, "sides": tuple(given.sides), "rows": 400_000,
               "begins": tuple(given.begins), "degree": given.degree, "last_rate": given.last_rate}
    spent = {}
    smooth = {"smooth_density": _TWIN_SMOOTH, "smooth_colour": _TWIN_SMOOTH}
    arms: dict[str, tuple[Any, dict[str, float]]] = {
        "raw": (RawField, {}), "twin": (VoxelField, {}), "smooth_twin": (VoxelField, smooth)}
    for name, (kind, more) in arms.items():
        if not (out / name / "model.safetensors").exists():
            spent[f"cpu_seconds_{name}"] = round(learned(kind, shot, out / name, given.seed, **options, **more), 1)
    _, found = judge_into(RawViews(RawViews.Config(data=shot, device="cpu")), [out / name for name in arms],
                          out / "judged")
    made = found.figures
    gains = {"over_the_noisy_view": made["psnr"] - found.baseline["psnr"],
             "over_non_local_means": made["psnr"] - made["psnr_denoised"],
             "over_the_twin_in_the_dark": made["psnr_dark"] - made["psnr_dark_2"],
             "over_the_smooth_twin_in_the_dark": made["psnr_dark"] - made["psnr_dark_3"]}
    record = {"options": vars(given) | {"out": str(out)}, "figures": made, "noisy_view": found.baseline,
              "gains": gains, **spent}
    (out / "figures.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({"gains": gains, **made, "noisy_view": found.baseline, **spent}, indent=2))


if __name__ == "__main__":
    main()
