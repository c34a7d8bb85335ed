"""apply index: the descriptors of a set's pictures, and pairs by which likenesses become probabilities."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from migaki import __version__
from migaki.changes.index import Index
from migaki.core.errors import UserError
from migaki.core.files import exclusive, make_folder, show
from migaki.core.notices import notice
from migaki.core.progress import Bar
from migaki.data.copy_index import About, write_about, write_descriptors
from migaki.data.feature_store import prepared
from migaki.data.folder import ImageFolder
from migaki.data.local_match import opencv
from migaki.data.nearest import nearest
from migaki.metrics.copy_probability import told_apart
from migaki.nets.camera import jpeg_tables
from migaki.nets.picture_network import open_describer
from migaki.nets.published import is_published
from migaki.ops.colour import luma
from migaki.ops.copy_views import CopyViews, copy_views
from migaki.stages.apply_job import ApplyJob
from migaki.stages.copy_evidence import (
    RIVALS,
    SPARE,
    Describing,
    Pictured,
    double_level,
    doubles_of,
    merged,
    refuse_options,
    require_place,
    rivals_of,
    usual_likeness,
)

Floats = NDArray[np.float32]

_SIDE: Final = 224  # px, of the copies that are made
_TOGETHER: Final = 16
_USUAL: Final = CopyViews(  # about three alterations of a copy
    crop=(0.5, 1.0), mirrored=0.15, turned=0.15, squeezed=0.25, slanted=0.05, coloured=0.25, grey=0.1,
    rare_colours=0.05, blurred=0.15, coarse=0.03, grain=0.08, onto=0.1, patched=0.15, written=0.15, encoded=0.3)
_FEWEST: Final = 4
_PRECISION: Final = 0.9  # of the pairs that a search calls copies, unless it is asked for another
_KEPT: Final = 256  # originals whose key points are kept in memory


def write(name: str, change: Index, job: ApplyJob, *, command: str = "", quiet: bool = False) -> Path:
    """Write the index of `job.input` into `job.out`; UserError in one line for whatever does not fit."""
    config = change.config
    refuse_options(name, job)
    require_place(job.out, ("descriptors.npy", "index.json"))
    if config.verify == "sift":
        opencv()
    folder = ImageFolder(job.input)
    if len(folder) < _FEWEST:
        raise UserError(f"{show(folder.path)}: holds {len(folder)} pictures: an index needs at least {_FEWEST}")
    describer = open_describer(config.model)
    describing = Describing(describer, describer.size, config.whole, config.store)
    rows = describing.rows(folder, job, "describing", quiet)
    background = None if config.background is None else describing.rows(
        ImageFolder(config.background), job, "background", quiet)
    make_folder(job.out)
    with exclusive(job.out):
        rows, background = write_descriptors(job.out, rows, background, folder.names)
        known = _known_pairs(folder, describing, rows, background, config, job.seed, quiet)
        known.tell_if_alike(folder, config)
        about = About(network=describer.identity, model=_lasting(config.model), pictures=str(job.input.resolve()),
                      size=describing.size, whole=config.whole, parts=config.parts, fingerprint=folder.fingerprint,
                      version=__version__,
                      cosine=tuple(round(one, 5) for one in known.cosine),
                      support=tuple(known.support) if config.verify == "sift" else (),
                      is_copy=tuple(known.is_copy), command=command)
        write_about(job.out, about)
    return job.out


def _lasting(model: str) -> str:
    """The name of a network that means the same from every folder: the whole path of a run or of a file."""
    return model if is_published(model) else str(Path(model).resolve())


@dataclass(frozen=True, slots=True)
class _Known:
    """Pairs of which it is known whether they are copies: normalised cosine, key points that agree, whether."""

    cosine: list[float]
    support: list[int]
    is_copy: list[bool]

    def tell_if_alike(self, folder: ImageFolder, config: Index.Config) -> None:
        """Say it where made copies cannot be told from other pictures."""
        given = [np.array(one, float) for one in (self.cosine, self.support)]
        _, threshold = told_apart(given[0], given[1], np.array(self.is_copy), _PRECISION)
        if math.isinf(threshold):
            notice(f"{show(folder.path)}: copies that were made of its pictures are no more alike to them than other "
                   f"pictures are, so that a search will call nothing a copy: give another --model than {config.model}")

    def add(self, cosine: float, support: int, is_copy: bool) -> None:
        self.cosine.append(cosine)
        self.support.append(support)
        self.is_copy.append(is_copy)


def _known_pairs(folder: ImageFolder, describing: Describing, rows: Floats, background: Floats | None,
                 config: Index.Config, seed: int, quiet: bool) -> _Known:
    """Copies of drawn pictures beside their originals, and beside what is likest among all other pictures.

    A double of the original, saved again, is no other picture.
    """
    level, count, doubled = double_level(rows), RIVALS + 3 + SPARE, 0
    chosen = np.random.default_rng(seed).permutation(len(folder))[: config.calibrate].tolist()
    # A lone picture at the end would have itself before it in its batch.
    groups = [chosen[start : start + _TOGETHER] for start in range(0, len(chosen), _TOGETHER)]
    if len(groups) > 1 and len(groups[-1]) < 2:
        groups[-2] += groups.pop()
    known, tables = _Known([], [], []), jpeg_tables()
    originals = functools.lru_cache(_KEPT)(lambda place: Pictured.of(folder.file(place)))
    with Bar("calibrating", len(chosen), quiet=quiet) as bar, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for places in groups:
            images = torch.cat([prepared(folder.file(place), _SIDE, whole=True) for place in places])
            copies, _ = copy_views(images, _USUAL, tables)
            described = describing.of(copies, config.parts)  # (B, P, D)
            parts = described.shape[1]
            near, found = merged(*nearest(described.reshape(-1, rows.shape[1]), rows, count), parts, count)
            for number, place in enumerate(places):
                picture = Pictured(_grey(copies[number])) if config.verify == "sift" else None
                # The picture before it in the batch may lie beside or behind it, so that it is no stranger.
                two = place, places[number - 1]
                same, before = (doubles_of(at, found[number], rows, level) for at in two)
                if picture is not None:
                    # A double may have become less alike: made smaller, coarsely encoded, cut.
                    for rank in np.flatnonzero(~same & ~before):
                        likest = originals(int(found[number, rank]))
                        same[rank], before[rank] = (likest.is_same(originals(at)) for at in two)
                        if not same[rank] and not before[rank]:
                            break
                others = [*np.flatnonzero(~same & ~before)]
                own = [*np.flatnonzero(found[number] == place)]
                doubled += int(same.sum()) > len(own)
                if not others:  # all that is near is the same picture
                    continue
                # As a search sees it: the index without the original, and with it where it is among the nearest.
                for rank, ranks in ((others[0], others), *((rank, sorted([rank, *others])) for rank in own)):
                    rivals = rivals_of(near[number : number + 1, ranks], found[number : number + 1, ranks], rows, level)
                    usual = usual_likeness(described[number : number + 1], rivals, background)
                    at = int(found[number, rank])
                    inside = None if picture is None else picture.within(originals(at))
                    known.add(float(near[number, rank] - usual[0]), 0 if inside is None else inside.support,
                              at == place)
            bar.advance(len(places), "")
    if not known.cosine:
        raise UserError(f"{show(folder.path)}: all of its pictures look the same to the network: give others, or "
                        "another --model")
    if not any(known.is_copy):
        raise UserError(f"{show(folder.path)}: of {len(chosen)} copies that were made of its pictures none is found "
                        "again by the network: give another --model")
    if doubled:
        notice(f"{show(folder.path)}: {doubled} of {len(chosen)} pictures that were drawn are there more than once: a "
               "search finds all of them, as far as its --nearest goes")
    return known


def _grey(image: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray((luma(image[None])[0, 0] * 255).round().to(torch.uint8).numpy())
