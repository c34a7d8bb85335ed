"""`python -m migaki` in processes of their own that need not load PyTorch: forked from one that has loaded it.

The server imports libraries of others alone, so that each command finds nothing of ours imported and nothing cached,
as if the user had started it. What a command says goes into files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Not onnxruntime: it starts threads, which a forked process cannot end.
LIBRARIES = ("torch", "torch._dynamo", "matplotlib.pyplot", "PIL.Image", "safetensors.torch", "scipy.ndimage", "tyro",
             "rich.console")

_SERVER = """
import importlib, json, os, runpy, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError:  # of an extra that is not installed
        pass
assert not [name for name in sys.modules if name.split(".")[0] == "migaki"]
for line in sys.stdin:
    task = json.loads(line)
    child = os.fork()
    if not child:
        for number, name in enumerate(("/dev/null", task["said"], task["complained"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
        os.environ.update(task["environment"])
        sys.argv = ["migaki", *task["words"]]
        runpy.run_module("migaki", run_name="__main__", alter_sys=True)
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class CommandServer:
    """Runs commands one after the other; end it with `close`."""

    def __init__(self, checkout: Path) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", _SERVER, *LIBRARIES], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(checkout)})

    def run(self, *words: object, environment: Mapping[str, str]) -> tuple[int, str, str]:
        """Run `migaki WORDS` with these environment variables besides: exit code, what it said, what it complained."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            task: dict[str, Any] = {"words": [str(word) for word in words], "environment": dict(environment)}
            task |= {name: str(Path(folder) / name) for name in ("said", "complained")}
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()
            code = int(self.process.stdout.readline())
            return code, *(Path(task[name]).read_text("utf-8") for name in ("said", "complained"))  # type: ignore[return-value]

    def close(self) -> None:
        """End the server."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(60) == 0
