"""docs/python.ipynb: its cells, run in their order in one namespace, as a notebook runs them; no Jupyter is needed."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_notebook_runs() -> None:
    book = json.loads((DOCS / "python.ipynb").read_text(encoding="utf-8"))
    space: dict[str, Any] = {"__name__": "notebook"}
    shown = 0
    for cell in book["cells"]:
        assert cell.get("outputs", []) == [], "the notebook is kept without what its cells showed"
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "cell", "exec"), space)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), space)
            if hasattr(value, "_repr_html_"):
                assert "<" in value._repr_html_()
                shown += 1
    assert shown == 5


def test_calls_that_the_page_names_exist() -> None:
    import migaki as mg

    text = (DOCS / "python.md").read_text(encoding="utf-8")
    for name in mg.__all__:
        assert f"mg.{name}" in text or f"`{name}`" in text or name in ("Prediction", "Evaluation")
    for name in ("apply", "predict", "evaluate", "export", "push_to_hub"):
        assert f"run.{name}" in text and callable(getattr(mg.Run, name))
