"""migaki export RUN --out FILE.onnx"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from migaki.commands.options import parse
from migaki.stages.export import export

ABOUT = "Write the trained system in the folder RUN as ONNX, any batch size, checked against onnxruntime."


def run(words: list[str]) -> int:
    """Run the command."""
    options = parse("export", ABOUT, words, run=(Annotated[Path, tyro.conf.Positional], ...), out=(Path, ...),
                    format=(Literal["onnx"], "onnx"))
    for key, gap in export(options.run, options.out).items():
        print(f"{key}: PyTorch and onnxruntime differ by at most {gap:.2g}")
    print(f"written: {options.out}")
    return 0
