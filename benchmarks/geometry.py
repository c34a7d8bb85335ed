"""Stereo, flow and poses on the benchmarks of docs/geometry.md, beside OpenCV's own methods on the same pictures.

    MIGAKI_DATA=DIR python benchmarks/geometry.py stereo|flow|poses|moments [--engine own|colmap] [--set KEY=NUMBER ...]
                                                  [--scenes 8]

prints a line for each pair or capture; `moments` needs no data. DIR/scenes holds middlebury_stereo,
middlebury_flow/rubberwhale, middlebury_mvs/templeSparseRing and fox_270x480. `--set` changes one of our settings, as
`small_step=8`. Seconds are CPU time of one thread, without compiling.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from migaki.importers.two_views import read_flo
from migaki.judges.stereo import measured
from migaki.metrics.geometry import flow_errors, pose_errors
from migaki.ops.camera_poses import from_axes
from migaki.ops.geometry.colmap import find_by_colmap
from migaki.ops.geometry.flow import FlowSettings, optical_flow
from migaki.ops.geometry.moment import both_flows, clouds, drawn
from migaki.ops.geometry.stereo import StereoSettings, disparity, fill_rows
from migaki.ops.geometry.structure import PoseSettings, find_structure
from migaki.simulate.scene import SceneSimulator

Array = np.ndarray[Any, Any]

PAIRS = {"tsukuba": ("im3.png", "im4.png", "disp3.pgm", 16), "venus": ("im2.png", "im6.png", "disp2.pgm", 8),
         "cones": ("im2.png", "im6.png", "disp2.png", 4)}


def read(path: Path) -> Array:
    """An RGB picture (H, W, 3) float32 in [0, 1]."""
    return np.asarray(Image.open(path).convert("RGB"), np.float32) / 255


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returns, and the CPU seconds of its second call: the first one compiles."""
    work()
    began = time.process_time()
    return work(), time.process_time() - began


def sgbm(left: Array, right: Array) -> Array:
    """OpenCV's semi-global block matching (block 5, P1 600, P2 2400), holes filled as ours are."""
    matcher = cv2.StereoSGBM_create(0, 64, 5, P1=600, P2=2400, mode=cv2.STEREO_SGBM_MODE_HH, uniquenessRatio=5,
                                    speckleWindowSize=100, speckleRange=2, disp12MaxDiff=1)
    found = matcher.compute(*(np.rint(255 * view).astype(np.uint8) for view in (left, right))) / 16.0
    return fill_rows(found.astype(np.float32), found > 0)


def stereo(data: Path, changes: dict[str, float]) -> None:
    """% of pixels that err by more than 1 px, of all and of those that both views show."""
    for name, (left, right, truth, scale) in PAIRS.items():
        folder = data / "middlebury_stereo" / name
        views = read(folder / left), read(folder / right)
        grey = np.asarray(Image.open(folder / truth).convert("L"), np.float32) / scale
        settings = replace(StereoSettings(), **changes)
        for method, work in (("ours", lambda views=views, s=settings: disparity(*views, s)[0]),
                             ("SGBM", lambda views=views: sgbm(*views))):
            found, seconds = timed(work)
            every, seen, error, *_ = measured(found, grey, 1.0, name)
            print(f"{name:8} {method}: bad all {every:5.2f} %, seen {seen:5.2f} %, mean error {error:.2f} px, "
                  f"{seconds:.2f} s", flush=True)


def flow(data: Path, changes: dict[str, float]) -> None:
    """Endpoint error; RubberWhale, and as a second opinion the stereo pairs, whose flow is -disparity."""
    folder = data / "middlebury_flow" / "rubberwhale"
    frames = [read(folder / f"frame{number}.png") for number in (10, 11)]
    sets = [("rubberwhale", *frames, read_flo(folder / "flow10.flo"))]
    for name, (left, right, truth, scale) in list(PAIRS.items())[:2]:
        place = data / "middlebury_stereo" / name
        far = np.asarray(Image.open(place / truth).convert("L"), np.float32) / scale
        sets.append((name, read(place / left), read(place / right),
                     np.where(far > 0, np.stack([-far, 0 * far]), np.inf).astype(np.float32)))
    for name, first, second, truth in sets:
        grey = [cv2.cvtColor(np.rint(255 * view).astype(np.uint8), cv2.COLOR_RGB2GRAY) for view in (first, second)]
        medium = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        settings = replace(FlowSettings(), **changes)
        for method, work in (("ours", lambda a=first, b=second, s=settings: optical_flow(a, b, s)),
                             ("DIS medium", lambda grey=grey, dis=medium: dis.calc(*grey, None).transpose(2, 0, 1))):
            found, seconds = timed(work)
            errors = flow_errors(found, truth)
            print(f"{name:11} {method}: AEPE {errors['endpoint'].mean():.3f} px, AAE {errors['angle'].mean():.2f} deg, "
                  f"over 1 px {100 * (errors['endpoint'] > 1).mean():.1f} %, {seconds:.2f} s", flush=True)


def temple(data: Path) -> tuple[list[Array], Array, Array]:
    """Pictures, intrinsics (N, 4), and poses (N, 3, 4) of the sparse ring."""
    folder = data / "middlebury_mvs" / "templeSparseRing"
    rows = [line.split() for line in (folder / "templeSR_par.txt").read_text().splitlines()[1:]]
    values = np.array([[float(word) for word in row[1:]] for row in rows])
    rotations, shifts = values[:, 9:18].reshape(-1, 3, 3), values[:, 18:]
    poses = np.concatenate([rotations.transpose(0, 2, 1), -np.einsum("nji,nj->ni", rotations, shifts)[:, :, None]], 2)
    # Their pixel centres lie at whole numbers.
    return [read(folder / row[0]) for row in rows], values[:, [0, 4, 2, 5]] + [0, 0, 0.5, 0.5], poses


