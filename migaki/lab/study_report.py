"""The report of a study: all tables and figures of the page are also files, tables as Markdown, CSV and JSON."""

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
from migaki.report.statistics import Difference, Spread, trend_of
from migaki.report.tables import Entry, Rated, Table


class StudyReport:
    """Collects the parts of report.html in order, and also writes each table and figure to its own files.

    `outcomes` maps the arms' slugs to their results; `out` is the study's folder.
    """

    def __init__(self, out: Path, title: str, subtitle: str, *, factors: Sequence[str], measures: Sequence[Measure],
                 outcomes: Mapping[str, Outcome], timings: Sequence[Timing]) -> None:
        self.out, self.factors, self.measures = out, tuple(factors), tuple(measures)
        self.outcomes, self.timings = outcomes, timings
        self.page = Page(title, subtitle)

    # ------------------------------------------------------------------------------- what a study shows

    def section(self, title: str, *, is_folded: bool = False) -> None:
        """Begin a section; fold it if few readers need it."""
        self.page.section(title, is_folded=is_folded)

    def text(self, text: str) -> None:
        """Add paragraphs, separated by empty lines."""
        self.page.text(text)

    def numbers(self, numbers: Iterable[Number]) -> None:
        """Add key figures as cards."""
        self.page.numbers(numbers)

    def time_card(self) -> Number:
        """Returns a card with the time that all steps took."""
        return Number("time", f"{sum(t.seconds for t in self.timings) / 60:.1f} min",
                      "all steps added up, one thread each")

    def free_cards(self, slug: str, measure: Measure) -> list[Number]:
        """Returns a card with the result of a model that ignores the arm's test pictures; no card if it is unknown."""
        outcome = self[slug]
        value = outcome.free_spread(measure)
        if value is None:
            return []
        return [Number(str(outcome.free[0]["name"]), measure.text(value), "baseline: ignores the pictures")]

    def table(self, slug: str, table: Table) -> None:
        """Add a table to the page and write tables/SLUG.md, .csv and .json."""
        folder = make_folder(self.out / "tables")
        note = f"\n{table.caption}\n" if table.caption else ""
        write_text(folder / f"{slug}.md", table.markdown() + note)
        write_text(folder / f"{slug}.csv", table.csv())
        write_text(folder / f"{slug}.json", table.json())
        self.page.table(table)

    def figure(self, slug: str, image: bytes, caption: str, *, is_chart: bool = False) -> None:
        """Add a picture (PNG) to the page and write figures/SLUG.png; an enlarged chart does not show its pixels."""
        self.keep(slug, image)
        self.page.figure(image, caption, is_chart=is_chart)

    def keep(self, slug: str, image: bytes) -> None:
        """Write a picture to figures/SLUG.png only."""
        with atomic_write(make_folder(self.out / "figures") / f"{slug}.png") as file:
            file.write(image)

    def errors(self, slugs: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
        """Returns the errors (trials, N) on the test pictures by arm's name, for error curves, if an arm keeps them."""
        found = {self[slug].arm.name: self[slug].each for slug in slugs}
        return {name: errors for name, errors in found.items() if errors is not None}

    def compare(self, slug: str, arms: Sequence[str], *, measures: Sequence[Measure] | None = None,
                published: Mapping[str, float | str] | None = None, source: str = "published",
                others: Mapping[str, float | str] | None = None, caption: str = "") -> Table:
        """Add a table of arms: mean and spread over all trials of each measure, beside the published value.

        The rows below show the results of a model that ignores the pictures; arms that are worse than it are marked.

        Args:
            slug: Name of the files.
            arms: Slugs, in the order of the rows.
            measures: Columns; default: those of the study.
            published: The published value of such an arm, by slug.
            source: Heading of that column, such as "SimGAN, MPIIGaze".
            others: Published values of methods without an arm in this study, by name; they become further rows.
            caption: Text below the table.
        """
        chosen = self.measures if measures is None else tuple(measures)
        with_published = published is not None or others is not None
        rows: list[list[Entry]] = []
        for name in arms:
            outcome = self[name]
            beside: list[Entry] = [(published or {}).get(name)] if with_published else []
            rows.append([outcome.arm.name, *(_against_free(outcome, measure) for measure in chosen), *beside,
                         len(outcome.figures), outcome.arm.saw])
        none: list[Entry] = [None] if with_published else []
        rows += [[name, *values, *none, None, "nothing"] for name, values in self._free(arms, chosen)]
        rows += [[name, *(None for _ in chosen), value, None, None] for name, value in (others or {}).items()]
        table = Table(["trained on", *(measure.name for measure in chosen), *([source] if with_published else []),
                       "models", "saw of real data"], rows, f"{_USUAL} {caption}".strip())
        self.table(slug, table)
        return table

    def _free(self, arms: Sequence[str], measures: Sequence[Measure]) -> list[tuple[str, list[Spread | None]]]:
        """Returns the results of models that ignore the pictures on the arms' test sets, one row for each set."""
        rows: list[tuple[str, list[Spread | None]]] = []
        for outcome in (self[name] for name in arms):
            values = [outcome.free_spread(measure) for measure in measures]
            if any(value is not None for value in values):
                row = (str(outcome.free[0]["name"]), values)
                rows += [] if row in rows else [row]
        return rows

    def differences(self, slug: str, baseline: str, arms: Sequence[str], *, measure: Measure | None = None,
                    caption: str = "") -> Table:
        """Add a table of paired differences from `baseline`: by each factor of the study, and by picture if kept.

        The intervals (95 %, t-test) answer different questions: by refiner, whether another refiner would show the
        difference; by picture, whether other pictures of this set would show it. Trust a difference that all show.
        """
        return self.contrasts(slug, [(baseline, name) for name in arms], measure=measure, caption=caption)

    def contrasts(self, slug: str, chosen: Sequence[tuple[str, str]], *, measure: Measure | None = None,
                  caption: str = "") -> Table:
        """Do as `differences`, for any pairs of arms (first, other): other minus first."""
        shown = measure or self.measures[0]
        headings, cells = self._gaps(chosen, shown)
        rows: list[list[Entry]] = [
            [f"{self[other].arm.name} − {self[first].arm.name}", *(column[row] for column in cells)]
            for row, (first, other) in enumerate(chosen)]
        usual = "Paired: equal seeds, equal pictures. In brackets the 95 % interval of the t-test over the levels of " \
                "the factor, the other factors averaged out; of fewer than three there is none. \"Perhaps by " \
                "chance\": the interval holds zero."
        table = Table([f"difference of {shown.name}", *headings], rows, f"{usual} {caption}".strip())
        self.table(slug, table)
        return table

    def _gaps(self, chosen: Sequence[tuple[str, str]],
              shown: Measure) -> tuple[list[str], list[list[Difference | None]]]:
        """Returns headings and columns of the differences: by factor, and by picture if errors are kept."""
        found = [pairs(self[first], self[other], shown) for first, other in chosen]
        columns = {f"by {name}": [difference_by(k, one) for one in found] for k, name in enumerate(self.factors)}
        # A factor with one level shows nothing, unless there is no other.
        varied = {name: column for name, column in columns.items() if any(gap and gap.count > 1 for gap in column)}
        columns = varied or dict([next(iter(columns.items()))])
        by_picture = [difference_by_picture(self[first], self[other]) for first, other in chosen]
        if shown.key == self.measures[0].key and None not in by_picture:
            columns["by picture"] = by_picture
        return list(columns), [[gap and gap.judged(higher_is_better=shown.higher_is_better) for gap in column]
                               for column in columns.values()]

    def __getitem__(self, slug: str) -> Outcome:
        if slug not in self.outcomes:
            raise UserError(f"the study has no arm '{slug}': known are {', '.join(self.outcomes)}")
        return self.outcomes[slug]

    # ------------------------------------------------------------------------------- what the engine adds

    def write(self) -> Path:
        """Add the commands, the times and the machine; write report.html and return its path."""
        self.section("Repeat it", is_folded=True)
        self.text("Each step is a command; a step without a command is named in a comment. Finished folders are not "
                  "changed. On one machine and thread count, every repetition gives the same bits.")
        self.page.code(command_lines(self.timings))
        self.section("Time and machine", is_folded=True)
        self.table("time", time_table(self.timings))
        device = hardware.choose_device("auto")
        self.table("machine", machine_table(hardware.choose_precision("auto", device)))
        return self.page.write(self.out / "report.html")


_USUAL = "Mean ± standard deviation over the models of an arm; of two models the mean and both values."


def _against_free(outcome: Outcome, measure: Measure) -> Spread | Rated:
    """Returns an arm's figure, marked if a model that ignores the pictures does better."""
    value, free = outcome.spread(measure), outcome.free_spread(measure)
    if free is None or free.mean_text == value.mean_text:
        return value
    if trend_of(free.mean, value.mean, measure.higher_is_better) != "worse":
        return value
    return Rated(value=value, trend="worse", word=f"worse than {outcome.free[0]['name']}")
