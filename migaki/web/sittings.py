"""The SQLite file of a visual Turing test, with all answers.

The file also holds the images, so that a stopped test continues with exactly the same images, whatever happens to
their folders. In one sitting one anonymous person (or one machine) sees every image once, in an order of its own. Each
answer is one transaction, which is on the disk before the page gets its reply.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import make_folder
from migaki.web.sitting_file import SCHEMA, open_file
from migaki.web.stimuli import Form, Stimulus, StimulusSet

FILE_NAME = "turing.sqlite"

_ALPHABET = "CDFHJKLMNPQRTVWXY3479"
"""Letters and digits that are hard to confuse in handwriting. Without vowels, no code is a word."""

_CHANCE = secrets.SystemRandom()
"""Draws what must be unpredictable. A seed, and with it the answers, could be guessed: most people keep the default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """The progress of a sitting."""

    code: str
    position: int
    """Index of the image to be judged next, from 0; equal to `total` at the end."""
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One judgement of one image."""

    image: int
    is_real: bool
    said_real: bool
    answered_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """All answers of one sitting, in the order in which they were given."""

    code: str
    is_machine: bool
    begun_at: float
    total: int
    answers: tuple[Answer, ...]

    @property
    def is_finished(self) -> bool:
        """Whether every image was judged."""
        return len(self.answers) == self.total


class Sittings:
    """The open file. Safe to share between threads; several processes may have it open at once."""

    def __init__(self, path: Path) -> None:
        """Open an existing file; UserError if it is missing or is not the file of such a test."""
        self.path = path
        self._lock = threading.Lock()
        if not path.is_file():
            raise UserError(f"{path}: there is no visual Turing test in this folder yet: check --out")
        self._connection, self._settings = open_file(path)

    @classmethod
    def create(cls, path: Path, stimuli: StimulusSet, settings: dict[str, str]) -> Sittings:
        """Write a new test to `path`, whole or not at all, and open it. The images are numbered in random order."""
        make_folder(path.parent)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        form, images = stimuli.form, list(stimuli.stimuli)
        _CHANCE.shuffle(images)  # an image's number then does not reveal whether it is real
        values = {**settings, "width": str(form.width), "height": str(form.height), "channels": str(form.channels),
                  "results_key": secrets.token_urlsafe(18)}
        try:
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # answers and the results' key
            connection = sqlite3.connect(partial)
            with connection:
                connection.executescript(SCHEMA)
                connection.executemany("INSERT INTO setting VALUES (?, ?)", values.items())
                connection.executemany("INSERT INTO warning VALUES (?)", [(text,) for text in stimuli.warnings])
                connection.executemany("INSERT INTO image VALUES (?, ?, ?, ?)", (
                    (number, one.is_real, one.name, zlib.compress(one.pixels.tobytes()))
                    for number, one in enumerate(images)))
            connection.close()
            partial.replace(path)
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"{path}: cannot be written ({error}): free some space or choose another --out") from error
        finally:
            partial.unlink(missing_ok=True)
        return cls(path)

    def close(self) -> None:
        """Close the file and fold the write-ahead log into it."""
        with self._lock:
            self._connection.close()

    @property
    def settings(self) -> dict[str, str]:
        """The settings of the test, as text."""
        return dict(self._settings)

    def stimuli(self) -> StimulusSet:
        """The images of the test, in the order of their numbers."""
        width, height, channels = (int(self._settings[name]) for name in ("width", "height", "channels"))
        with self._transaction() as connection:
            rows = connection.execute("SELECT is_real, name, pixels FROM image ORDER BY number").fetchall()
            warnings = connection.execute("SELECT sentence FROM warning").fetchall()
        stimuli = tuple(Stimulus(is_real=bool(is_real), name=name, pixels=self._pixels(pixels, height, width, channels))
                        for is_real, name, pixels in rows)
        return StimulusSet(form=Form(width=width, height=height, channels=channels), stimuli=stimuli,
                           warnings=tuple(text for (text,) in warnings))

    def _pixels(self, packed: bytes, *shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Returns an image of the file; UserError if it is damaged or larger than the settings allow."""
        size = math.prod(shape)
        try:
            data = zlib.decompressobj().decompress(packed, size + 1)
        except zlib.error:
            data = b""
        if len(data) != size:
            raise UserError(f"{self.path}: an image in it is damaged: restore the file or choose another --out")
        return np.frombuffer(data, np.uint8).reshape(shape)

    def begin(self) -> tuple[str, State]:
        """Begin a sitting: every image once, in an order drawn for this sitting. Returns its secret key and state.

        The order is stored in the file only, so it survives a reload or a crash and cannot be derived elsewhere.
        """
        key = secrets.token_urlsafe(24)
        with self._transaction() as connection:
            return key, _state(connection, *_seat(connection, key, is_machine=False))

    def machine(self) -> Record | None:
        """Returns the answers of the machine that has taken this test; None if none has."""
        with self._transaction() as connection:
            return _machine(connection)

    def seat_machine(self, verdicts: Sequence[bool]) -> Record:
        """Store the sitting of a machine, whole or not at all; `verdicts` are its answers by number of image.

        A machine repeats its answers, so a second sitting would add nothing: the answers of the first one are kept.
        """
        with self._transaction() as connection:
            if found := _machine(connection):
                return found
            sitting, _ = _seat(connection, secrets.token_urlsafe(24), is_machine=True)
            images = connection.execute("SELECT position, image FROM trial WHERE sitting = ?", (sitting,)).fetchall()
            connection.executemany(
                "UPDATE trial SET said_real = ?, answered_at = ? WHERE sitting = ? AND position = ?",
                [(verdicts[image], time.time(), sitting, position) for position, image in images])
            return _record(connection, sitting)

    def num_sittings(self) -> int:
        """Returns the number of sittings that were begun."""
        with self._transaction() as connection:
            return int(connection.execute("SELECT count(*) FROM sitting").fetchone()[0])

    def state(self, key: str) -> State | None:
        """Returns the progress of the sitting with this key; None if there is none."""
        with self._transaction() as connection:
            sitting = _find(connection, key)
            return None if sitting is None else _state(connection, *sitting)

    def image_at(self, key: str, position: int) -> int | None:
        """Returns the number of the image at `position`; None unless it is the image to be judged now."""
        with self._transaction() as connection:
            sitting = _find(connection, key)
            if sitting is None or _state(connection, *sitting).position != position:
                return None
            row = connection.execute("SELECT image FROM trial WHERE sitting = ? AND position = ?",
                                     (sitting[0], position)).fetchone()
            return None if row is None else int(row[0])

    def answer(self, key: str, position: int, said_real: bool) -> State | None:
        """Store an answer and return the new state; None if there is no such sitting.

        Only the first answer at the current position counts. An answer that is sent twice (after a lost reply, or from
        a second window) changes nothing and returns the current state.
        """
        with self._transaction() as connection:
            sitting = _find(connection, key)
            if sitting is None:
                return None
            if _state(connection, *sitting).position == position:
                connection.execute(
                    "UPDATE trial SET said_real = ?, answered_at = ? WHERE sitting = ? AND position = ?",
                    (said_real, time.time(), sitting[0], position))
            return _state(connection, *sitting)

    def record(self, key: str) -> Record | None:
        """Returns the answers of the sitting with this key."""
        with self._transaction() as connection:
            sitting = _find(connection, key)
            return None if sitting is None else _record(connection, sitting[0])

    def records(self) -> list[Record]:
        """Returns the answers of all sittings, in the order in which they began."""
        with self._transaction() as connection:
            ids = [row[0] for row in connection.execute("SELECT id FROM sitting ORDER BY id")]
            return [_record(connection, sitting) for sitting in ids]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # IMMEDIATE takes the write lock at the start, so values that are read inside cannot change before the write.
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _digest(key: str) -> str:
    """Returns a key's digest. Only digests are stored, so a reader of the file cannot answer for another person."""
    return hashlib.sha256(key.encode()).hexdigest()


