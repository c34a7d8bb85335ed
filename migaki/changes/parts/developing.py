"""What is done to linear light before it is a picture: which light of a set, exposure, white balance, curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.files import show
from migaki.data.folder import ImageFolder
from migaki.data.sets.optional import columns_of
from migaki.data.sets.raw_columns import COLOURS, LEVELS, require_levels
from migaki.ops.raw_light import Curve, demosaicked, developed, from_camera, white_of

Light = Literal["auto", "rendered_radiance", "radiance", "raw"]

_KINDS = ("rendered_radiance", "radiance", "raw")

LIGHT_KEYS = (*_KINDS, *LEVELS, *COLOURS)
"""All that may be read of a set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DevelopOptions:
    """Which light, and how it becomes a picture."""

    light: Light = "auto"  # of the set: what a field rendered, exact light, or the raw; auto: the first that it has
    stops: float = 0.0  # brighter by so many; with --white 0 of the light as it is, else of the automatic exposure
    white: float = 0.0  # light that becomes white; 0 = automatic, so that 97 of 100 pixels are below white
    balance: tuple[float, ...] = ()  # factors of red, green and blue; none = the row's white_balance, or 1 1 1
    curve: Curve = "srgb"  # soft: bright light is compressed instead of cut off; linear: no curve

    def __post_init__(self) -> None:
        if not (-30 <= self.stops <= 30 and 0 <= self.white <= 1e9):
            raise UserError(f"--stops {self.stops:g} --white {self.white:g}: stops are -30 to 30, white is not below 0")
        if len(self.balance) not in (0, 3) or not all(1e-3 <= factor <= 1e3 for factor in self.balance):
            raise UserError("--balance: give three factors from 0.001 to 1000, of red, green and blue")


def light_of(folder: ImageFolder, config: Any) -> tuple[str, ...]:
    """The key of the light of a set, and the columns that are read with it; UserError if it has none."""
    kinds = _KINDS if config.light == "auto" else (config.light,)
    for kind in kinds:
        if kind in folder.files:
            folder.require(kind)
            if kind == "raw":
                require_levels(folder)
            own = columns_of(folder, *COLOURS) if kind != "radiance" else ()
            return (kind, *(LEVELS if kind == "raw" else ()), *own)
    raise UserError(f"{show(folder.path)}: has no {' and no '.join(kinds)}: apply a run of `migaki train raw_field`, "
                    "or render with `migaki simulate scene --linear`")


def linear_light(batch: Batch, kind: str) -> Tensor:
    """The light (B, 3, H, W) of a batch, in the colours in which it is kept; a raw is interpolated."""
    if kind != "raw":
        return batch[kind]
    black, white = (batch[f"{name}_level"].float()[:, None, None] for name in ("black", "white"))
    values = (batch["raw"].float() - black) / (white - black)
    return torch.stack([demosaicked(value, mosaic) for value, mosaic in zip(values, batch["mosaic"], strict=True)])


def developed_light(light: Tensor, batch: Batch, config: Any) -> Tensor:
    """The pictures (B, 3, H, W) in [0, 1] of light of the camera's own colours, as the options say."""
    pictures = []
    for number, one in enumerate(light):
        balance = (torch.tensor(config.balance) if config.balance else
                   batch["white_balance"][number].float() if "white_balance" in batch else torch.ones(3))
        matrix = batch["colour_matrix"][number].float() if "colour_matrix" in batch else torch.eye(3)
        seen = from_camera(one, balance.to(one.device), matrix.to(one.device))
        if not torch.isfinite(seen).all():
            raise UnfitPicture("has light that is not finite: leave it out")
        white = config.white or float(white_of(seen[None]))
        pictures.append(developed(seen, 2.0**config.stops / white, config.curve))
    return torch.stack(pictures)
