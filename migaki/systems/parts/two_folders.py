"""The folders that every refiner learns from, as options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoFolders:
    """The two folders; their sizes and counts may differ."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "estimator"}
    NAMES: ClassVar[dict[str, str]] = {"real": "photos"}

    synthetic: Path  # labelled synthetic images
    real: Path  # unlabelled photographs
    estimator: Path | None = None  # a run trained on the synthetic images, whose readings must not move

    @property
    def estimators(self) -> tuple[Path, ...]:
        """All estimators that were given."""
        return () if self.estimator is None else (self.estimator,)
