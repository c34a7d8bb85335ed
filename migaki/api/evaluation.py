"""The figures of an evaluation, beside those that cost nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from migaki.api.show import table_html, title_html
from migaki.core.files import read_json, show
from migaki.core.judge import Findings
from migaki.report.findings import figures_table
from migaki.report.tables import cell_text


class Evaluation(dict[str, Any]):
    """Figures by name. `baseline` holds what costs nothing under the same names, `baseline_name` says what that is."""

    def __init__(self, findings: Findings, out: Path, page: Path) -> None:
        super().__init__(findings.figures)
        self.findings, self.out, self.page = findings, out, page

    @property
    def baseline(self) -> dict[str, Any]:
        """The figures of what costs nothing."""
        return self.findings.baseline

    @property
    def baseline_name(self) -> str:
        """What costs nothing: always the mean, the most frequent class, the input itself."""
        return self.findings.baseline_name

    @property
    def record(self) -> dict[str, Any]:
        """What was written as JSON."""
        found: dict[str, Any] = read_json(self.page.with_suffix(".json"))
        return found

    def _repr_html_(self) -> str:
        table = figures_table(self.findings)
        rows = [[cell_text(entry) for entry in row] for row in table.rows]
        return title_html(self.findings.title, f"page: {show(self.page)}") + table_html(table.columns, rows)
