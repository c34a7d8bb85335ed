"""apply find_copies: the likeliest originals of a set's pictures among those of an index."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from migaki import __version__
from migaki.changes.find_copies import FindCopies
from migaki.core import engine
from migaki.core.errors import UserError
from migaki.core.files import exclusive, make_folder, show
from migaki.core.judge import Findings, Section
from migaki.core.progress import Bar
from migaki.data.copy_index import CopyIndex, open_index, picture_of
from migaki.data.folder import ImageFolder
from migaki.metrics.copies import rank_found
from migaki.metrics.copy_probability import Calibration, fit_calibration, threshold_of
from migaki.nets.picture_network import open_describer
from migaki.ops.local_match import opencv, region
from migaki.ops.nearest import Engine, nearest
from migaki.report.copy_pairs import Pair, as_picture, pairs_sheet
from migaki.report.findings import write_findings
from migaki.stages.apply_job import ApplyJob
from migaki.stages.copy_evidence import (
    RIVALS,
    Describing,
    Pictured,
    colours_of,
    refuse_options,
    unit,
    usual_likeness,
)

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

_SHARD: Final = 2**18  # rows of the index that one worker searches at a time
_SHOWN, _LISTED = 24, 200  # pairs on the page, as pictures and in the table
_KEPT = 256  # originals whose key points are kept in memory

_ABOUT: Final = (
    "One row a picture and one of its likeliest originals, in one ranking of all. The probability comes from copies of "
    "pictures of the index that were made when it was written, and from pictures without a copy there: real copies may "
    "be altered in other ways. A pair is called a copy from the score on from which {precision:.0%} of the made pairs "
    "are copies.")


def search(name: str, change: FindCopies, job: ApplyJob, *, command: str = "", quiet: bool = False) -> Path:
    """Search the index for the originals of the pictures of `job.input`, and write `job.out`.

    UserError in one line for whatever does not fit, before anything is written.
    """
    config = change.config
    refuse_options(name, job)
    index, folder = open_index(config.index), ImageFolder(job.input)
    calibration, threshold = _calibration(index, config)
    describing = _describing(index, config)
    pictures = _pictures(index, config) if config.verify == "sift" else None
    queries = unit(describing.rows(folder, job, "describing", quiet))
    near, found = _nearest(index, queries, max(config.nearest, RIVALS + 1), config.search, job)
    usual = usual_likeness(queries, near, index.background)
    near, found = near[:, : config.nearest] - usual[:, None], found[:, : config.nearest]
    matches = _matches(folder, index, pictures, found, quiet)
    cosines = near.astype(float).ravel()
    support = np.array([one.support for row in matches for one in row], float)
    logits = calibration.logits(cosines, support)
    pairs = Pairs(folder, index, near, found, logits.reshape(near.shape),
                  calibration.probability(cosines, support, config.share).reshape(near.shape),
                  (logits >= threshold).reshape(near.shape), matches)
    make_folder(job.out)
    with exclusive(job.out):
        write_findings(job.out, _findings(pairs, config, job, pictures), "copies", command)
    return job.out


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


# ------------------------------------------------------------------------------------------------- what is needed

def _calibration(index: CopyIndex, config: FindCopies.Config) -> tuple[Calibration, float]:
    """How evidence becomes a probability, and the score from which pairs are called copies."""
    about = index.about
    if config.verify == "sift":
        opencv()
        if not about.support:
            raise UserError(f"{show(index.path)}: was made with --verify none: give --verify none here too, or make it "
                            "again")
    cosine = np.array(about.cosine, float)
    support = np.array(about.support, float) if config.verify == "sift" else np.zeros(len(cosine))
    is_copy = np.array(about.is_copy, bool)
    try:
        found = fit_calibration(cosine, support, is_copy)
    except ValueError as error:
        raise UserError(f"{show(index.path)}: knows no pairs to tell copies by: make it again with `migaki apply "
                        "index`") from error
    return found, threshold_of(found.logits(cosine, support), is_copy, config.precision)


def _describing(index: CopyIndex, config: FindCopies.Config) -> Describing:
    """The network of the index; UserError for another one."""
    describer = open_describer(config.model or index.about.model)
    if describer.identity != index.about.network:
        raise UserError(f"{show(index.path)}: was made by another network ({show(index.about.network)}, and "
                        f"{show(config.model or index.about.model)} is {describer.identity}): make it again with "
                        "`migaki apply index`, or give its network as --model")
    return Describing(describer, index.about.size, index.about.whole, config.store)


def _pictures(index: CopyIndex, config: FindCopies.Config) -> Path:
    folder = config.pictures or Path(index.about.pictures)
    if not folder.is_dir():
        raise UserError(f"{show(folder)}: the pictures of {show(index.path)} are not there any more: give their folder "
                        "as --pictures, or --verify none")
    return folder


# ------------------------------------------------------------------------------------------------- the search

@dataclass(frozen=True, kw_only=True, slots=True)
class SearchTask(engine.Task[tuple[Floats, Places]]):
    """Searches a part of an index: the two numbers of a chunk are its first row and the one behind the last."""

    index: Path
    queries: Path  # .npy
    count: int
    search: Engine

    def open(self) -> Callable[[list[int]], tuple[Floats, Places]]:
        """Open both as memory maps."""
        rows, queries = open_index(self.index).descriptors, np.load(self.queries, mmap_mode="r", allow_pickle=False)

        def part(chunk: list[int]) -> tuple[Floats, Places]:
            scores, places = nearest(queries, rows[chunk[0] : chunk[1]], self.count, engine=self.search)
            return scores, places + chunk[0]

        return part


def _nearest(index: CopyIndex, queries: Floats, count: int, search: Engine, job: ApplyJob) -> tuple[Floats, Places]:
    """The nearest rows of all queries, by one process or several, each of which searches parts of the index."""
    if queries.shape[1] != index.descriptors.shape[1]:
        raise UserError(f"{show(index.path)}: has descriptors of {index.descriptors.shape[1]} numbers instead of "
                        f"{queries.shape[1]}: make it again with `migaki apply index`")
    if job.workers == 1 and job.engine == "local":
        return nearest(queries, index.descriptors, count, engine=search)
    chunks = [[start, min(start + _SHARD, len(index.descriptors))]
              for start in range(0, len(index.descriptors), _SHARD)]
    with tempfile.TemporaryDirectory(dir=index.path.parent if job.engine == "ray" else None) as folder:
        np.save(Path(folder) / "queries.npy", queries)
        task = SearchTask(index=index.path, queries=Path(folder) / "queries.npy", count=count, search=search)
        found = {chunk[0]: made for chunk, made in engine.work(task, chunks, workers=job.workers, engine=job.engine,
                                                               address=job.address)}
    return joined([found[start] for start in sorted(found)], count)


def joined(parts: list[tuple[Floats, Places]], count: int) -> tuple[Floats, Places]:
    """The nearest rows of all parts of an index, (Q, K) each, from those of each part in the order of the index."""
    scores, places = (np.concatenate([part[side] for part in parts], 1) for side in (0, 1))
    order = np.argsort(-scores, 1, kind="stable")[:, :count]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)


def _matches(folder: ImageFolder, index: CopyIndex, pictures: Path | None, found: Places,
             quiet: bool) -> list[list[Match]]:
    """Local matching of every picture with its likeliest originals."""
    if pictures is None:
        return [[Match()] * found.shape[1] for _ in found]
    originals = functools.lru_cache(_KEPT)(lambda name: Pictured.of(picture_of(pictures, name)))
    made = []
    with Bar("matching", len(found), quiet=quiet) as bar:
        for query, places in enumerate(found):
            picture = Pictured.of(folder.file(query))
            made.append([_match(picture, originals(index.names[int(place)])) for place in places])
            bar.advance(1, "")
    return made


def _match(picture: Pictured, original: Pictured) -> Match:
    aligned = picture.within(original)
    if aligned is None:
        return Match()
    there, here = region(aligned, picture.points.size, original.points.size)
    return Match(aligned.support, aligned.is_mirrored, here, there)


# ------------------------------------------------------------------------------------------------- what is told

def _findings(pairs: Pairs, config: FindCopies.Config, job: ApplyJob, pictures: Path | None) -> Findings:
    order = pairs.order()
    rows = "".join(json.dumps(pairs.row(*pair), ensure_ascii=False) + "\n" for pair in order)
    called = int(pairs.is_copy.any(1).sum())
    figures: dict[str, Any] = {"pictures": len(pairs.folder), "index": len(pairs.index.names), "with_a_copy": called}
    figures |= _judged(pairs)
    notes = [_ABOUT.format(precision=config.precision)]
    sections = []
    shown = [pair for pair in order if pairs.is_copy[pair]][:_SHOWN] or order[:_SHOWN]
    folder = pictures or Path(pairs.index.about.pictures)
    if folder.is_dir():
        sections.append(Section(heading="The likeliest pairs", picture=pairs_sheet([
            _shown(pairs, folder, *pair) for pair in shown]), caption="Left the picture, right its original; framed: "
            "the part that both share. Above each pair: the probability that it is a copy."))
    sections.append(Section(heading="Pairs", is_folded=True, columns=[
        "picture", "original", "probability", "copy", "cosine", "key points"], rows=[
        [row["file_name"], row["original"], row["probability"], "yes" if row["is_copy"] else "no", row["cosine"],
         row["key_points"]] for row in (pairs.row(*pair) for pair in order[:_LISTED])]))
    record = {"index": str(config.index), "data": str(job.input), "network": pairs.index.about.network,
              "precision": config.precision, "share": config.share, "verify": config.verify,
              "nearest": config.nearest, "version": __version__}
    return Findings(title="Copies", record=record, figures=figures, notes=notes, sections=sections,
                    files={"copies.jsonl": rows.encode()})


def _judged(pairs: Pairs) -> dict[str, Any]:
    """Figures of the search where the set says what its pictures were made from; see `metrics.copies`."""
    rows = pairs.folder.rows
    if not all("reference" in row for row in rows):
        return {}
    known = set(pairs.index.names)
    truth = [row["reference"] for row in rows]
    is_pair = torch.tensor([[pairs.original(query, rank) == name for rank in range(pairs.scores.shape[1])]
                            for query, name in enumerate(truth)])
    count = sum(name in known for name in truth)
    found = rank_found(torch.from_numpy(pairs.scores), is_pair, count)
    called = torch.from_numpy(pairs.is_copy)
    right = int((is_pair & called).sum())
    return {"copies": count, "micro_ap": found.micro_ap, "recall_at_90_precision": found.recall, "first": found.first,
            "called_precision": right / max(1, int(called.sum())), "called_recall": right / max(1, count)}


def _shown(pairs: Pairs, folder: Path, query: int, rank: int) -> Pair:
    match = pairs.matches[query][rank]
    sides = [as_picture(colours_of(path)) for path in (
        pairs.folder.file(query), picture_of(folder, pairs.original(query, rank)))]
    return Pair(sides[0], sides[1], match.region, match.original_region, f"{pairs.chances[query, rank]:.1%}")
