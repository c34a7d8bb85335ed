"""What `make audit` found: the table of known weaknesses, or, loudly and with exit code 1, that nothing was audited.

    python .ci/audit.py audit.json audit.txt

audit.json is what pip-audit wrote, audit.txt what it and pip said on the way; the table is added to the latter.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(found: Path, said: Path) -> int:
    """Report; 1 if no package was audited."""
    try:
        packages = json.loads(found.read_text(encoding="utf-8"))["dependencies"]
        audited = [package for package in packages if "vulns" in package]
        rows = [f"{package['name']} {package['version']}: {weakness['id']}, mended in "
                f"{', '.join(weakness['fix_versions']) or 'no version yet'}"
                for package in audited for weakness in package["vulns"]]
    except (OSError, ValueError, KeyError, TypeError):
        audited, rows = [], []
    if not audited:
        print("".join(said.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[-20:]),
              file=sys.stderr)
        print("AUDIT FAILED: no dependency was audited (is there a network? can pip-audit be installed?). This says "
              "nothing about their safety.", file=sys.stderr)
        return 1
    lines = [*rows, f"{len(audited)} packages audited, {len(rows)} known weaknesses"]
    with open(said, "a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
