"""migaki evaluate RUN [RUN ...] --data DIR; migaki evaluate JUDGE ... --out DIR"""

from __future__ import annotations

from pathlib import Path

from migaki.commands import help as pages
from migaki.commands.options import Single, command_line, parse
from migaki.commands.recorded import CONFIG, with_recorded
from migaki.core.discovery import names_in, reference
from migaki.core.files import show
from migaki.core.outline import docstring, load

ABOUT = """Evaluate trained runs on the labels of a folder (restorers: on pairs, input/ and target/), or apply a judge.

Writes figures as JSON, tables, pictures and one page. Each figure stands beside a baseline that needs no training. For
three or more runs the mean is given with its interval."""

_OUT = Single(kind=Path | None, about="the folder of the figures and the page; by default RUN/evaluation",
              default=None)
_RUN = Single(kind=Path, about="the folder of a trained run", operand="RUN")


def run(words: list[str]) -> int:
    """Run the command."""
    judges = names_in("judges", "Judge")
    words = with_recorded("evaluate", words, judges)
    if words and words[0] in judges:
        return _judge(words[0], words[1:])
    runs, rest = _runs(words)
    if runs:
        from migaki.core.trained import load_system

        return _judge("labels" if load_system(runs[0]).tiling is None else "pairs", rest, runs)
    about = f"{ABOUT}\n\nJUDGE is one of\n{pages.table(judges)}\n\n`migaki evaluate JUDGE --help` lists its options."
    labels = reference("judges", "labels", "Judge")
    options = parse("evaluate", about, words, also=(CONFIG,), run=_RUN, out=_OUT, config=f"{labels}.Config")
    from migaki.core.trained import load_system

    load_system(options.run)  # raises a UserError that names what is wrong with the run
    return 0


def _runs(words: list[str]) -> tuple[list[Path], list[str]]:
    """Returns the trained runs at the start of the command line, and the remaining words."""
    if {"-h", "--help", "--help-all", "--help-names"} & set(words):
        return [], words
    found, rest = _first_runs(words)
    if not found:  # the run may come after the options
        places = [place for place, word in enumerate(words) if not word.startswith("-")
                  and (Path(word) / "config.json").is_file() and not _is_value(words, place)]
        return ([Path(words[places[0]])], words[: places[0]] + words[places[0] + 1 :]) if places else ([], words)
    return found, rest


def _first_runs(words: list[str]) -> tuple[list[Path], list[str]]:
    """Returns the trained runs before all options, and the remaining words: options may have runs as values too."""
    count = 0
    while count < len(words) and not words[count].startswith("-") and (Path(words[count]) / "config.json").is_file():
        count += 1
    return [Path(word) for word in words[:count]], words[count:]


def _is_value(words: list[str], place: int) -> bool:
    """Returns whether a word directly follows an option."""
    return place > 0 and words[place - 1].startswith("--") and "=" not in words[place - 1]


def _judge(name: str, words: list[str], runs: list[Path] | None = None) -> int:
    cls = reference("judges", name, "Judge")
    found, rest = ([], words) if runs is not None else _first_runs(words)
    if rest and not rest[0].startswith("-"):  # it stands where runs stand
        from migaki.core.trained import read_record

        read_record(Path(rest[0]))  # raises a UserError that names what is wrong with the run
    options = parse(f"evaluate {name}", docstring(cls), rest, also=(CONFIG,), out=_OUT,
                    config=f"{cls}.Config")
    from migaki.report.findings import figure_lines
    from migaki.stages.evaluate import judge_into

    judge = load(cls)(options.config)
    out, findings = judge_into(judge, runs or found, options.out, command=command_line())
    print("\n".join(figure_lines(findings)))
    print(f"written: {show(out / (judge.file_name + '.html'))}")
    return 0
