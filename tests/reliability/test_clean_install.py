"""The report on a clean installation: what works, what failed, and what could not be tried, told apart."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from migaki.cli import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("clean_install", ROOT / ".ci" / "clean_install.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("command", "said", "code", "word"), [
    (["pip", "install", "."], "NewConnectionError: [Errno -3] Temporary failure in name resolution", 0, "NOT TRIED"),
    (["pip", "install", "."], "timed out: 5 s are over", 0, "NOT TRIED"),
    (["pip", "install", "."], "error: metadata-generation-failed", 1, "FAILED"),
    (["migaki", "list"], "ImportError: cannot import name 'x' from 'torch'; timed out", 1, "FAILED"),
])
def test_failures_are_told_apart(script: ModuleType, command: list[str], said: str, code: int, word: str,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    assert script.verdict(command, said) == code
    assert word in capsys.readouterr().err


def test_the_steps_are_commands_of_ours(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    """Each step runs in the end: here with programs that only write down how they were called."""
    called: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        called.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(script.subprocess, "run", run)
    assert script.main(["--seconds", "30"]) == 0
    assert "works without constraints" in capsys.readouterr().out
    assert called[1][1:] == ["install", "--quiet", "--disable-pip-version-check", str(ROOT)]
    assert not any("constraints" in word for command in called for word in command)
    ours = [command[1:] for command in called if command[0].endswith("migaki")]
    monkeypatch.undo()
    for words in ours[2:]:  # as the installed program would be called
        words = [word.replace(str(Path(ours[2][-1]).parent), str(tmp_path)) for word in words]
        assert main(words) == 0


def test_time_ends_it(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(command: list[str], **options: float) -> subprocess.CompletedProcess[str]:
        if "install" in command:
            raise subprocess.TimeoutExpired(command, options["timeout"])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(script.subprocess, "run", run)
    assert script.main(["--seconds", "1"]) == 0 and "NOT TRIED" in capsys.readouterr().err
