"""Pictures without labels that are told from each other: no picture may stand twice in a batch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from migaki.core import processes
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.seeds import generator
from migaki.core.source import Source
from migaki.data.batches.held_out import HeldOut, ValidatedSource
from migaki.data.batches.task_source import Sized, labelled_source, open_labelled
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_labels import agreed_classes

_JUDGED = 500  # pictures by which features are judged while training runs: a second of each of twenty times


class Batched(Sized, Protocol):
    """The configuration of a system that learns by telling the pictures of a batch apart."""

    @property
    def batch_size(self) -> int:
        """Pictures in a batch."""


B = TypeVar("B", bound=Batched)


def open_rivals(config: B, paths: Sequence[Path], seed: int, labelled: Path | None = None,
                has_rivals: bool = True) -> tuple[B, Source]:
    """Open folders of pictures: the first sets the size, the others are scaled to it; each gives as many to a batch.

    Labels are read of the set `labelled` alone, which is never learned from: some of its pictures, the same in every
    run, judge the features while training runs.

    Returns the configuration with that size, and the source of `image`. Raises UserError for a folder that has fewer
    pictures than its part of a batch, of all processes together: one of them would be its own rival; and for a set
    `labelled` whose labels are no classes, or of one alone. Unless `has_rivals` a picture may stand twice in a batch.
    """
    config, folders, _ = open_labelled(config, paths)
    share, world = max(1, config.batch_size // len(folders)), processes.world()
    if not has_rivals:
        world = 1
    elif len(set(map(os.path.realpath, paths))) < len(paths):
        raise UserError(f"{' '.join(map(show, paths))}: one folder is given twice, so that a "
                        "picture would be its own rival: name each once")
    together = f" in each of {world} processes" if world > 1 else ""
    fault = ": one would be its own rival" if has_rivals else ""
    for folder in folders:
        if len(folder) < share * world:
            raise UserError(f"{show(folder.path)}: has {len(folder)} pictures, and --batch-size {config.batch_size}"
                            f"{together} takes {share * world} of them at a time{fault}: lower --batch-size or add "
                            "pictures")
    source = labelled_source(folders, ("image",), config.batch_size, seed, distinct=has_rivals)
    if labelled is None:
        return config, source
    judged = ImageFolder(labelled, size=(config.height, config.width), channels=config.channels)
    agreed_classes([judged], key_of=lambda _: "label")  # two classes at least: one picture has no neighbour
    # Not the first ones: in a set of subfolders these are of one class.
    chosen = torch.randperm(len(judged), generator=generator(_JUDGED))[:_JUDGED].sort().values
    return config, ValidatedSource(source, [HeldOut(judged.select(chosen.numpy()),
                                                    {"image": "image", "label": "label"})])
