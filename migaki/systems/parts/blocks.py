"""Blocks of a scene: which views belong to one, and where its grid lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.batches.ray_pixels import divide_views
from migaki.data.folder import ImageFolder
from migaki.ops.blocks import apart, divided, reaches, tree

C = TypeVar("C")

MOST = 256
"""Blocks of a scene."""

_SLACK = 1 + 1e-5  # a camera at the very end of a reach belongs to the block


def positions_of(folder: ImageFolder) -> Tensor:
    """Returns where the cameras of all views stand, (N, 3) in scene units."""
    return folder.read_label("camera_to_world", range(len(folder))).float()[:, :, 3]


def cube_of(centre: Sequence[float], half: float) -> tuple[float, ...]:
    """Returns the box (x0 y0 z0 x1 y1 z1) of a cube round a place, `half` a side long each way."""
    return (*(value - half for value in centre), *(value + half for value in centre))


def views_within(folder: ImageFolder, config: Any) -> tuple[list[int], list[int]]:
    """Returns the places of the views that a block learns from, and of those held out.

    `config` has `centre`, `reach` and `hold_out`. Raises UserError if fewer than two views are left to learn from.
    """
    learned, held = divide_views(folder, config.hold_out)
    if config.reach <= 0:
        return learned, held
    if len(config.centre) != 3:
        raise UserError(f"--reach {config.reach:g}: reaches from a --centre x y z: give both")
    centre = torch.tensor([config.centre], dtype=torch.float32)
    near = apart(positions_of(folder), centre)[:, 0] <= config.reach * _SLACK
    learned, held = ([place for place in places if near[place]] for places in (learned, held))
    if len(learned) < 2:
        raise UserError(f"{show(folder.path)}: {len(learned)} of the views that are learned from stand within "
                        f"{config.reach:g} of {' '.join(f'{value:g}' for value in config.centre)}: give another "
                        "--centre or a longer --reach")
    return learned, held


def check_look(row: int, folder: ImageFolder) -> None:
    """UserError for a row, counted from 1, that the set has not; 0 is none."""
    if not 0 <= row <= len(folder):
        raise UserError(f"--look {row}: {show(folder.path)} has the rows 1 to {len(folder)}, and 0 is the average")


def arranged(config: C, folder: ImageFolder) -> C:
    """Returns the configuration of a field in blocks with its `centres`, `reaches` and `parents`.

    Raises UserError for blocks that cannot be, and where no camera that two blocks share leads to one of them.
    """
    given: Any = config
    learned, _ = divide_views(folder, given.hold_out)
    positions = positions_of(folder)[learned]
    centres = _centres(given, positions, show(folder.path))
    count = len(centres)
    reach = reaches(positions, centres, given.overlap)
    if given.reaches:
        reach = torch.tensor(given.reaches, dtype=torch.float32)
    if len(reach) != count or not (reach > 0).all():
        raise UserError(f"--reaches: {len(reach)} lengths above 0 for {count} blocks: give one for each")
    within = apart(positions, centres) <= reach * _SLACK
    if (few := within.sum(0) < 2).any():
        raise UserError(f"{show(folder.path)}: block {int(few.int().argmax())} of {count} has fewer than two views to "
                        "learn from: give fewer --blocks, or more --overlap")
    check_look(given.look, folder)
    wanted = positions_of(folder)[given.look - 1] if given.look else centres.mean(0)
    root = int((apart(wanted[None], centres)[0] / reach).argmin())
    shared = (within.T.float() @ within.float()).int().tolist()
    try:
        parents = tree(shared, root)
    except ValueError as error:
        raise UserError(f"{show(folder.path)}: block {error} of {count} shares no view with the others, so nothing can "
                        "bring them to one appearance: give more --overlap, or fewer --blocks") from error
    found: C = replace(given, centres=tuple(centres.flatten().tolist()), reaches=tuple(reach.tolist()),
                       parents=tuple(parents))
    return found


def _centres(config: Any, positions: Tensor, where: str) -> Tensor:
    """The centres (K, 3) of the blocks: those that are given, or as many as are asked for."""
    if config.overlap < 1:
        raise UserError(f"--overlap {config.overlap:g}: at least 1, where blocks meet but share nothing")
    if config.centres:
        if len(config.centres) % 3 or len(config.centres) > 3 * MOST:
            raise UserError(f"--centres: give x y z of each block, of at most {MOST} blocks")
        return torch.tensor(config.centres, dtype=torch.float32).view(-1, 3)
    if not 1 <= config.blocks <= MOST:
        raise UserError(f"--blocks {config.blocks}: 1 to {MOST}")
    try:
        return divided(positions, config.blocks)
    except ValueError as error:
        raise UserError(f"--blocks {config.blocks}: {where}: {error}: give fewer") from error


def shared_views(folder: ImageFolder, config: Any, one: int, other: int) -> list[int]:
    """Returns the places of the views that both blocks learn from."""
    centres = torch.tensor(config.centres, dtype=torch.float32).view(-1, 3)
    near = apart(positions_of(folder), centres) <= torch.tensor(config.reaches, dtype=torch.float32) * _SLACK
    return [place for place in divide_views(folder, config.hold_out)[0] if near[place, one] and near[place, other]]
