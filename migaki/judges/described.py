"""The features of all pictures of a folder, by a system whose prediction holds some; and what stands beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.seeds import fold
from migaki.core.system import System
from migaki.core.trained import read_record
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.folder import ImageFolder
from migaki.data.sets.contents import contents
from migaki.data.sets.overlap import shared_files
from migaki.metrics.shares import wilson

THUMBNAIL = 8
"""px, side of the raw pictures beside which features stand."""

_CHUNK = 256  # pictures at once


@torch.inference_mode()
def describe(system: System, folder: ImageFolder, device: torch.device, whole: bool = False) -> Tensor:
    """Returns the features (N, D) float32 of all pictures, on the CPU. UserError for a system that has none.

    `whole`: pictures are squeezed to the folder's size, not cut to it.
    """
    system.to(device).eval()
    parts = []
    for start in range(0, len(folder), _CHUNK):
        places = range(start, min(start + _CHUNK, len(folder)))
        images = _squeezed(system, folder, places) if whole and system.shape is not None else folder.read(
            places, ("image",))["image"]
        made = system.predict({"image": images.to(device)})
        if "features" not in made:
            raise UserError(f"{type(system).__name__} gives no features: judge a run of an encoder, such as simclr")
        parts.append(made["features"].float().cpu())
    return torch.cat(parts)


def _squeezed(system: System, folder: ImageFolder, places: range) -> Tensor:
    """Whole pictures at the system's size, (B, C, H, W) in [0, 1]."""
    assert system.shape is not None
    channels, *size = system.shape
    found = []
    for place in places:
        path = folder.file(place)
        array = framing.squeezed(framing.check_values(read_image(path), None, path), (size[0], size[1]))
        array = framing.convert_channels(array, channels, has_alpha=read_header(path).has_alpha, path=path)
        found.append(torch.from_numpy(np.ascontiguousarray(framing.to_unit(array))))
    return torch.stack(found)


def classes_of(known: ImageFolder, tested: ImageFolder) -> tuple[Tensor, Tensor]:
    """The classes (N,) and (M,) of both sets, matched by name where they have names.

    UserError for sets without classes, and for a class that only `tested` has.
    """
    names: dict[str, int] = {}
    found = []
    for folder in (known, tested):
        if "label" not in folder.labels:
            raise UserError(f"{show(folder.path)}: has no class labels: give a set with a column `label`, or one "
                            "subfolder a class")
        folder.require("label")  # a blank is no class
        called = folder.classes
        words = [called[int(value)] if called else str(int(value))
                 for value in folder.read_label("label", range(len(folder)))]
        if folder is known:
            names = {word: number for number, word in enumerate(sorted(set(words)))}
        strange = sorted(set(words) - set(names))
        if strange:
            raise UserError(f"{show(tested.path)}: has classes that {show(known.path)} lacks ({show(strange[0])}): "
                            "give sets of the same classes")
        found.append(torch.tensor([names[word] for word in words]))
    if len(names) < 2:
        raise UserError(f"{show(known.path)}: has one class only: a probe tells at least two apart")
    return found[0], found[1]


def majority_share(labels: Tensor, truth: Tensor) -> float:
    """The share of the test `truth` (M,) that is of the most frequent class of `labels` (N,): what always naming it
    reads rightly, whatever share it has of the labels."""
    return float((truth == torch.bincount(labels).argmax()).float().mean())


def chance_text(count: int) -> str:
    """What the size of the test leaves to chance, as a sentence."""
    most = 100 * (wilson(0.5, count)[1] - 0.5)  # where it is widest
    return f"The test has {count:,} pictures: a share of them is known to within {most:.1f} points (95 %)."


def seed_of(run: Path) -> int:
    """The seed that a run was trained with; 0 where its configuration holds none."""
    seed = read_record(run).get("run", {}).get("seed", 0)
    return seed if isinstance(seed, int) else 0


def untrained_twin(system: System, run: Path) -> System:
    """The system of `run` with the random weights that its training drew; what `--pretrained` loads is not there."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold(seed_of(run), 0))  # as in `stages.train`
        return type(system)(system.config)


def thumbnails(folder: ImageFolder) -> Tensor:
    """The pictures at 8 x 8 px (N, D)."""
    parts = [range(start, min(start + _CHUNK, len(folder))) for start in range(0, len(folder), _CHUNK)]
    return torch.cat([F.adaptive_avg_pool2d(folder.read(part, ("image",))["image"], THUMBNAIL).flatten(1)
                      for part in parts])


_ONLY_JUDGED = ("labelled",)  # pictures of a training that nothing is learned from


def _given(record: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """What a run learned from or began with, with the hash of what it held then, as far as its record has it."""
    found = []
    for name, given in record.get("data", {}).items():
        places = [given] if isinstance(given, str) else given
        held = record.get("contents", {}).get(name, ())
        if name not in _ONLY_JUDGED:
            found += [(Path(str(place)), str(content)) for place, content in zip_longest(
                places, held[: len(places)], fillvalue="")]
    return found


def _records(run: Path, known: set[str]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The run and those that it began with (`--pretrained`), as far as they are as they were then, with their records.

    `known` are the real paths of runs that were met; they are not met again.
    """
    known.add(os.path.realpath(run))
    record = read_record(run)
    yield run, record
    for place, content in _given(record):
        if not _is_model(place) or os.path.realpath(place) in known:
            continue
        try:
            if content in ("", contents(place)):
                yield from _records(place, known)
        except UserError:  # a network of another program
            continue


def _is_model(place: Path) -> bool:
    """Whether a folder holds a run or the network of another program, and no set of pictures."""
    return all((place / name).is_file() for name in ("config.json", "model.safetensors"))


@dataclass(frozen=True, slots=True)
class Seen:
    """What runs had seen before they were judged, in sentences for the page; none where there is nothing to say."""

    learned: list[str]  # of pictures of the test
    taught: list[str]  # of labels

    @property
    def sentences(self) -> list[str]:
        """All of them."""
        return [*self.taught, *self.learned]

    @property
    def is_taught(self) -> bool:
        """Whether one of them was taught by labels."""
        return bool(self.taught)


def what_was_seen(runs: Sequence[Path], tested: ImageFolder) -> Seen:
    """Whether runs were taught by labels, and how many pictures of the test they learned from, as their records say.

    The runs that they began with (`--pretrained`) count as well.
    Of folders that are no longer where a run found them, or have changed since, nothing is known.
    """
    seen = Seen([], [])
    for run in runs:
        both: set[str] = set()
        for place, record in _records(run, set()):
            options = record.get("config", {})
            if "num_classes" in options:
                used = options.get("used")
                count = f"{len(used):,} labels" if isinstance(used, list) and used else "labels"
                began = "" if place == run else f"began with {show(place)}, which "
                seen.taught.append(f"{show(run)} {began}was taught by {count} of its own, so its features save none.")
            both |= _shared(record, tested)
        if both:
            seen.learned.append(f"{show(run)} learned from {len(both):,} of the {len(tested):,} pictures of the test, "
                                f"such as {show(min(both))}: a figure for other pictures needs another test.")
    return seen


def _shared(record: Mapping[str, Any], tested: ImageFolder) -> set[str]:
    """The pictures of the test that are in the sets of a record, where these are as they were."""
    both: set[str] = set()
    for place, content in _given(record):
        if _is_model(place):
            continue
        try:
            shared = shared_files(tested, ImageFolder(place))
            both |= set(shared if not shared or content in ("", contents(place)) else ())
        except (UserError, OSError):  # gone, or weights of a network
            continue
    return both
