"""What `apply` does for the frames of films: one draw a film, and measured numbers that change slowly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.folder import ImageFolder
from migaki.data.sets.clips import CLIP, Clips, averaged, clips_of
from migaki.stages.apply_job import ApplyJob


@dataclass(frozen=True, slots=True)
class InFilms:
    """The films of a job's set. Place p is variant p mod `variants` of row p // `variants`."""

    clips: Clips | None
    variants: int
    spread: float  # standard deviation in frames over which measured numbers are averaged; 0 = not at all

    @classmethod
    def of(cls, folder: ImageFolder, job: ApplyJob, *, measures: bool) -> InFilms:
        """The films of `folder`; `measures` tells whether what is applied measures numbers at all."""
        if job.smooth < 0:
            raise UserError(f"--smooth {job.smooth}: give a number of frames, or 0 for frames by themselves")
        return cls(clips_of(folder.rows, show(folder.path)), job.variants, job.smooth if measures else 0.0)

    @property
    def info(self) -> dict[str, Any]:
        """What dataset.json says of it; nothing for a set without films."""
        return {} if self.clips is None else {"films": len(self.clips.films), "smooth": self.spread}

    def origin(self, place: int) -> int:
        """The place whose random draws count for `place`: the same variant of its film's first frame."""
        if self.clips is None:
            return place
        row, variant = divmod(place, self.variants)
        return self.clips.first(row) * self.variants + variant

    def steady(self, places: list[int], measure: Callable[[list[int]], Batch]) -> Batch:
        """Returns the numbers that `measure` finds around these places, averaged over time; none without films."""
        if self.clips is None or self.spread <= 0:
            return {}
        wanted = []
        for place in places:
            row, variant = divmod(place, self.variants)
            near = self.clips.around(row, self.spread)
            wanted.append({other * self.variants + variant: weight for other, weight in near.items()})
        needed = sorted(set().union(*wanted))
        measured = measure(needed)
        return averaged(measured, needed, wanted) if measured else {}

    def columns(self, place: int, row: Mapping[str, Any]) -> dict[str, Any]:
        """The columns that tell the films of several variants apart; `row` is the carried row."""
        if self.clips is None or self.variants == 1 or row.get(CLIP) is None:
            return {}
        return {CLIP: f"{row[CLIP]}_{place % self.variants}"}