def fox(data: Path) -> tuple[list[Array], Array, Array]:
    """Pictures, intrinsics as listed (N, 4), and the poses of COLMAP that are listed beside them."""
    folder = data / "fox_270x480"
    listed = json.loads((folder / "transforms.json").read_text())
    frames = [frame for frame in listed["frames"] if (folder / frame["file_path"]).is_file()]
    poses = from_axes(np.array([frame["transform_matrix"] for frame in frames])[:, :3], "opengl")
    lens = np.array([[listed[key] for key in ("fl_x", "fl_y", "cx", "cy")]] * len(frames))
    return [read(folder / frame["file_path"]) for frame in frames], lens, poses


def poses(data: Path, changes: dict[str, float], engine: str) -> None:
    """Errors in degrees and in % of the diagonal of the box round the cameras, lens known and unknown."""
    for name, capture in (("temple", temple), ("fox", fox)):
        pictures, lens, truth = capture(data)
        for known in (True, False):
            settings = replace(PoseSettings(), **changes)
            began = time.process_time()
            given = lens if known else None
            found = (find_by_colmap(pictures, settings, given) if engine == "colmap" else
                     find_structure(pictures, settings, lambda done, total: None, given))
            seconds, order = time.process_time() - began, sorted(found.poses)
            if len(order) < 2:
                print(f"{name:6} lens {'known' if known else 'found'}: no poses: {found.left_out}", flush=True)
                continue
            made = np.stack([np.concatenate([found.poses[k][0].T, -found.poses[k][0].T @ found.poses[k][1][:, None]], 1)
                             for k in order])
            errors = pose_errors(made, truth[order])
            print(f"{name:6} lens {'known' if known else 'found'}: {len(order)} of {len(pictures)} posed, rotation "
                  f"{errors['rotation'].mean():.3f} (worst {errors['rotation'].max():.3f}) deg, centre "
                  f"{errors['centre'].mean():.3f} (worst {errors['centre'].max():.3f}) %, {len(found.points)} points, "
                  f"{found.error:.2f} px, focal {found.lens[0]:.1f} px, {seconds:.0f} s", flush=True)
            for number, why in sorted(found.left_out.items()):
                print(f"       left out: picture {number}: {why}", flush=True)


def psnr(one: Array, other: Array) -> float:
    """dB between pictures in [0, 1]."""
    return float(-10 * np.log10(max(((one - other) ** 2).mean(), 1e-12)))


def moments(scenes: int, side: int = 256) -> None:
    """The true picture in the middle of a rendered pair, and what a camera beside sees at the first moment.

    Depth is the true one; `flat` is the same method with one depth everywhere, which is flow without depth.
    """
    rows: dict[str, list[float]] = {}
    for seed in range(scenes):
        seen, beside = (SceneSimulator(SceneSimulator.Config(kind="pair", views=3, height=side, width=side, shift=shift)
                                       ).render(seed, [0, 1, 2]) for shift in (0.0, 0.05))
        pictures = seen["image"].permute(0, 2, 3, 1).numpy()
        shown, depth, poses = beside["image"].permute(0, 2, 3, 1).numpy(), seen["depth"].numpy(), (
            seen["camera_to_world"].numpy())
        depth = np.where(depth > 0, depth, 1.2 * depth.max())
        focal = float(seen["intrinsics"][0, 0])
        relative = [seen_from(poses[0], pose) for pose in (poses[1], poses[2], beside["camera_to_world"][0].numpy())]
        began = time.process_time()
        flows = both_flows(pictures[0], pictures[2], FlowSettings())
        pair = clouds(pictures[0], pictures[2], (depth[0], depth[2]), focal, flows, relative[1])
        flat = clouds(pictures[0], pictures[2], (np.ones_like(depth[0]),) * 2, focal, flows)
        found = {"middle, ours": (drawn(pair, 0.5, relative[0], focal, (side, side)), pictures[1]),
                 "middle, flow without depth": (drawn(flat, 0.5, np.eye(3, 4), focal, (side, side)), pictures[1]),
                 "beside, ours": (drawn(pair, 0.0, relative[2], focal, (side, side)), shown[0])}
        rows.setdefault("CPU s", []).append(time.process_time() - began)
        for name, (made, truth) in found.items():
            rows.setdefault(name, []).append(psnr(made[0].transpose(1, 2, 0), truth))
        rows.setdefault("middle, cross-fade", []).append(psnr((pictures[0] + pictures[2]) / 2, pictures[1]))
        rows.setdefault("beside, the photograph as it is", []).append(psnr(pictures[0], shown[0]))
    for name, values in rows.items():
        print(f"{name:31} {np.mean(values):6.2f} (sd {np.std(values):.2f}, {scenes} scenes)", flush=True)


def seen_from(first: Array, pose: Array) -> Array:
    """A pose (3, 4) in the axes of the camera `first`."""
    return np.concatenate([first[:, :3].T @ pose[:, :3], (first[:, :3].T @ (pose[:, 3] - first[:, 3]))[:, None]], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("stereo", "flow", "poses", "moments"))
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--engine", choices=("own", "colmap"), default="own")
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args()
    if options.what == "moments":
        moments(options.scenes)
        return
    if "MIGAKI_DATA" not in os.environ:
        raise SystemExit("set MIGAKI_DATA to the folder of the real data sets")
    data = Path(os.environ["MIGAKI_DATA"]) / "scenes"
    changes = {key: json.loads(value) for key, _, value in (word.partition("=") for word in options.set)}
    if options.what == "poses":
        poses(data, changes, options.engine)
    else:
        {"stereo": stereo, "flow": flow}[options.what](data, changes)


if __name__ == "__main__":
    main()
