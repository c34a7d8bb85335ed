"""The batches of the task models: labelled folders, and optionally unlabelled photographs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from migaki.core import processes
from migaki.core.errors import UserError
from migaki.core.seeds import fold
from migaki.core.source import Source
from migaki.data.batches.common_channels import common_channels
from migaki.data.batches.held_out import HeldOut, ValidatedSource, divide
from migaki.data.batches.source import FolderSource, MixedSource, PairedSource
from migaki.data.files import framing
from migaki.data.folder import ImageFolder
from migaki.data.sets.labels import POINT_KEYS

# Folded into the seed instead of added: the order of one run's photographs must not be that of another run's labels.
_LABELLED, _PHOTOS = 0, 1


class Sized(Protocol):
    """A configuration whose image shape may be taken from the data."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def channels(self) -> int:
        """0 = from the data."""

    @property
    def height(self) -> int:
        """px; 0 = from the data."""

    @property
    def width(self) -> int:
        """px; 0 = from the data."""


C = TypeVar("C", bound=Sized)


def open_labelled(config: C, paths: Sequence[Path], photos: Path | None = None
                  ) -> tuple[C, list[ImageFolder], ImageFolder | None]:
    """Open the labelled folders and the photographs, all read at one size: `config`'s, or if that is 0 the first's.

    Returns the configuration with that size, the folders, and the photographs (or None). Raises UserError for a height
    without a width, or the other way round.
    """
    wanted = framing.asked_size(config.height, config.width)
    first = ImageFolder(paths[0], size=wanted, channels=config.channels or None)
    channels, height, width = first.shape
    if not config.channels and first.has_alpha:
        others = [*paths[1:], *([] if photos is None else [photos])]
        channels = common_channels(first, [ImageFolder(path) for path in others])
        first = ImageFolder(paths[0], size=(height, width), channels=channels)
    folders = [first, *(ImageFolder(path, size=(height, width), channels=channels) for path in paths[1:])]
    seen = ImageFolder(photos, size=(height, width), channels=channels) if photos is not None else None
    return replace(config, channels=channels, height=height, width=width), folders, seen


def labelled_source(folders: Sequence[ImageFolder], keys: Sequence[str], batch_size: int, seed: int,
                    photos: ImageFolder | None = None, photo_keys: Mapping[str, str] | None = None,
                    columns: Sequence[Mapping[str, str]] = (), may_miss: Collection[str] = (),
                    validate: float = 0.0, distinct: bool = False) -> Source:
    """Returns a source of batches of `batch_size` images with the labels `keys`, equally many from each folder.

    `columns` gives for each folder the column names of keys that have another name there. With `photos`, each batch
    also has as many photographs; `photo_keys` maps their columns to keys of the batch (default: image to `real`).
    Labels in `may_miss` may be missing (NaN). `validate` is the share of each folder that is kept from training
    (`held_out`); the source then delivers these images to `fit`. Where `distinct`, no batch, of all processes together,
    holds an image twice.
    """
    shard = (processes.rank(), processes.world())
    share = max(1, batch_size // len(folders))
    parts, kept = [], []
    for number, folder in enumerate(folders):
        names = columns[number] if columns else {}
        wanted = {names.get(key, key): key for key in keys}
        missing = tuple(names.get(key, key) for key in may_miss)
        if validate:
            folder, held = divide(folder, validate)
            kept += [] if held is None else [HeldOut(held, wanted, missing)]
        parts.append(FolderSource(folder, share, fold(seed, _LABELLED, number), keys=tuple(wanted),
                                 rename=wanted, may_miss=missing, shard=shard, distinct=distinct))
    source: Source = MixedSource(*parts)
    if photos is not None:
        seen = dict(photo_keys or {"image": "real"})
        source = PairedSource(source, FolderSource(photos, batch_size, fold(seed, _PHOTOS), keys=tuple(seen),
                                                   rename=seen, shard=shard))
    return ValidatedSource(source, kept) if kept else source


def count_places(folder: ImageFolder, key: str, may_miss: bool = False) -> int:
    """Returns the number of positions per image in the label `key`; UserError unless they are positions in px.

    With `may_miss`, positions may be missing (NaN).
    """
    (folder.require_column if may_miss else folder.require)(key)
    values = folder.labels.get(key)
    if values is None or values.ndim not in (2, 3) or not 2 <= values.shape[-1] <= 3:
        raise UserError(f"{folder.path}: '{key}' holds no positions: each image needs x y in px, or a list of them")
    is_known = key.removeprefix("predicted_") in POINT_KEYS
    if not is_known and folder.size is not None and folder.shape[1:] != ImageFolder(folder.path).shape[1:]:
        raise UserError(f"{folder.path}: images would have to be scaled, and '{key}' is not known to be "
                        f"in px: bring the images to one size, or name the column one of {', '.join(POINT_KEYS)}")
    return 1 if values.ndim == 2 else int(values.shape[1])
