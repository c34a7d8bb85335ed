"""Opens the SQLite file of a visual Turing test. It may be damaged or hostile, so it is checked before any write."""

from __future__ import annotations

import math
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from migaki.core.errors import UserError
from migaki.core.files import explain, refuse_link

SCHEMA = """
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE image (number INTEGER PRIMARY KEY, is_real INTEGER NOT NULL, name TEXT NOT NULL,
                    pixels BLOB NOT NULL) STRICT;
CREATE TABLE warning (sentence TEXT NOT NULL) STRICT;
CREATE TABLE sitting (id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE, key_digest TEXT NOT NULL UNIQUE,
                      is_machine INTEGER NOT NULL, begun_at REAL NOT NULL) STRICT;
CREATE TABLE trial (sitting INTEGER NOT NULL REFERENCES sitting, position INTEGER NOT NULL,
                    image INTEGER NOT NULL REFERENCES image, said_real INTEGER, answered_at REAL,
                    PRIMARY KEY (sitting, position)) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
"""

_MAX_VALUES = 2**26  # of one image


def open_file(path: Path) -> tuple[sqlite3.Connection, dict[str, str]]:
    """Open the file and read its settings; UserError if it is not the file of such a test."""
    _keep_to_the_owner(path)
    try:
        connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            return connection, _checked(connection)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OverflowError, UnicodeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not the file of a visual Turing test, or damaged ({reason}): "
                        "restore it or choose another --out") from error


def _checked(connection: sqlite3.Connection) -> dict[str, str]:
    """Check the file, which may be hostile, before anything is written; returns the settings."""
    connection.execute("PRAGMA trusted_schema = OFF")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != 1:
        raise sqlite3.DatabaseError(f"version {version}")
    tables = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(SCHEMA)
        wanted = fresh.execute(tables).fetchall()
    # The schema must match exactly: a trigger or a view would run a stranger's code.
    if connection.execute(tables).fetchall() != wanted:
        raise sqlite3.DatabaseError("it has other tables")
    ((health,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
    if health != "ok":
        raise sqlite3.DatabaseError(" ".join(str(health).split())[:200])
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL: an answer survives a power cut, not only a crash of this process.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    settings: dict[str, str] = dict(connection.execute("SELECT name, value FROM setting"))
    sides = [settings.get(name, "") for name in ("width", "height", "channels")]
    if not all(re.fullmatch("[1-9][0-9]{0,4}", side) for side in sides) or (
            math.prod(map(int, sides)) > _MAX_VALUES or len(settings.get("results_key", "")) < 16):
        raise sqlite3.DatabaseError("its settings are incomplete")
    if connection.execute("SELECT count(*) FROM trial LEFT JOIN image ON image.number = trial.image "
                          "LEFT JOIN sitting ON sitting.id = trial.sitting "
                          "WHERE image.number IS NULL OR sitting.id IS NULL").fetchone() != (0,):
        raise sqlite3.DatabaseError("its answers belong to images that it does not hold")
    return settings


def _keep_to_the_owner(path: Path) -> None:
    """Check that the file and SQLite's files beside it are plain files, and make them readable by the owner only."""
    for name in (path.name, *(f"{path.name}-{part}" for part in ("wal", "shm", "journal"))):
        one = path.with_name(name)
        refuse_link(one)
        # The file is not opened here: closing it would drop the locks that SQLite holds on it in this process.
        if os.path.lexists(one) and not one.is_file():
            raise UserError(f"{one}: is no plain file: delete it or choose another --out")
        try:
            if one.exists() and one.stat().st_mode & 0o077:
                one.chmod(0o600)
        except OSError as error:
            raise explain(error, one) from error
