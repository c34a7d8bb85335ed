"""What `apply find_copies` tells: rows, figures where the originals are known, and a page of the pairs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from migaki import __version__
from migaki.changes.find_copies import FindCopies
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Section
from migaki.core.notices import notice
from migaki.core.plural import counted
from migaki.data.copy_index import CopyIndex, Originals
from migaki.data.folder import ImageFolder
from migaki.data.sets.copy_columns import original_of
from migaki.metrics.copies import rank_found
from migaki.report.copy_pairs import Pair, framed, pairs_sheet
from migaki.stages.apply_job import ApplyJob
from migaki.stages.copy_evidence import colours_of, doubles_of

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

_SHOWN, _DOUBTFUL, _LISTED = 12, 6, 200  # pairs on the page: as pictures, those in doubt, in the table

_ABOUT: Final = (
    "One row a picture and one of its likeliest originals, in one ranking of all. The probability comes from copies of "
    "pictures of the index that were made when it was written, and from pictures without a copy there: real copies may "
    "be altered in other ways. A pair is called a copy if that is likelier than not, from the score on from which "
    "{precision:g} of the made pairs ({copies} copies, {others} others) are copies.")

_JUDGED: Final = (
    "The set says what its pictures were made from. Copies: pictures whose original is in the index. muAP: all pairs "
    "in one ranking. First: the likeliest original is the right one. Called precision and recall: of pairs that are "
    "called copies, and of the copies. Doubles of an original count as neither right nor wrong.")


@dataclass(frozen=True, slots=True)
class Match:
    """What local matching says of a pair: key points that agree, and the shared part of the picture and the original
    (x, y, width, height, px), if one was found."""

    support: int = 0
    is_mirrored: bool | None = None
    region: list[float] | None = None
    original_region: list[float] | None = None


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pictures (Q) beside their likeliest originals (K)."""

    folder: ImageFolder
    index: CopyIndex
    cosines: Floats  # (Q, K), normalised
    places: Places  # (Q, K), in the index
    scores: NDArray[np.float64]  # (Q, K), logarithm of the odds
    chances: NDArray[np.float64]
    is_copy: NDArray[np.bool_]
    matches: list[list[Match]]
    own: Places  # (Q,), where the pictures themselves are in the index; -1 for those that are not there
    level: float  # cosine from which two pictures of the index are doubles

    def order(self) -> list[tuple[int, int]]:
        """All pairs, the likeliest first."""
        flat = np.argsort(-self.scores, axis=None, kind="stable")
        return [divmod(int(one), self.scores.shape[1]) for one in flat]

    def original(self, query: int, rank: int) -> str:
        """The name of an original."""
        return self.index.names[int(self.places[query, rank])]

    def row(self, query: int, rank: int) -> dict[str, Any]:
        """One pair in plain JSON."""
        match = self.matches[query][rank]
        return {"file_name": self.folder.names[query], "original": self.original(query, rank),
                "score": round(float(self.scores[query, rank]), 4),
                "probability": round(float(self.chances[query, rank]), 4), "is_copy": bool(self.is_copy[query, rank]),
                "cosine": round(float(self.cosines[query, rank]), 4), "key_points": match.support,
                "is_mirrored": match.is_mirrored, "region": match.region, "original_region": match.original_region}


def findings_of(pairs: Pairs, config: FindCopies.Config, job: ApplyJob, pictures: Originals | None,
                truth: list[str | None]) -> Findings:
    """Returns what is written: `copies.jsonl`, the figures, and the page; `truth` are the originals, if known."""
    order = pairs.order()
    rows = "".join(json.dumps(pairs.row(*pair), ensure_ascii=False) + "\n" for pair in order)
    called = int(pairs.is_copy.any(1).sum())
    figures: dict[str, Any] = {"pictures": len(pairs.folder), "index": len(pairs.index.names), "called_copies": called}
    figures |= _judged(pairs, truth)
    known = pairs.index.about.is_copy
    notes = [f"{counted(called, 'picture')} of {len(pairs.folder):,} {'is' if called == 1 else 'are'} called a copy.",
             _ABOUT.format(precision=config.pair_precision, copies=sum(known), others=len(known) - sum(known)),
             *([_JUDGED] if truth else [])]
    sections = []
    folder = config.pictures or Path(pairs.index.about.pictures)
    chosen = _to_look_at(pairs, order)
    if pictures is None and folder.is_dir():
        with contextlib.suppress(UserError):  # it is no set of pictures any more
            pictures = Originals(folder)
    wanted = {pairs.original(*pair) for _, part in chosen for pair in part}
    if pictures is None or pictures.lacking([*wanted]) is not None:
        notes.append(f"Pictures of the index are not at {show(folder)} any more, so "
                     f"{'none' if pictures is None else 'not all'} are shown: --pictures says where they are.")
    if pictures is not None:
        frames = "" if config.verify == "none" else "; framed: the part that both share"
        caption = (f"Left the picture, right its original{frames}. Above each pair: the probability that it is a copy, "
                   "and both names.")
        for heading, part in chosen:
            left = [pair for pair in part if pictures.lacking([pairs.original(*pair)]) is None]
            if left:
                sections.append(Section(heading=heading, caption=caption, picture=pairs_sheet(
                    [_shown(pairs, pictures, *pair) for pair in left])))
    listed = f": the {_LISTED} likeliest of {len(order):,}, all in copies.jsonl" if len(order) > _LISTED else ""
    sections.append(Section(heading=f"Pairs{listed}", is_folded=True, columns=[
        "picture", "original", "probability", "copy", "cosine", "key points"], rows=[
        [row["file_name"], row["original"], row["probability"], "yes" if row["is_copy"] else "no", row["cosine"],
         row["key_points"]] for row in (pairs.row(*pair) for pair in order[:_LISTED])]))
    record = {"index": str(config.index), "data": str(job.input), "network": pairs.index.about.network,
              "pair_precision": config.pair_precision, "share": config.share, "verify": config.verify,
              "nearest": config.nearest, "version": __version__}
    return Findings(title="Copies", record=record, figures=figures, notes=notes, sections=sections,
                    files={"copies.jsonl": rows.encode("utf-8", "backslashreplace")})


