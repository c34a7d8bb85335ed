"""The page of a training run: its data, curves, pictures, warnings, commands and configuration.

It contains no times, so that equal runs leave equal pages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from migaki.core.alarms import alarms
from migaki.core.discovery import find_class, names_in
from migaki.core.files import open_plain, show
from migaki.core.log import read_rows
from migaki.core.model_card import usage
from migaki.core.system import System
from migaki.core.terms import meaning
from migaki.core.trained import read_record
from migaki.report.curves import curve_panels
from migaki.report.page import Page
from migaki.report.tables import Entry, Table

MOST_SHEETS: Final = 6
"""Contact sheets on the page: the first, the last, and some between."""

_LARGEST_SHEET = 2**24  # bytes
_CARDS = 4  # terms at the head of the page


def write_run_report(run: Path) -> Path:
    """Write `report.html` into the folder of a run; returns its path. Raises UserError for a folder that is no run."""
    return run_page(run).write(run / "report.html")


def run_page(run: Path) -> Page:
    """Returns the page of a run, finished or not. Raises UserError for a folder that is no run."""
    record, rows = read_record(run), read_rows(run / "metrics.jsonl")
    system = str(record["system"])
    page = Page(f"Training {system}", names_in("systems", "System").get(system, ""))
    page.numbers(_cards(run, record, rows))
    warnings = alarms(rows)
    for alarm in warnings:
        page.warning(f"{alarm.line} ({alarm.when})")
    if rows:
        page.section("Curves")
        page.text("Means of each interval over the steps. The terms are explained below.")
        page.charts(curve_panels(rows))
        if not warnings:
            page.text("There were no warnings.")
    _pictures(page, run)
    if rows:
        page.section("Terms", is_folded=True)
        page.table(_terms(rows))
    page.section("Use it", is_folded=True)
    page.text("RUN stands for the folder of this run.")
    page.code(usage(find_class("systems", system, System), system))
    page.section("Configuration", is_folded=True)
    page.code(json.dumps(record, indent=2, ensure_ascii=False))
    return page


def _cards(run: Path, record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    steps, done = record.get("config", {}).get("steps", 0), rows[-1]["step"] if rows else 0
    state = "finished" if (run / "model.safetensors").is_file() else "not finished"
    options = record.get("run", {})
    cards = [("steps", f"{done:,}", f"of {steps:,}, {state}" if isinstance(steps, int) else state),
             ("precision", str(options.get("precision", "")), f"seed {options.get('seed', 0)}")]
    figures = {name: value for name, value in (rows[-1].items() if rows else ()) if isinstance(value, float)
               and not name.endswith("/skipped")}
    cards += [(name.replace("_", " "), f"{value:.4g}", "mean of the last interval")
              for name, value in list(figures.items())[:_CARDS]]
    return cards


def _pictures(page: Page, run: Path) -> None:
    """Add the contact sheets; a file that cannot be read, or is too large, is left out."""
    # held_out.png, the curve of the held-out figures, stands among the curves of this page already.
    files = sorted(file for file in (run / "samples").glob("*.png") if file.stem.isdecimal())
    count = min(MOST_SHEETS, len(files))
    chosen = [files[round(place * (len(files) - 1) / max(1, count - 1))] for place in range(count)]
    sheets = [(file, content) for file in chosen if (content := _content(file))]
    if not sheets:
        return
    page.section("Pictures")
    last = sheets.pop()
    page.figure(last[1], _step(last[0]))
    if sheets:
        page.section("Earlier pictures", is_folded=True)
        for file, content in reversed(sheets):
            page.figure(content, _step(file))


def _content(file: Path) -> bytes:
    try:
        with open_plain(file) as opened:
            content = opened.read(_LARGEST_SHEET + 1)
    except OSError:
        return b""
    return content if len(content) <= _LARGEST_SHEET and content.startswith(b"\x89PNG\r\n\x1a\n") else b""


def _step(file: Path) -> str:
    return "Before the first step." if not file.stem.strip("0") else f"After step {show(file.stem.lstrip('0'))}."


def _terms(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns a table with the first and the last mean of each term, and its meaning."""
    lines: list[list[Entry]] = []
    for name in dict.fromkeys(name for row in rows for name in row if name not in ("step", "watch")):
        values = [row[name] for row in rows if name in row]
        lines.append([name, float(values[0]), float(values[-1]), meaning(name)])
    return Table(["term", "first mean", "last mean", "what it is"], lines)
