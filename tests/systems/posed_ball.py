"""A toy capture: a ball whose colour is its normal, seen from two rings, drawn exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from migaki.ops.camera import pixel_rays, ring

RADIUS = 0.7


def ball_views(size: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures (N, 3, S, S), depth (N, S, S), poses (N, 3, 4) and lenses (N, 4) of a ball before white."""
    poses = torch.cat([ring(count - count // 2, 3.0, 25.0), ring(count // 2, 3.0, -20.0, start_deg=17.0)])
    lenses = torch.tensor([1.6 * size, 1.6 * size, size / 2, size / 2]).expand(count, 4)
    origins, towards = pixel_rays(lenses * 3, poses, 3 * size, 3 * size)
    middle = -(origins * towards).sum(-1)
    inside = RADIUS**2 - (origins.square().sum(-1) - middle**2)
    met = inside > 0
    distance = middle - inside.clamp_min(0).sqrt()
    normal = (origins + distance[..., None] * towards) / RADIUS
    colours = torch.where(met[..., None], 0.5 + 0.4 * normal[..., [2, 0, 1]], 1.0).movedim(-1, 1)
    pictures = torch.nn.functional.avg_pool2d(colours, 3)
    depth = torch.where(met, distance * (towards * poses[:, None, None, :, 2]).sum(-1), 0.0)[:, 1::3, 1::3]
    return pictures, depth, poses, lenses


def write_ball(folder: Path, size: int = 24, count: int = 12) -> Path:
    """The capture as a posed set; every fourth view is for testing."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures, _, poses, lenses = ball_views(size, count)
    lines = []
    for number, (picture, pose, lens) in enumerate(zip(pictures, poses, lenses, strict=True)):
        name = f"{number:03d}.png"
        Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).save(folder / name)
        lines.append({"file_name": name, "camera_to_world": pose.tolist(), "intrinsics": lens.tolist(),
                      "split": "train" if number % 4 else "test"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "dataset.json").write_text(json.dumps({"scene": {
        "bounds": [[-1, -1, -1], [1, 1, 1]], "near": 1.0, "far": 6.0, "background": [1, 1, 1]}}))
    return folder
