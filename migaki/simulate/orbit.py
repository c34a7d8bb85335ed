"""A tour round a learned scene: what a camera on a circle sees in a trained field, as a posed set and a film."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.simulator import Simulator
from migaki.core.system import System
from migaki.core.trained import load_system
from migaki.ops.camera import orbit
from migaki.ops.film import film_bytes


class Orbit(Simulator):
    """Renders a tour round the scene that a field has learned: frames with cameras, depth and normals, and orbit.mp4.

    The path goes round what the training cameras look at, at their mean distance and height. For a capture that saw one
    side alone give --turn, since a field invents what no camera saw. `--count` frames make the tour.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The run and the path."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "run turn frames rate"}

        run: Path  # the folder of a trained field (voxel_field, nerf)
        turn: float = 360.0  # degrees that the whole tour goes round
        frames: int = 90  # of the whole tour; --count renders so many of them
        rate: int = 25  # frames a second of orbit.mp4

        def __post_init__(self) -> None:
            if not 0 < abs(self.turn) <= 3600 or not 1 <= self.frames <= 100_000 or not 1 <= self.rate <= 240:
                raise UserError(f"--turn {self.turn:g} --frames {self.frames} --rate {self.rate}: the turn is up to "
                                "3600 degrees, the frames 1 to 100000, the rate 1 to 240 frames a second")

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config
        self._system: System | None = None
        self._shown: dict[int, np.ndarray[Any, Any]] = {}

    @property
    def system(self) -> System:
        """The field, loaded when first asked for."""
        if self._system is None:
            found = load_system(self.config.run)
            kept: Any = getattr(found, "kept", None)  # systems/parts/posed_views.py
            if tuple(found.inputs) != ("camera_to_world", "intrinsics") or kept is None or not int(kept.count):
                raise UserError(f"{self.config.run}: is no trained field of a scene: give a run of `migaki train "
                                "voxel_field`")
            self._system = found
        return self._system

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """Views `indices` of the tour; the seed is not used."""
        system: Any = self.system
        path = orbit(system.kept.poses[: int(system.kept.count)], self.config.frames, turn_deg=self.config.turn)
        poses = path[[index % self.config.frames for index in indices]]
        lenses = system.kept.lens.expand(len(indices), 4).clone()
        with torch.inference_mode():
            made = system.predict({"camera_to_world": poses, "intrinsics": lenses})
        for index, picture in zip(indices, made["rendered"], strict=True):
            self._shown[index] = (picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        beside = {key: value for key, value in made.items() if key != "rendered"}
        return {"image": made["rendered"], "camera_to_world": poses, "intrinsics": lenses,
                "frame": torch.tensor(list(indices)), **beside}

    def texts(self, seed: int, indices: Sequence[int]) -> list[dict[str, str]]:
        """The film that a frame belongs to."""
        return [{"clip": "orbit"} for _ in indices]

    def files(self, seed: int, count: int) -> dict[str, bytes]:
        """The film; frames that other processes have rendered are rendered again."""
        frames = []
        for index in range(count):
            if index not in self._shown:
                self.render(seed, [index])
            frames.append(self._shown[index])
        try:
            return {"orbit.mp4": film_bytes(frames, self.config.rate)}
        except ImportError as error:
            raise UserError("the tour's film needs PyAV: pip install 'migaki[video]', and run the command again"
                            ) from error
