"""What a judge has found, written down: JSON, the files beside it, and one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from migaki.core.files import atomic_write, make_folder, write_json
from migaki.core.judge import Findings
from migaki.report.page import Page
from migaki.report.tables import Table


def write_findings(out: Path, findings: Findings, name: str, command: str = "") -> None:
    """Write `<name>.html`, the further files and last `<name>.json` into the folder `out`."""
    make_folder(out)
    page = Page(findings.title, _judged(findings.record))
    for note in findings.notes:
        page.text(note)
    table = figures_table(findings)
    if table.rows:
        page.table(table)
    for section in findings.sections:
        if section.heading:
            page.section(section.heading)
        if section.picture is not None:
            page.figure(section.picture, section.caption)
        if section.before_after is not None:
            page.slider(*section.before_after, names=section.names, caption=section.caption)
        if section.columns:
            page.table(Table(list(section.columns), [list(row) for row in section.rows]))
    if command:
        page.section("Repeat it")
        page.code(command)
    page.write(out / f"{name}.html")
    for file_name, content in findings.files.items():
        with atomic_write(out / file_name) as file:
            file.write(content)
    baseline = {"baseline": {"name": findings.baseline_name, "figures": findings.baseline}} if findings.baseline else {}
    # Last: whoever finds it finds everything else too.
    write_json(out / f"{name}.json", {**findings.record, "figures": findings.figures, **baseline})


def figures_table(findings: Findings) -> Table:
    """The plain figures, each beside what costs nothing."""
    plain = {key: value for key, value in findings.figures.items() if not isinstance(value, list | dict)}
    rows = [[name, value, *_beside(findings.baseline, name)] for name, value in plain.items()]
    columns = ["measure", "value", *([findings.baseline_name] if findings.baseline else [])]
    return Table(columns, [[str(row[0]).replace("_", " "), *row[1:]] for row in rows])


def figure_lines(findings: Findings) -> list[str]:
    """The same for a terminal, one line a figure."""
    plain = {key: value for key, value in findings.figures.items() if not isinstance(value, list | dict)}
    lines = []
    if findings.baseline:
        lines.append(f"{'':<22} {'':<12} {findings.baseline_name}")
    for name, value in plain.items():
        beside = _beside(findings.baseline, name)
        lines.append(f"{name:<22} {_shown(value):<12} {_shown(beside[0]) if beside else ''}".rstrip())
    return lines


def _beside(baseline: Mapping[str, Any], name: str) -> list[Any]:
    return [baseline.get(name)] if baseline else []


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _judged(record: Mapping[str, Any]) -> str:
    """What was judged by what, in a line."""
    said = [f"{name.replace('_', ' ')}: {value if isinstance(value, str) else ', '.join(map(str, value))}"
            for name, value in record.items()
            if name in ("run", "data", "before", "after", "synthetic", "refined", "photos", "train", "estimators")
            and value]
    return "; ".join(said)
