"""Options of an earlier call of `apply` or `evaluate`, taken from the command line that its record holds."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from migaki.commands.recipes import taken
from migaki.core.errors import UserError
from migaki.core.files import read_json, show
from migaki.core.outline import Option

CONFIG = Option(name="config", field="config", kind="FILE", default="", group="usual",
                about="what an earlier call wrote (dataset.json, evaluation.json): its options are the defaults")

_FILES = {"apply": "dataset.json", "evaluate": "evaluation.json"}
_OWN = frozenset(("out", "resume"))  # options that belong to one call alone


def with_recorded(verb: str, words: list[str], named: Collection[str]) -> list[str]:
    """Returns the words with `--config FILE` replaced by the options that the file's call was given.

    Options among the words go before those of the file, and so do the words before them (a run, a change, a judge).
    --out is never taken over. `named` are the changes or judges, which have options of their own. Paths are taken as
    they stand. Raises UserError for a file that records no call of `migaki VERB`, or one of another change or judge.
    """
    given, left = taken("config", words)
    if given is None:
        return words
    path = Path(given) / _FILES[verb] if Path(given).is_dir() else Path(given)
    if not path.is_file():
        raise UserError(f"--config {show(given)}: no such file: give the {_FILES[verb]} that `migaki {verb}` wrote")
    record = read_json(path)
    command = record.get("command") if isinstance(record, dict) else None
    try:
        found = shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        found = []
    if found[:2] != ["migaki", verb]:
        raise UserError(f"--config {show(path)}: records no call of `migaki {verb}`: give the {_FILES[verb]} that one "
                        "wrote on the command line")
    known, groups = _parts(found[2:])
    own, others = _parts(left)
    for what, other in ((known, own), (own, known)):
        if own and known and what[0] in named and what[0] != other[0]:
            raise UserError(f"--config {show(path)}: written by `migaki {verb} {show(known[0])}`, which has other "
                            f"options than `migaki {verb} {show(own[0])}`")
    spoken = {_name(group[0]) for group in others} | _OWN
    kept = [word for group in groups if _name(group[0]) not in spoken for word in group]
    return [*(own or known), *kept, *(word for group in others for word in group)]


def _parts(words: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Returns the words before all options, and each option with its values."""
    first: list[str] = []
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("--"):
            groups.append([word])
        elif groups:
            groups[-1].append(word)
        else:
            first.append(word)
    return first, groups


def _name(word: str) -> str:
    return word.split("=", 1)[0].removeprefix("--").removeprefix("no-")
