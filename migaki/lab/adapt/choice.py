"""Which arm is chosen, and by what: agreement about the photographs, or the first half of labelled ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.files import read_json
from migaki.lab.adapt.recipes import model_folder

BY_AGREEMENT = (
    "without a real label: the arm whose models, trained with different seeds, agree most about the photographs beyond "
    "chance (Fleiss' kappa; for other labels 1 - their distance from each other / the distance between different "
    "photographs). Runs disagree about as often as they err (Jiang et al., ICLR 2022). An arm that is no better on "
    "held-out simulated pictures than a model that ignores them is out.")
BY_LABELS = (
    "by the labels of the first half of the labelled photographs, on which no arm was trained; the second half, which "
    "judges below, was not looked at.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """What is known of an arm when one is chosen; None where it was not measured."""

    slug: str
    agreement: float
    held_out: float  # the main figure on held-out simulated pictures
    first: float | None = None  # the main figure on the first half of the labelled photographs
    is_out: str = ""  # why the arm cannot be chosen
    more: Mapping[str, float] | None = None  # other figures without labels


def read_scores(slugs: Sequence[str], seeds: int, out: Path, main: str, *, higher_is_better: bool,
                has_first: bool) -> list[Scores]:
    """Read the scores of arms whose models are trained, judged and compared."""
    found = []
    for slug in slugs:
        folders = [model_folder(out, slug, number) for number in range(seeds)]
        agreement = read_json(folders[0] / "agreement" / "agreement.json")["figures"]
        records = [read_json(folder / "held_out" / "evaluation.json") for folder in folders]
        held_out = _mean(records, main)
        free = (records[0].get("costs_nothing") or {}).get("figures", {}).get(main)
        is_free = free is not None and (held_out <= free if higher_is_better else held_out >= free)
        first = [read_json(folder / "first" / "evaluation.json") for folder in folders] if has_first else []
        more = {key: float(value) for key, value in agreement.items()
                if key not in ("agreement", "count") and isinstance(value, int | float)}
        found.append(Scores(slug=slug, agreement=float(agreement["agreement"]), held_out=held_out, more=more,
                            first=_mean(first, main) if first else None,
                            is_out="no better than a model that ignores the pictures" if is_free else ""))
    return found


def _mean(records: Sequence[dict[str, Any]], main: str) -> float:
    return float(np.mean([record["figures"][main] for record in records]))


def choose(scores: Sequence[Scores], *, higher_is_better: bool, is_blind: bool = False) -> Scores:
    """Returns the arm that the rule chooses; of equal ones the first, which is the cheapest.

    `is_blind` forbids the labelled photographs.
    """
    left = [one for one in scores if not one.is_out] or list(scores)
    if left[0].first is not None and not is_blind:
        sign = 1 if higher_is_better else -1
        return max(left, key=lambda one: sign * (one.first if one.first is not None else float("nan")))
    return by_agreement(left)


def by_agreement(scores: Sequence[Scores]) -> Scores:
    """Returns the arm that would be chosen without real labels."""
    return max([one for one in scores if not one.is_out] or list(scores), key=lambda one: one.agreement)
