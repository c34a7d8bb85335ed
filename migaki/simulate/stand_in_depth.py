"""Stand-in for the frames of a depth camera: rendered hands seen through a modelled sensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.simulator import Simulator
from migaki.ops.depth import normalise_depth
from migaki.simulate.depth_sensor import DepthSensor
from migaki.simulate.hands import HandSimulator

_STREAM = 104729  # makes the sensor's random numbers independent of the hands'


class StandInDepth(Simulator):
    """Renders stand-ins for frames of a depth sensor, for use where there are none.

    The images are renderings, not frames of a sensor.
    The hands are those of `migaki simulate hands`, by default in other poses if a table of measured joints is given.
    `DepthSensor` damages their depth by published models of structured light or time of flight. Keys: `image`, and
    with `labelled` also `joints`, `joint_visible`, `camera` (fx, fy, cx, cy px), `centre` (u px, v px, mm) and
    `cube` (mm), as in `HandSimulator`.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The hands' settings are those of `simulate hands`, the sensor's those of `DepthSensor`."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "height width cube_mm poses labelled kind", "run": "cache threads"}

        height: int = 224  # px
        width: int = 224  # px
        cube_mm: float = 300.0  # side of the cube around the hand that fills the image
        poses: Path | None = None  # table of measured joints to draw poses from
        cache: Path | None = None  # folder of the cached fit to that table; by default the user's cache folder
        labelled: bool = True  # False: only pictures, as from a camera
        kind: Literal["structured_light", "time_of_flight"] = "structured_light"  # of sensor
        noise: float = 1.0  # times the published standard deviations, along and across the line of sight
        edge_loss: float = 0.1  # fraction of the readings lost on an outline
        thin_loss: float = 0.15  # fraction of thin objects, such as fingertips, that are missing in patches
        threads: int = 0  # 0 = all cores; changes no bit

    def __init__(self, config: Config | None = None) -> None:
        self.config: StandInDepth.Config = config or self.Config()
        config = self.config
        if not (0 <= config.edge_loss <= 1 and 0 <= config.thin_loss <= 1):
            raise UserError("stand-in depth: edge_loss and thin_loss are shares, from 0 to 1")
        self._hands = HandSimulator(HandSimulator.Config(
            height=config.height, width=config.width, cube_mm=config.cube_mm, poses=config.poses, cache=config.cache,
            threads=config.threads))
        self._sensor = DepthSensor(DepthSensor.Config(
            kind=config.kind, axial=config.noise, lateral=config.noise, edge_loss=config.edge_loss,
            thin_loss=config.thin_loss))

    @property
    def has_labels(self) -> bool:
        """Whether labels are written."""
        return self.config.labelled

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """Returns images of these indices; image i has the same bits for every batch and thread count."""
        hands = self._hands.render(seed, indices)
        depth = self._sensor.damage(hands["depth"], seed + _STREAM, indices, hands["camera"])
        batch = {"image": normalise_depth(depth, hands["centre"][:, 2], self.config.cube_mm)}
        kept = ("joints", "joint_visible", "camera", "centre", "cube")
        return batch | {key: hands[key] for key in kept} if self.config.labelled else batch
