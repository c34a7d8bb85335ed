"""All fuzz targets by name, and the cases from which they begin."""

from __future__ import annotations

import state_targets
import targets

TARGETS = {**targets.TARGETS, **state_targets.TARGETS}


def seeds(target: str) -> list[bytes]:
    """Valid cases of every kind, from which mutations begin."""
    return (state_targets if target in state_targets.TARGETS else targets).seeds(target)