def _new_code(taken: set[Any], is_machine: bool) -> str:
    if is_machine:
        return next(code for number in range(1, len(taken) + 2) if (code := f"machine {number}") not in taken)
    while True:
        code = "".join(secrets.choice(_ALPHABET) for _ in range(5))
        if code not in taken:
            return code


def _seat(connection: sqlite3.Connection, key: str, *, is_machine: bool) -> tuple[int, str]:
    """Add a sitting whose order is drawn now; returns its id and code."""
    taken = {code for (code,) in connection.execute("SELECT code FROM sitting")}
    code = _new_code(taken, is_machine)
    sitting = connection.execute(
        "INSERT INTO sitting (code, key_digest, is_machine, begun_at) VALUES (?, ?, ?, ?)",
        (code, _digest(key), is_machine, time.time())).lastrowid or 0
    (num_images,) = connection.execute("SELECT count(*) FROM image").fetchone()
    order = _CHANCE.sample(range(num_images), num_images)
    connection.executemany("INSERT INTO trial (sitting, position, image) VALUES (?, ?, ?)",
                           [(sitting, position, image) for position, image in enumerate(order)])
    return sitting, code


def _machine(connection: sqlite3.Connection) -> Record | None:
    ids = connection.execute("SELECT id FROM sitting WHERE is_machine ORDER BY id").fetchall()
    records = (_record(connection, sitting) for (sitting,) in ids)
    return next((record for record in records if record.is_finished), None)


def _find(connection: sqlite3.Connection, key: str) -> tuple[int, str] | None:
    row = connection.execute("SELECT id, code FROM sitting WHERE key_digest = ?", (_digest(key),)).fetchone()
    return None if row is None else (int(row[0]), str(row[1]))


def _state(connection: sqlite3.Connection, sitting: int, code: str) -> State:
    total, answered = connection.execute(
        "SELECT count(*), count(said_real) FROM trial WHERE sitting = ?", (sitting,)).fetchone()
    return State(code=code, position=answered, total=total)


def _record(connection: sqlite3.Connection, sitting: int) -> Record:
    code, is_machine, begun_at = connection.execute(
        "SELECT code, is_machine, begun_at FROM sitting WHERE id = ?", (sitting,)).fetchone()
    rows = connection.execute(
        "SELECT image, is_real, said_real, answered_at FROM trial JOIN image ON image.number = trial.image "
        "WHERE sitting = ? AND said_real IS NOT NULL ORDER BY position", (sitting,)).fetchall()
    (total,) = connection.execute("SELECT count(*) FROM trial WHERE sitting = ?", (sitting,)).fetchone()
    answers = tuple(Answer(image=image, is_real=bool(is_real), said_real=bool(said_real), answered_at=answered_at)
                    for image, is_real, said_real, answered_at in rows)
    return Record(code=code, is_machine=bool(is_machine), begun_at=begun_at, total=total, answers=answers)