def _to_look_at(pairs: Pairs, order: list[tuple[int, int]]) -> list[tuple[str, list[tuple[int, int]]]]:
    """The likeliest pairs, and those on both sides of the score from which a pair is called a copy: these want eyes.

    Where a folder was searched in its own index, two pictures are a pair once.
    """
    once: dict[tuple[int, int], tuple[int, int]] = {}
    for number, (query, rank) in enumerate(order):
        both = int(pairs.own[query]), int(pairs.places[query, rank])
        once.setdefault((min(both), max(both)) if both[0] >= 0 else (-1 - number, 0), (query, rank))
    order = list(once.values())
    called = [pair for pair in order if pairs.is_copy[pair]]
    doubted = [pair for pair in order if not pairs.is_copy[pair]]
    if not called:
        return [("The likeliest pairs, none called a copy", order[:_SHOWN])]
    edge = [("The least likely that are called copies", called[_SHOWN:][-_DOUBTFUL:]),
            ("The likeliest that are not", doubted[:_DOUBTFUL])]
    return [("The likeliest pairs", called[:_SHOWN]), *((heading, chosen) for heading, chosen in edge if chosen)]


def judgeable(folder: ImageFolder, names: Collection[str]) -> list[str | None]:
    """Returns the original of each picture, as far as it is among `names`; nothing where the set does not say them.

    Prints a notice where none of them is. UserError where only some rows have the column, and for what is no name.
    """
    if not any("reference" in row for row in folder.rows):
        return []
    said = [original_of(folder, index) for index in range(len(folder))]
    found = [name if name in names else None for name in said]
    if not any(found):
        notice(f"{show(folder.path)}: no picture has its original ('reference') in the index, so nothing is said about "
               "how many copies are found")
        return []
    return found


def _judged(pairs: Pairs, truth: list[str | None]) -> dict[str, Any]:
    """Figures of the search where the set says what its pictures were made from; see `metrics.copies`."""
    if not truth:
        return {}
    is_pair = torch.tensor([[pairs.original(query, rank) == name for rank in range(pairs.scores.shape[1])]
                            for query, name in enumerate(truth)])
    is_double = torch.from_numpy(_doubles(pairs, truth)) & ~is_pair
    # Where the original is not among the nearest, the likeliest of its doubles stands for it.
    likeliest = torch.from_numpy(pairs.scores).masked_fill(~is_double, -torch.inf).argmax(1, keepdim=True)
    stands = ~is_pair.any(1, keepdim=True) & is_double & (torch.arange(is_double.shape[1]) == likeliest)
    is_pair, is_double = is_pair | stands, is_double & ~stands
    count = sum(name is not None for name in truth)
    found = rank_found(torch.from_numpy(pairs.scores).masked_fill(is_double, -torch.inf), is_pair, count)
    called = torch.from_numpy(pairs.is_copy) & ~is_double
    right, taken = int((is_pair & called).sum()), int(called.sum())
    return {"copies": count, "micro_ap": found.micro_ap, "recall_at_90_precision": found.recall, "first": found.first,
            **({"called_precision": right / taken} if taken else {}), "called_recall": right / count}


def _doubles(pairs: Pairs, truth: list[str | None]) -> NDArray[np.bool_]:
    """Which pairs (Q, K) are of a picture and a double of its original: neither right nor wrong."""
    rows, known = pairs.index.descriptors, {name: place for place, name in enumerate(pairs.index.names)}
    found = np.zeros(pairs.places.shape, bool)
    for query, name in enumerate(truth):
        if name is not None:
            found[query] = doubles_of(known[name], pairs.places[query], rows, pairs.level)
    return found


def _shown(pairs: Pairs, pictures: Originals, query: int, rank: int) -> Pair:
    match, original = pairs.matches[query][rank], pairs.original(query, rank)
    names = [Path(name).name for name in (pairs.folder.names[query], original)]
    return Pair(framed(colours_of(pairs.folder.file(query)), match.region),
                framed(colours_of(pictures.file(original)), match.original_region),
                (f"{pairs.chances[query, rank]:.1%}  {names[0]}", names[1]))
