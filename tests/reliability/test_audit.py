"""`make audit`: a report of weaknesses does not fail, an audit of nothing does and says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / ".ci" / "audit.py"


def audit(found: Path, said: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, found, said], capture_output=True, text=True)


@pytest.mark.parametrize("text", [None, "", "{}", '{"dependencies": []}', "[1]",
                                  '{"dependencies": [{"name": "a", "skip_reason": "not found"}]}'])
def test_an_audit_of_nothing_is_loud(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "said").write_text("no network\n")
    if text is not None:
        (tmp_path / "found").write_text(text)
    done = audit(tmp_path / "found", tmp_path / "said")
    assert done.returncode == 1 and "AUDIT FAILED" in done.stderr and "no network" in done.stderr


def test_weaknesses_are_a_report(tmp_path: Path) -> None:
    weak = {"name": "a", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}
    (tmp_path / "found").write_text(json.dumps({"dependencies": [weak, {"name": "b", "version": "2", "vulns": []}]}))
    (tmp_path / "said").write_text("")
    done = audit(tmp_path / "found", tmp_path / "said")
    assert done.returncode == 0 and "a 1.0: CVE-1, mended in 1.1" in done.stdout and "2 packages audited" in done.stdout
    assert "CVE-1" in (tmp_path / "said").read_text()
