"""The model card of a run (README.md): front matter for model hubs, what it is, how to use it, its figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from migaki import __version__
from migaki.core.alarms import alarms
from migaki.core.cost import multiply_adds
from migaki.core.system import System, num_parameters

Figures = Mapping[str, Any]


def model_card(system: System, record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, world: int = 1,
               evaluation: Mapping[str, Any] | None = None) -> str:
    """Returns the text of the card.

    `record` is the content of config.json, `rows` are those of metrics.jsonl, `world` is the number of processes that
    took the last steps, `evaluation` the content of evaluation.json, if the run has been judged.
    """
    name = str(record["system"])
    about = (type(system).__doc__ or "").strip().split("\n")[0]
    seed = record.get("run", {}).get("seed", 0)
    lines = [*_front_matter(system, name, evaluation), "", f"# {type(system).__name__}", "", about, "",
             f"- migaki {record.get('version', __version__)}, seed {seed}, {system.config.steps} steps, "
             f"{num_parameters(system):,} parameters{_cost(system)}"]
    if world > 1:
        lines.append(f"- the last steps were taken by {world} processes, each with batches of its own")
    for field, paths in record.get("data", {}).items():
        lines.append(f"- {field}: " + ", ".join(f"`{path}`" for path in ([paths] if isinstance(paths, str) else paths)))
    lines += _usage(system, name)
    if evaluation is not None:
        lines += _judged(evaluation)
    if rows:
        lines += ["", "Means of the last logged interval of the training:", "", "| term | value |", "|---|---|"]
        lines += [f"| {key} | {value:.4g} |" for key, value in rows[-1].items() if isinstance(value, float)]
    warnings = [f"- {alarm.when}: {alarm.line}" for alarm in alarms(rows)]
    lines += ["", "The watchmen said:", "", *warnings] if warnings else []
    return "\n".join([*lines, "", "The full configuration stands in `config.json`; `report.html` shows the curves and "
                      "pictures of the training.", ""])


def _cost(system: System) -> str:
    """The multiply-adds of a prediction, of systems whose network is a choice."""
    if not hasattr(system.config, "backbone") or system.shape is None or tuple(system.inputs) != ("image",):
        return ""
    device = next((value.device for value in system.parameters()), torch.device("cpu"))
    picture, was_training = torch.zeros(1, *system.shape, device=device), system.training
    system.eval()
    try:
        total = multiply_adds(lambda: system.predict({"image": picture}))
    finally:
        system.train(was_training)
    return f", {total / 1e6:.3g} million multiply-adds a picture"


def _front_matter(system: System, name: str, evaluation: Mapping[str, Any] | None) -> list[str]:
    """YAML for model hubs. Values are written as JSON, which is YAML as well."""
    metric = system.metric()
    lines = ["---", "library_name: migaki", "license: other", "license_name: unknown",
             f"tags: {json.dumps(['migaki', 'computer-vision', 'synthetic-data', name])}"]
    if metric is not None and metric.main:
        lines.append(f"metrics: {json.dumps([metric.main])}")
    figures = _numbers(evaluation.get("figures", {})) if evaluation is not None else {}
    if figures and evaluation is not None:
        data = str(evaluation.get("data", "")).rstrip("/").rsplit("/", 1)[-1] or "a labelled folder"
        found = [{"type": key, "value": value, "name": key.replace("_", " ")} for key, value in figures.items()]
        index = [{"name": name, "results": [{
            "task": {"type": "other", "name": name}, "dataset": {"type": "imagefolder", "name": data},
            "metrics": found}]}]
        lines.append(f"model-index: {json.dumps(index)}")
    return [*lines, "---"]


def usage(system: type[System], name: str) -> list[str]:
    """Returns the commands that use a run, or repeat it; RUN stands for its folder."""
    has_metric = system.metric is not System.metric
    return [*system.next_steps, "migaki apply RUN --input PICTURES --out OUT",
            *(["migaki evaluate RUN --data LABELLED"] if has_metric else []),
            "migaki serve try RUN", "migaki export RUN --out model.onnx",
            f"migaki train {name} --config RUN/config.json --out AGAIN"]


def _usage(system: System, name: str) -> list[str]:
    """How the run is used from the command line and from Python."""
    shell = usage(type(system), name)
    python = ["import migaki as mg", 'run = mg.load("RUN")', 'run.predict("picture.png")']
    return ["", "RUN stands for this folder:", "", "```bash", *shell, "```", "", "```python", *python, "```"]


def _judged(evaluation: Mapping[str, Any]) -> list[str]:
    """The figures of an evaluation, beside what costs nothing."""
    free = evaluation.get("costs_nothing") or {}
    beside, named = _numbers(free.get("figures", {})), str(free.get("name", ""))
    lines = ["", "Judged by labels:", "", f"| measure | this run | {named or 'costs nothing'} |", "|---|---|---|"]
    return lines + [f"| {key.replace('_', ' ')} | {value:.4g} | {f'{beside[key]:.4g}' if key in beside else ''} |"
                    for key, value in _numbers(evaluation.get("figures", {})).items()]


def _numbers(figures: Any) -> dict[str, float]:
    if not isinstance(figures, Mapping):
        return {}
    return {str(key): value for key, value in figures.items() if isinstance(value, int | float)
            and not isinstance(value, bool)}
