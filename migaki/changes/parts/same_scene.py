"""Whether two pictures show one scene, by the flow there and back: what `apply flow` and `apply moments` refuse."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from migaki.core.errors import UnfitPicture
from migaki.ops.geometry.flow import inconsistency, sampled

Array = np.ndarray[Any, Any]

CONSISTENT: Final = 2.0
"""px by which there and back may miss, in pictures of 320 px and more; see `may_miss`."""

LEAST_SHARE: Final = 0.1
"""Of the pixels of two pictures of one scene that are found back; docs/geometry.md has what pairs reach."""

LEAST_ALIKE: Final = 0.25
"""Correlation of a picture with the other one as the flow brings it back, of two pictures of one scene."""


class Agreement(NamedTuple):
    """How well two pictures agree."""

    gap: Array  # (H, W) px by which there and back miss; infinite where the pixel leaves the picture
    share: float  # of the pixels that are found back
    alike: float  # correlation of the grey values where they are

    @property
    def is_one_scene(self) -> bool:
        """Whether both show one scene."""
        return self.share >= LEAST_SHARE and self.alike >= LEAST_ALIKE


def may_miss(height: int, width: int) -> float:
    """px by which there and back may miss: 2, in small pictures 1 / 160 of the longer side.

    In 64 px a place within 2 px of the right one is met by chance: 38 % of the pixels of different scenes were.
    """
    return min(CONSISTENT, max(height, width) / 160)


def agreement(first: Array, second: Array, there: Array, back: Array) -> Agreement:
    """Returns how pictures (C, H, W) agree by the flow (2, H, W) there and back."""
    gap = inconsistency(there, back)
    sure = gap <= may_miss(*gap.shape)
    return Agreement(gap, float(sure.mean()), correlation(first, second, there, sure))


def check_one_scene(found: Agreement) -> None:
    """Raises UnfitPicture if the pictures do not show one scene."""
    if not found.is_one_scene:
        raise UnfitPicture(f"and its next picture show different things, or moved too far: {found.share:.0%} of the "
                           f"pixels are found back, and their correlation is {found.alike:.2f}")


def correlation(first: Array, second: Array, flow: Array, sure: Array) -> float:
    """The correlation of grey values where flow is sure; 0 where too few are, or one of them is flat."""
    rows, columns = np.mgrid[: flow.shape[1], : flow.shape[2]].astype(np.float32)
    back = sampled(second.mean(0)[None], np.stack([columns, rows]) + flow)[0]
    one, other = first.mean(0)[sure], back[sure]
    if len(one) < 16 or min(one.std(), other.std()) < 1e-4:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
