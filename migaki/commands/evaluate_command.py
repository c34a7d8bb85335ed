"""migaki evaluate RUN [RUN ...] --data DIR; migaki evaluate JUDGE ... --out DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from migaki.commands.options import command_line, parse
from migaki.core.discovery import find_class, names_in
from migaki.core.files import show
from migaki.core.judge import Findings, Judge
from migaki.core.trained import load_system

ABOUT = """Judge trained runs by the labels of a folder (a restorer: by pairs, input/ and target/), or sets by a judge.

Leaves figures as JSON, tables, pictures and one page. Beside each figure stands the one that costs nothing. Of three
runs or more the mean is given with its interval."""


def run(words: list[str]) -> int:
    """Run the command."""
    judges = names_in("judges", "Judge")
    if words and words[0] in judges:
        return _judge(words[0], words[1:])
    runs, rest = _runs(words)
    if runs:
        name = "labels" if load_system(runs[0]).tiling is None else "pairs"
        return _judge(name, rest, runs)
    wide = max(map(len, judges))
    rows = "\n".join(f"  {name:<{wide}} {line}" for name, line in judges.items())
    about = f"{ABOUT}\n\nJUDGE is one of\n{rows}\n\n`migaki evaluate JUDGE --help` lists its options."
    cls = find_class("judges", "labels", Judge)
    options = parse("evaluate", about, words, run=(Annotated[Path, tyro.conf.Positional], ...),
                    out=(Path | None, None), config=cls.Config)
    load_system(options.run)  # says what is wrong with it
    return 0


def _runs(words: list[str]) -> tuple[list[Path], list[str]]:
    """The trained runs that the command line begins with, and the rest of it."""
    count = 0
    while count < len(words) and not words[count].startswith("-") and (Path(words[count]) / "config.json").is_file():
        count += 1
    if not count:  # the run may stand behind the options
        places = [place for place, word in enumerate(words) if not word.startswith("-")
                  and (Path(word) / "config.json").is_file() and not _is_value(words, place)]
        return ([Path(words[places[0]])], words[: places[0]] + words[places[0] + 1 :]) if places else ([], words)
    return [Path(word) for word in words[:count]], words[count:]


def _is_value(words: list[str], place: int) -> bool:
    """Whether a word stands right behind an option."""
    return place > 0 and words[place - 1].startswith("--") and "=" not in words[place - 1]


def _judge(name: str, words: list[str], runs: list[Path] | None = None) -> int:
    from migaki.stages.evaluate import judge_into  # brings PyTorch, which the list of names does not need

    cls = find_class("judges", name, Judge)
    if runs is None and cls.takes_runs:
        runs, words = _runs(words)
    options = parse(f"evaluate {name}", str(cls.__doc__), words, out=(Path | None, None), config=cls.Config)
    judge = cls(options.config)
    out, findings = judge_into(judge, runs or [], options.out, command=command_line())
    _print(findings)
    print(f"written: {show(out / (judge.file_name + '.html'))}")
    return 0


def _print(findings: Findings) -> None:
    from migaki.report.findings import figure_lines

    print("\n".join(figure_lines(findings)))

