"""Writes a judge's findings: JSON, further files and one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from migaki.core.files import atomic_write, make_folder, write_json
from migaki.core.judge import Findings
from migaki.report.page import Number, Page
from migaki.report.statistics import trend_of
from migaki.report.tables import Entry, Rated, Table


def write_findings(out: Path, findings: Findings, name: str, command: str = "") -> None:
    """Write `<name>.html`, the further files and last `<name>.json` into the folder `out`."""
    make_folder(out)
    page = Page(findings.title, _judged(findings.record))
    for note in findings.notes:
        page.text(note)
    page.numbers(_cards(findings))
    table = figures_table(findings)
    if table.rows:
        page.table(table)
    for section in findings.sections:
        if section.heading:
            page.section(section.heading, is_folded=section.is_folded)
        if section.picture is not None:
            page.figure(section.picture, section.caption, is_chart=section.is_chart)
        if section.pair is not None:
            page.pair(*section.pair, section.caption, names=section.names, is_chart=section.is_chart)
        if section.columns:
            page.table(Table(list(section.columns), [list(row) for row in section.rows]))
    if command:
        page.section("Repeat it", is_folded=True)
        page.code(command)
    page.write(out / f"{name}.html")
    for file_name, content in findings.files.items():
        with atomic_write(out / file_name) as file:
            file.write(content)
    plain = {key: value for key, value in findings.baseline.items() if not isinstance(value, list | dict)}
    free = {"name": findings.baseline_name, "figures": plain} if findings.baseline else None
    # Written last: if this file exists, all others do too.
    write_json(out / f"{name}.json", {**findings.record, **({"command": command} if command else {}),
                                      "figures": findings.figures, "costs_nothing": free})


_MAIN = {"mean_deg": ("mean error", "{:.2f}°"), "within_7_deg": ("within 7 degrees", "{:.1%}"),
         "accuracy": ("accuracy", "{:.1%}"), "mean_px": ("mean error", "{:.2f} px"),
         "relative_error": ("error relative to always the mean", "{:.1%}"),
         "mean_average_precision": ("mean average precision", "{:.1%}"),
         "within_5_px": ("landmarks within 5 px", "{:.1%}"), "psnr": ("PSNR", "{:.2f} dB"), "ssim": ("SSIM", "{:.4f}"),
         "miou": ("mean IoU", "{:.1%}"), "micro_ap": ("muAP", "{:.3f}"),
         "neighbours": ("right by neighbours", "{:.1%}")}
"""The figures that stand at the head of the page, with their names and forms."""


_HIGHER = ("iou", "mean_average_precision", "recall", "first")
_HIGHER_STARTS = ("psnr", "ssim", "pck_", "accuracy", "micro_ap", "probe_", "frozen_", "tuned_", "supervised_",
                  "neighbours")


def _higher_is_better(key: str) -> bool | None:
    """Returns whether a higher figure is better; None for a count, a bias or a slope."""
    if key.startswith(_HIGHER_STARTS) or "within_" in key or "miou" in key or key in _HIGHER or \
            key.endswith(("accuracy", "_r2", "_within", "_neighbours")):
        return True
    ends = ("mean_deg", "median_deg", "mean_px", "median_px", "spectral_angle", "_kid", "_told_apart", "_mae", "_rmse",
            "relative_error")
    return False if key.endswith(ends) else None


def _cards(findings: Findings) -> list[Number]:
    cards = []
    for key, (name, form) in _MAIN.items():
        if findings.figures.get(key) is None:
            continue
        value, plain = findings.figures[key], findings.baseline.get(key)
        better = _higher_is_better(key)
        if plain is None or better is None:
            cards.append(Number(name, form.format(value)))
            continue
        cards.append(Number(name, form.format(value), f"{findings.baseline_name}: {form.format(plain)}",
                            trend_of(plain, value, better)))
    return cards


def figures_table(findings: Findings) -> Table:
    """Returns a table of all single figures beside the baseline's; a figure worse than the baseline is marked."""
    rows: list[list[Entry]] = []
    for key, value in findings.figures.items():
        if isinstance(value, list | dict):
            continue
        plain, better = findings.baseline.get(key), _higher_is_better(key)
        shown: Entry = value
        if better is not None and plain is not None and value is not None and trend_of(plain, value, better) == "worse":
            shown = Rated(value=value, trend="worse")
        rows.append([key.replace("_", " "), shown, *([plain] if findings.baseline else [])])
    if not findings.baseline:
        return Table(["measure", "value"], rows)
    return Table(["measure", "value", findings.baseline_name], rows)


def figure_lines(findings: Findings) -> list[str]:
    """Returns the same for a terminal, one line per figure."""
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
    """Returns one line that names what was judged, and on which data."""
    said = [f"{name.replace('_', ' ')}: {value if isinstance(value, str) else ', '.join(map(str, value))}"
            for name, value in record.items()
            if name in ("run", "data", "before", "after", "synthetic", "refined", "photos", "train", "estimators")
            and value]
    return "; ".join(said)
