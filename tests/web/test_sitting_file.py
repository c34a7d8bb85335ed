"""The file of a test is the owner's alone, and one that is damaged or a stranger's is refused in one line."""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from refusals import message

from migaki.web.serving import tell_at_once
from migaki.web.sittings import FILE_NAME, Sittings
from migaki.web.turing import TuringConfig, open_test


@pytest.fixture
def path(config: TuringConfig) -> Path:
    open_test(config).close()
    return config.out / FILE_NAME


def test_nobody_else_reads_answers_and_key(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)  # of an earlier version
    sittings = Sittings(path)
    sittings.begin()
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    sittings.close()


def test_links_are_printed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[object] = []
    monkeypatch.setattr("builtins.print", lambda *_, flush=False: flushed.append(flush))
    tell_at_once("a link")
    assert flushed == [True]


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("spoil", [
    lambda path: change(path, "DELETE FROM setting WHERE name = 'results_key'"),
    lambda path: change(path, "UPDATE setting SET value = '' WHERE name = 'results_key'"),
    lambda path: change(path, "UPDATE setting SET value = 'wide' WHERE name = 'width'"),
    lambda path: change(path, "UPDATE setting SET value = '99999'"),
    lambda path: change(path, "CREATE TRIGGER t AFTER INSERT ON trial BEGIN DELETE FROM trial; END"),
    lambda path: change(path, "DROP TABLE warning", "CREATE VIEW warning AS SELECT 'x' AS sentence"),
    lambda path: change(path, "DROP TABLE image"),
    lambda path: change(path, "INSERT INTO sitting VALUES (1, 'A', 'b', 0, 0)",
                        "INSERT INTO trial VALUES (1, 0, 99, 1, 0)"),
    lambda path: path.write_bytes(path.read_bytes()[:5000] + b"\xff" * 3000),
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes()[:4096]),
    lambda path: (path.unlink(), os.mkfifo(path)),
    lambda path: (path.unlink(), path.mkdir()),
    lambda path: (path.rename(path.with_name("elsewhere")), path.symlink_to(path.with_name("elsewhere"))),
    lambda path: path.with_name(f"{FILE_NAME}-wal").symlink_to(path.with_name("elsewhere")),
    lambda path: os.mkfifo(path.with_name(f"{FILE_NAME}-wal")),
], ids=["no key", "empty key", "width", "too large", "trigger", "view", "table", "images", "middle", "empty", "short",
        "pipe", "folder", "link", "linked log", "piped log"])
def test_a_file_of_another_kind_is_refused(path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(path)
    assert str(path) in message(lambda: Sittings(path)) and not path.with_name("elsewhere-wal").exists()


@pytest.mark.parametrize("pixels", [b"", b"rubbish", zlib.compress(b"\0" * 10), zlib.compress(b"\0" * 10**7)])
def test_a_damaged_image_is_refused(path: Path, pixels: bytes) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE image SET pixels = ? WHERE number = 0", (pixels,))
    connection.commit()
    connection.close()
    sittings = Sittings(path)
    assert "an image in it is damaged" in message(sittings.stimuli)
    sittings.close()
