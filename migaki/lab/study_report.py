"""The report of a study: everything that goes on the page also goes into files, tables as Markdown, CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.files import atomic_write, make_folder, write_text
from migaki.lab.arms import Measure, Outcome, difference_by, difference_by_picture, pairs
from migaki.lab.chain import Timing
from migaki.lab.machine import command_lines, machine_table, time_table
from migaki.report.page import Number, Page
from migaki.report.tables import Cell, Difference, Spread, Table, spread


class StudyReport:
    """Collects the parts of report.html in order, and writes each table and figure to files of its own as well.

    `outcomes` maps the arms' slugs to what they reached; `out` is the study's folder.
    """

    def __init__(self, out: Path, title: str, subtitle: str, *, factors: Sequence[str], measures: Sequence[Measure],
                 outcomes: Mapping[str, Outcome], timings: Sequence[Timing]) -> None:
        self.out, self.factors, self.measures = out, tuple(factors), tuple(measures)
        self.outcomes, self.timings = outcomes, timings
        self.page = Page(title, subtitle)

    # ------------------------------------------------------------------------------- what a study says

    def section(self, title: str) -> None:
        """Begin a section."""
        self.page.section(title)

    def text(self, text: str) -> None:
        """Paragraphs, parted by empty lines."""
        self.page.text(text)

    def numbers(self, numbers: Iterable[Number]) -> None:
        """Key figures as cards."""
        self.page.numbers(numbers)

    def table(self, slug: str, table: Table) -> None:
        """A table: on the page and in tables/SLUG.md, .csv, .json."""
        folder = make_folder(self.out / "tables")
        note = f"\n{table.caption}\n" if table.caption else ""
        write_text(folder / f"{slug}.md", table.markdown() + note)
        write_text(folder / f"{slug}.csv", table.csv())
        write_text(folder / f"{slug}.json", table.json())
        self.page.table(table)

    def figure(self, slug: str, image: bytes, caption: str) -> None:
        """A picture (PNG): on the page and in figures/SLUG.png."""
        self.keep(slug, image)
        self.page.figure(image, caption)

    def keep(self, slug: str, image: bytes) -> None:
        """A picture in figures/SLUG.png alone."""
        with atomic_write(make_folder(self.out / "figures") / f"{slug}.png") as file:
            file.write(image)

    def errors(self, slugs: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
        """The errors of each test picture (mean over trials) by arm's name, for error curves."""
        found = {self[slug].arm.name: self[slug].errors for slug in slugs}
        return {name: errors for name, errors in found.items() if errors is not None}

    def compare(self, slug: str, arms: Sequence[str], *, measures: Sequence[Measure] | None = None,
                published: Mapping[str, float | str] | None = None, source: str = "published",
                others: Mapping[str, float | str] | None = None, caption: str = "") -> Table:
        """A table of arms: mean ± standard deviation over all trials of each measure, and the published value beside.

        Args:
            slug: Of the files.
            arms: Slugs, in the order of the rows.
            measures: Columns; default: those of the study.
            published: By slug, the value that was published for such an arm.
            source: Heading of that column, such as "SimGAN, MPIIGaze".
            others: Published values of methods that have no arm here, by name; rows below.
            caption: Below the table.
        """
        chosen = self.measures if measures is None else tuple(measures)
        columns = ["trained on", "saw of real data", "models", *(m.name for m in chosen)]
        with_published = published is not None or others is not None
        rows: list[list[Cell | Spread | Difference]] = []
        for name in arms:
            outcome = self[name]
            row: list[Cell | Spread | Difference] = [outcome.arm.name, outcome.arm.saw, len(outcome.figures)]
            row += [spread(outcome.values(measure)) for measure in chosen]
            rows.append(row + ([(published or {}).get(name)] if with_published else []))
        for name, value in (others or {}).items():
            rows.append([name, None, None, *(None for _ in chosen), value])
        table = Table([*columns, source] if with_published else columns, rows, caption)
        self.table(slug, table)
        return table

    def differences(self, slug: str, baseline: str, arms: Sequence[str], *, measure: Measure | None = None,
                    caption: str = "") -> Table:
        """A table of paired differences from `baseline`: by each factor of the study, and by picture where kept.

        The intervals (95 %, of the t-test) answer different questions: by refiner, whether another refiner would do
        it again; by picture, whether other pictures of this set would show it. Believe a difference that all show.
        """
        return self.contrasts(slug, [(baseline, name) for name in arms], measure=measure, caption=caption)

    def contrasts(self, slug: str, chosen: Sequence[tuple[str, str]], *, measure: Measure | None = None,
                  caption: str = "") -> Table:
        """As `differences`, for any pairs of arms (first, other): other minus first."""
        shown = measure or self.measures[0]
        with_pictures = shown.key == self.measures[0].key and all(
            difference_by_picture(self[a], self[b]) is not None for a, b in chosen)
        found = [pairs(self[first], self[other], shown) for first, other in chosen]
        cells = [[difference_by(factor, one) for one in found] for factor in range(len(self.factors))]
        headings = [f"by {factor}" for factor in self.factors]
        if with_pictures:
            cells.append([difference_by_picture(self[first], self[other]) for first, other in chosen])
            headings.append("by picture")
        # A factor with one level tells nothing, unless there is no other.
        told = [k for k, column in enumerate(cells) if any(cell and cell.count > 1 for cell in column)] or [0]
        columns = [f"difference of {shown.name}", *(headings[k] for k in told)]
        rows: list[list[Cell | Spread | Difference]] = [
            [f"{self[other].arm.name} − {self[first].arm.name}", *(cells[k][row] for k in told)]
            for row, (first, other) in enumerate(chosen)]
        better = "positive" if shown.higher_is_better else "negative"
        usual = f"Paired: equal seeds, equal pictures; {better} is better. In brackets the 95 % interval of the t-" \
                "test over the levels of the factor, the other factors averaged out."
        table = Table(columns, rows, f"{usual} {caption}".strip())
        self.table(slug, table)
        return table

    def __getitem__(self, slug: str) -> Outcome:
        if slug not in self.outcomes:
            raise UserError(f"the study has no arm '{slug}': known are {', '.join(self.outcomes)}")
        return self.outcomes[slug]

    # ------------------------------------------------------------------------------- what the engine adds

    def write(self) -> Path:
        """Add the commands, the times and the machine; write report.html and return its path."""
        self.section("Repeat it")
        self.text("Each step is a command; what no command does is named in a comment. A finished folder is left as it "
                  "is, and what is made is the same bits each time on one machine and thread count.")
        self.page.code(command_lines(self.timings))
        self.section("Time and machine")
        self.table("time", time_table(self.timings))
        device = hardware.choose_device("auto")
        self.table("machine", machine_table(hardware.choose_precision("auto", device)))
        return self.page.write(self.out / "report.html")
