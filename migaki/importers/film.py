"""Films: every frame of a file, or every n-th, as a set whose column `clip` keeps them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.video import VIDEO_EXTENSIONS, frames_of
from migaki.importers.annotations import plain_files
from migaki.importers.importer import Array, Importer, Row, check_option


class _Shot(NamedTuple):
    """One frame of a film."""

    film: Path
    name: str  # of the film, in the new set
    number: int  # of the frame, from 0


class Film(Importer):
    """`migaki import film FILE --out DIR`: the frames of a film, or of all films in a folder, as pictures.

    Columns: `clip`, the film's name, and `frame`, the number of the frame. Needs `migaki[video]`.
    """

    licence = "that of the film"
    source = "a film of the user's"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Which frames to take."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "every limit"}

        every: int = 1  # take every n-th frame
        limit: int = 0  # frames of each film at most, from its start; 0 = all

        def __post_init__(self) -> None:
            check_option("film", "--every", self.every, 1)
            check_option("film", "--limit", self.limit, 0)

    config: Config
    _place: tuple[Path, int] | None = None  # the film that is being read, and the frames that have been
    _frames: Iterator[Array] | None = None

    @classmethod
    def recognises(cls, path: Path) -> str:
        """A file with the ending of a film."""
        return f"a film: {show(path.name)}" if path.is_file() and path.suffix.lower() in VIDEO_EXTENSIONS else ""

    def find(self, path: Path) -> Sequence[_Shot]:
        """The frames of the films in order; each film is read once to count them."""
        films = [path] if path.is_file() else plain_files(path, *sorted(VIDEO_EXTENSIONS))
        if not films:
            raise UserError(f"{show(path)}: holds no film ({', '.join(sorted(VIDEO_EXTENSIONS))}): give one")
        config, found = self.config, list[_Shot]()
        for film in films:
            count = sum(1 for _ in frames_of(film))
            numbers = range(0, count, config.every)[: config.limit or None]
            found += [_Shot(film, film.name if len(films) > 1 else film.stem, number) for number in numbers]
        return found

    def load(self, entry: _Shot) -> tuple[str, Array, Row]:
        """One frame; films are read on from the last frame where that is possible."""
        if self._frames is None or self._place is None or self._place[0] != entry.film or self._place[1] > entry.number:
            self._frames, self._place = frames_of(entry.film), (entry.film, 0)
        for pixels in self._frames:
            self._place = (entry.film, self._place[1] + 1)
            if self._place[1] == entry.number + 1:
                return f"{entry.name}/{entry.number:06d}", pixels, {"clip": entry.name, "frame": entry.number}
        raise UserError(f"{show(entry.film)}: ended before frame {entry.number}: it changed while it was read")
