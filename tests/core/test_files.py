"""Files are whole or absent, folders have one owner."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from migaki.core.errors import UserError
from migaki.core.files import atomic_write, digest, exclusive, explain, make_folder, read_json, write_json, write_text


def test_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    write_text(path, "first")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write(b"second")
        file.flush()
        assert path.read_text() == "first"
        raise KeyboardInterrupt
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    program = ("import os, signal, sys, pathlib; from migaki.core.files import atomic_write\n"
               "with atomic_write(pathlib.Path(sys.argv[1])) as file:\n"
               "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)")
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "file")], timeout=60)
    assert not (tmp_path / "file").exists() and [p.suffix for p in tmp_path.iterdir()] == [".partial"]


@pytest.mark.parametrize(("number", "advice"), [
    (errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota"), (errno.EACCES, "permission"), (errno.EROFS, "read-only")])
def test_a_disk_that_refuses(number: int, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    write_text(tmp_path / "old", "old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError, match=advice):
        write_text(tmp_path / "old", "new")
    assert (tmp_path / "old").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_unknown_errors_keep_their_own_words() -> None:
    assert str(explain(OSError(errno.ENODEV, "Input/output error"), "here")) == "here: Input/output error"
    assert str(explain(OSError("odd"), "here")) == "here: odd"


def test_folders_where_a_file_stands(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError):
            make_folder(path)
    assert make_folder(tmp_path / "a" / "b").is_dir() and make_folder(tmp_path / "a" / "b").is_dir()
    with pytest.raises(UserError, match="too long"):
        make_folder(tmp_path / ("x" * 300))


def test_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ä": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json") == {"ä": [1, 2.5, None]} and "ä" in (tmp_path / "a.json").read_text()
    for text in ("", "{", "[" * 100_000):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(UserError, match=r"b\.json: not valid JSON"):
            read_json(tmp_path / "b.json")
    with pytest.raises(UserError, match="no such file"):
        read_json(tmp_path / "c.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not valid JSON"):
        read_json(tmp_path / "b.json")


def test_json_has_no_infinity(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [math.inf, 1.5, {"b": math.nan}], "c": (-math.inf, 2), "d": "NaN"})
    assert read_json(tmp_path / "a.json") == {"a": [None, 1.5, {"b": None}], "c": [None, 2], "d": "NaN"}


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    program = ("import sys, pathlib; from migaki.core.errors import UserError\n"
               "from migaki.core.files import exclusive\n"
               "try:\n    with exclusive(pathlib.Path(sys.argv[1])): pass\n"
               "except UserError as error: print(error); sys.exit(3)")
    with exclusive(tmp_path / "run"):
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "run")], capture_output=True, text=True)
        assert done.returncode == 3 and "another process is writing there" in done.stdout
        # The refused one must not have opened the door for a third.
        with pytest.raises(UserError), exclusive(tmp_path / "run"):
            pass
    assert not (tmp_path / "run").exists()
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path / "run")]).returncode == 0


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    program = ("import os, signal, sys, pathlib; from migaki.core.files import exclusive\n"
               "with exclusive(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "run")], timeout=60)
    assert done.returncode == -signal.SIGKILL and (tmp_path / "run" / ".lock").exists()
    with exclusive(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").exists()


def test_digest() -> None:
    assert digest("a") == digest("a") != digest("b") and len(digest("a")) == 16


def test_a_lock_on_a_file_removed_meanwhile_binds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may remove the file between our opening and our locking it: then it must be opened anew."""
    lock, calls = fcntl.flock, []

    def late(file: IO[str], how: int) -> None:
        if not calls:
            (tmp_path / "run" / ".lock").unlink()
        calls.append(how)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with exclusive(tmp_path / "run"):
        assert len(calls) == 2 and (tmp_path / "run" / ".lock").exists()
        with pytest.raises(UserError, match="another process"), exclusive(tmp_path / "run"):
            pass


def test_a_folder_made_for_nothing_goes_again(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive(tmp_path / "new"):
        raise KeyError
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with exclusive(tmp_path / "old"):
        pass
    assert (tmp_path / "old").is_dir()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder = make_folder(tmp_path / "run" / "samples").parent
    (folder / f".checkpoint.{dead.pid}.partial").write_text("half")
    (folder / "samples" / f".000003.png.{os.getpid()}.partial").write_text("of another process of our number")
    alive = folder / f".model.onnx.{os.getppid()}.partial"
    alive.write_text("an export at work")
    with exclusive(folder):
        pass
    assert [path for path in folder.rglob("*") if path.is_file()] == [alive]
