"""apply find_copies: the likeliest originals of a set's pictures among those of an index."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from migaki.changes.find_copies import FindCopies
from migaki.core import engine
from migaki.core.errors import UserError
from migaki.core.files import exclusive, make_folder, show
from migaki.core.notices import notice
from migaki.core.progress import Bar
from migaki.data.copy_index import CopyIndex, Originals, open_index
from migaki.data.folder import ImageFolder
from migaki.data.local_match import opencv, region
from migaki.data.nearest import Engine, nearest
from migaki.metrics.copy_probability import Calibration, told_apart
from migaki.nets.picture_network import is_describer, open_describer
from migaki.ops.picture_parts import PARTS
from migaki.report.findings import write_findings
from migaki.stages.apply_job import ApplyJob
from migaki.stages.copy_evidence import (
    RIVALS,
    SPARE,
    Describing,
    Pictured,
    double_level,
    in_parts,
    merged,
    refuse_options,
    require_place,
    rivals_of,
    usual_likeness,
)
from migaki.stages.copy_findings import Match, Pairs, findings_of, judgeable

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

_SHARD: Final = 2**18  # rows of the index that one worker searches at a time
_WRITTEN: Final = ("copies.html", "copies.json", "copies.jsonl")
_KEPT = 256  # originals whose key points are kept in memory


def search(name: str, change: FindCopies, job: ApplyJob, *, command: str = "", quiet: bool = False) -> Path:
    """Search the index for the originals of the pictures of `job.input`, and write `job.out`.

    UserError in one line for whatever does not fit, before anything is written.
    """
    config = change.config
    refuse_options(name, job)
    require_place(job.out, _WRITTEN)
    index, folder = open_index(config.index), ImageFolder(job.input)
    truth = judgeable(folder, set(index.names))
    calibration, threshold = _calibration(index, config)
    describing = _describing(index, config)
    pictures = _pictures(index, config) if config.verify == "sift" else None
    queries = in_parts(describing.rows(folder, job, "describing", quiet, index.about.parts),
                       PARTS if index.about.parts else 1)
    own = _own_places(index, folder, config, job)
    level = double_level(index.descriptors)
    near, found, rivals = _found(index, queries, own, level, config, job)
    near = near - usual_likeness(queries, rivals, index.background)[:, None]
    matches = _matches(folder, index, pictures, found, quiet)
    cosines = near.astype(float).ravel()
    support = np.array([one.support for row in matches for one in row], float)
    logits = calibration.logits(cosines, support)
    chances = calibration.probability(cosines, support, config.share)
    # The copies of the calibration are easily told, so that 9 in 10 pairs may still be right where hardly one more is.
    is_copy = (logits >= threshold) & (chances >= 0.5)
    pairs = Pairs(folder, index, near, found, logits.reshape(near.shape), chances.reshape(near.shape),
                  is_copy.reshape(near.shape), matches, own, level)
    make_folder(job.out)
    with exclusive(job.out):
        findings = findings_of(pairs, config, job, pictures, truth)
        write_findings(job.out, findings, "copies", command)
    if not quiet:
        print(f"{findings.notes[0]} See {show(job.out / 'copies.html')}.")
    return job.out


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
        found, threshold = told_apart(cosine, support, is_copy, config.pair_precision)
    except ValueError as error:
        raise UserError(f"{show(index.path)}: knows no pairs to tell copies by: make it again with `migaki apply "
                        "index`") from error
    if math.isinf(threshold):
        notice(f"{show(index.path)}: from no score on are {config.pair_precision:g} of its made pairs copies, so that "
               "nothing is called one; the likeliest pairs are listed: give a lower --pair-precision, or make the "
               "index with another --model")
    return found, threshold


def _describing(index: CopyIndex, config: FindCopies.Config) -> Describing:
    """The network of the index; UserError for another one."""
    model = config.model or index.about.model
    if not config.model and not is_describer(model):
        raise UserError(f"{show(index.path)}: its network {show(model)} is not there any more: give it as --model")
    describer = open_describer(model)
    if describer.identity != index.about.network:
        raise UserError(f"{show(index.path)}: was made by another network ({show(index.about.network)}, and "
                        f"{show(config.model or index.about.model)} is {describer.identity}): make it again with "
                        "`migaki apply index`, or give its network as --model")
    return Describing(describer, index.about.size, index.about.whole, config.store)


def _pictures(index: CopyIndex, config: FindCopies.Config) -> Originals:
    folder = config.pictures or Path(index.about.pictures)
    if not folder.is_dir():
        raise UserError(f"{show(folder)}: the pictures of {show(index.path)} are not there any more: give their folder "
                        "as --pictures, or --verify none")
    pictures = Originals(folder)
    if pictures.pictures.fingerprint != index.about.fingerprint:
        notice(f"{show(folder)}: its pictures are not those that {show(index.path)} was made from: what has changed is "
               "compared with what it was, until `migaki apply index` makes the index again")
    lacking = pictures.lacking(index.names)
    if lacking is not None:
        raise UserError(f"{show(folder)}: lacks {show(lacking)}, which {show(index.path)} names: give the folder of "
                        "its pictures as --pictures, or --verify none")
    return pictures


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


def _own_places(index: CopyIndex, folder: ImageFolder, config: FindCopies.Config, job: ApplyJob) -> Places:
    """The places (Q,) in the index of the pictures that are searched, by their files; -1 for one that is not there.

    A picture is no copy of itself, so that a folder can be searched in its own index.
    """
    known, indexed = {name: place for place, name in enumerate(index.names)}, (
        config.pictures or Path(index.about.pictures)).resolve()
    files = [(job.input.resolve() / name) for name in folder.names]
    own = np.array([known.get(file.relative_to(indexed).as_posix(), -1) if file.is_relative_to(indexed) else -1
                    for file in files], np.int64)
    if count := int((own >= 0).sum()):
        notice(f"{show(folder.path)}: {count} of its {len(folder)} pictures are in the index themselves, and are not "
               "compared with themselves")
    return own


def _found(index: CopyIndex, queries: Floats, own: Places, level: float, config: FindCopies.Config,
           job: ApplyJob) -> tuple[Floats, Places, list[Floats]]:
    """Cosines and places (Q, K) of the nearest other pictures, and the cosines of each query's rivals."""
    rows, parts = index.descriptors, queries.shape[1]
    most = len(rows) - int((own >= 0).any())
    count = min(most, max(config.nearest, RIVALS + 1) + SPARE)
    near, found = _without(own, *merged(*_nearest(index, queries.reshape(-1, queries.shape[2]), count + 1,
                                                  config.search, job), parts, count + 1), count)
    rivals = rivals_of(near, found, rows, level)
    if index.background is not None:  # its pictures are the rivals
        most = count
    while count < most and (lacking := [row for row, one in enumerate(rivals) if len(one) < RIVALS]):
        count = min(most, 8 * count)  # an original with many doubles
        wider, places = _without(own[lacking], *merged(*_nearest(
            index, queries[lacking].reshape(-1, queries.shape[2]), count + 1, config.search, job), parts, count + 1),
            count)
        for row, one in zip(lacking, rivals_of(wider, places, rows, level), strict=True):
            rivals[row] = one
    return near[:, : config.nearest], found[:, : config.nearest], rivals


def _without(own: Places, near: Floats, found: Places, count: int) -> tuple[Floats, Places]:
    """The `count` nearest (Q, K) of each query but the picture at its place of `own` (Q,)."""
    is_left_out = found == own[:, None]
    is_left_out[~is_left_out.any(1), count:] = True  # as many of each
    keep = np.argsort(is_left_out, 1, kind="stable")[:, : min(count, found.shape[1] - int((own >= 0).any()))]
    return np.take_along_axis(near, keep, 1), np.take_along_axis(found, keep, 1)


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


def _matches(folder: ImageFolder, index: CopyIndex, pictures: Originals | None, found: Places,
             quiet: bool) -> list[list[Match]]:
    """Local matching of every picture with its likeliest originals."""
    if pictures is None:
        return [[Match()] * found.shape[1] for _ in found]
    originals = functools.lru_cache(_KEPT)(lambda name: Pictured.of(pictures.file(name)))
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
