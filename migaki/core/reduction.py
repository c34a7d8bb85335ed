"""Reduction: the base class of a change that makes one result of a whole set or film: a sound, a mesh."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from migaki.core.batch import Batch
from migaki.core.change import Change
from migaki.core.errors import UserError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """The pictures of a film, or of a set in its order; they can be read again."""

    path: Path
    count: int  # of pictures; 0 if unknown, approximate for a film
    rate: float  # frames a second that the film or the set says; 0 if it says none
    read: Callable[[], Iterator[Array]]  # one at a time, (C, H, W) float32 in [0, 1], all of one size
    rows: Sequence[Mapping[str, Any]] = ()  # of a set, in the order of the pictures; none of a film
    said: Mapping[str, Any] = field(default_factory=dict)  # what dataset.json says of a set


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduced:
    """The result: `files` (name to content) are written, and at last `record` as JSON with the command."""

    files: Mapping[str, bytes]
    record: Mapping[str, Any]


class Reduction(Change):
    """A change that reads all pictures and makes one result of them; `migaki apply NAME` writes it into OUT.

    A subclass names `Change` among its bases too, since the shelves are read from the source. `page` writes the page
    from the files in OUT.
    """

    stage = "migaki.stages.reduce:reduce_set"
    record_name: ClassVar[str]
    """Name of the JSON file that is written last; if it exists, so do all others."""

    first_file: ClassVar[str]
    """Name of the file that is written first; a folder that holds other files and not this one is refused."""

    of_a_film: ClassVar[bool] = True
    """Whether a set that holds films must hold one alone; false: it is a heap of pictures, such as views of a scene."""

    @abstractmethod
    def reduce(self, frames: Frames, scratch: Path, progress: Callable[[int, int], None]) -> Reduced:
        """Returns the result. `scratch` is a folder for temporary files; `progress` is called with (done, total).

        Memory must not grow with the number of pictures. Raises UserError for pictures that do not fit.
        """

    def change(self, batch: Batch, seeds: torch.Tensor) -> Batch:
        """Not for single rows."""
        raise UserError(f"{type(self).__name__} makes one result of a whole set: use `migaki apply`")
