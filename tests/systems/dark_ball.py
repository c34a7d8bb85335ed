"""A toy capture in the dark: the ball of `posed_ball` as linear light, photographed by a noisy sensor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from posed_ball import ball_views, write_ball

from migaki.ops.linear_light import to_linear
from migaki.simulate.sensor import Sensor
from migaki.stages.damage import DamageJob, damage_folder


def ball_light(size: int, count: int) -> torch.Tensor:
    """The light (N, 3, S, S) of the ball before white."""
    return to_linear(ball_views(size, count)[0])


def write_dark_ball(folder: Path, size: int = 16, count: int = 16, **changes: Any) -> Path:
    """The capture as `migaki simulate sensor` writes it."""
    write_ball(folder / "clean", size, count)
    (folder / "clean/radiances").mkdir()
    lines = [json.loads(line) for line in (folder / "clean/metadata.jsonl").read_text().splitlines()]
    for number, (line, light) in enumerate(zip(lines, ball_light(size, count), strict=True)):
        line["radiance_file_name"] = f"radiances/{number:03d}.npy"
        np.save(folder / "clean" / line["radiance_file_name"], light.numpy())
    (folder / "clean/metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    job = DamageJob(input=folder / "clean", out=folder / "shot", seed=3)
    return damage_folder("sensor", Sensor(Sensor.Config(**changes)), job, quiet=True) / "input"
