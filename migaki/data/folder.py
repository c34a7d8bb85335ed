"""ImageFolder: images and their labels in a folder, after the Hugging Face convention.

The folder holds image files and `metadata.jsonl` (or `.csv`, `.parquet`) with one row per image: `file_name` first,
labels as columns. A folder without metadata is an unlabelled set. If in that case all images lie in several subfolders
of the same depth, the names of the subfolders are the classes. See `sets.class_names`.

Columns named `KEY_file_name` are further pictures of the row. `mask_file_name` and `depth_file_name` are planes that
keep their unit; others (`target_file_name`) are pictures in [0, 1].

Instead of image files the folder may hold shards: tar files (WebDataset) or Parquet files with the images inside.
"""

from __future__ import annotations

import copy
import os
import posixpath
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import digest, read_json
from migaki.data.files import framing
from migaki.data.files.image_file import EXTENSIONS, Header, read_header, read_image, show
from migaki.data.files.journal import JOURNAL
from migaki.data.files.mask_file import read_mask
from migaki.data.files.member import FilePath, place
from migaki.data.sets.carry import Move, carried, framed, in_pixels
from migaki.data.sets.class_names import (
    CLASS_KEYS,
    CLASS_LISTS,
    ClassColumn,
    class_column,
    class_lists,
    is_list_of_names,
)
from migaki.data.sets.common_shape import common_shape
from migaki.data.sets.contents import contents
from migaki.data.sets.headers import headers_of
from migaki.data.sets.label_shapes import check_vectors
from migaki.data.sets.labels import LENS_KEYS, PLANE_KEYS, POINT_KEYS, VECTOR_KEYS, Columns, gather_columns
from migaki.data.sets.lazy_rows import LazyRows
from migaki.data.sets.left_out import LeftOut
from migaki.data.sets.listing import list_files
from migaki.data.sets.metadata import find_metadata
from migaki.data.sets.moved_labels import move_objects
from migaki.data.sets.objects import of_objects
from migaki.data.sets.possible import check_present
from migaki.data.sets.rows import listed_rows, metadata_rows, shard_rows
from migaki.data.sets.stacked import stacked

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

_STAYS = Move(np.eye(2, 3), (1, 1), (1, 1))


class ImageFolder:
    """The images of one folder, all converted to one shape, with their labels.

    Args:
        path: The folder.
        size: (H, W) to which every image is scaled and cut; None if all have one size. See `framing` for the rules.
        channels: 1, 3 or 4 to convert to, or None to keep the channels of the files.
        value_range: (low, high) of the file values that map to [0, 1]; None for the rules of `framing`.

    Raises:
        UserError: in one line that names the file: on opening for missing or damaged metadata, on first use of
            `shape` for images of different shapes, on reading for damaged images.
    """

    def __init__(
        self,
        path: Path | str,
        size: tuple[int, int] | None = None,
        channels: int | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.path = Path(path)
        single = self.path.name if self.path.suffix.lower() in EXTENSIONS and self.path.is_file() else None
        if single is not None:  # one picture is a set of one
            self.path = self.path.parent
        self.size = size
        self.channels = channels
        self.value_range = value_range
        self.mask_table: Array | None = None  # the class that each number of a mask means: see `sets.mask_classes`
        self._root = Path(os.path.realpath(self.path))
        self._problems: dict[str, str] = {}
        self._is_all, self._is_single = single is None, single is not None
        left_out = LeftOut()
        files = list_files(self.path, left_out) if single is None else [single]
        if single is None and (self._root / JOURNAL).exists():
            raise UserError(f"{show(self.path)}: is not finished: run the command that writes it again to continue")
        self._metadata = find_metadata(self.path, files)
        self.rows: Sequence[Row]
        shards = None if self._metadata else shard_rows(self.path, files)
        self._has_shards = shards is not None
        if self._metadata:
            self.rows = metadata_rows(self.path, self._metadata, files, left_out)
        elif shards is not None:
            self.rows = shards
            self._metadata = sorted(name for name in files if name != "dataset.json")
        else:
            self.rows = listed_rows(self.path, files, left_out)
        lazy = self.rows if isinstance(self.rows, LazyRows) else None
        self.names: list[str] = lazy.names if lazy is not None else [row["file_name"] for row in self.rows]
        left_out.report(self.path, files, is_listing=not self._metadata)
        if not self.names:
            raise UserError(f"{show(self.path)}: holds no images: check the folder")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def labels(self) -> dict[str, Array]:
        """Labels by key, each `(N, ...)`: vectors of the glossary are joined, pixel positions follow resizing."""
        arrays, self._problems = self._columns.labels, self._columns.problems
        for key, column in self._class_columns.items():
            if column.numbers is not None:
                arrays[key] = column.numbers
            if column.problem:
                self._problems[key] = column.problem
        if self.size is not None:
            for name in (*POINT_KEYS, *(f"predicted_{key}" for key in POINT_KEYS)):
                if name in arrays and not of_objects(name):
                    arrays[name] = self._moved_points(arrays[name], self.size)
            for name in LENS_KEYS:
                if name in arrays:
                    arrays[name] = np.stack([self.move(index).lens(lens) for index, lens in enumerate(arrays[name])]
                                            ).astype(np.float32)
            if any(of_objects(name) for name in arrays):
                move_objects(arrays, [self.move(index) for index in range(len(self))], self._named)
        return arrays

    @property
    def classes(self) -> list[str]:
        """The class names of `label`, by number; empty if the classes have no names."""
        return list(self.class_names("label"))

    def class_names(self, key: str) -> tuple[str, ...]:
        """Returns the class names in the column `key`, by number; empty if there are none."""
        return self._class_columns[key].names if key in self._class_columns else ()

    @cached_property
    def _class_columns(self) -> dict[str, ClassColumn]:
        """The class columns that hold words, or numbers with names."""
        features, declared = getattr(self.rows, "class_names", {}), self.made.get("classes")
        if isinstance(declared, list) and not is_list_of_names(declared):
            raise UserError(f"{show(self.path / 'dataset.json')}: `classes` is no list of distinct names: correct it")
        found: dict[str, ClassColumn] = {}
        for key in (*CLASS_KEYS, *CLASS_LISTS):
            of_set = declared if isinstance(declared, list) and not key.startswith("predicted_") else ()
            known = features.get(key) or of_set
            if key not in self._columns.labels:
                words = class_lists if key in CLASS_LISTS else class_column
                found[key] = words(self.rows, key, known)
            elif known:
                found[key] = ClassColumn(None, tuple(known))
        return found

    @property
    def lone_subfolder(self) -> str:
        """The name of the only subfolder, if all images lie in it and there is no metadata; else empty."""
        found = {posixpath.basename(posixpath.dirname(name)) for name in self.names} if not self._metadata else set()
        return found.pop() if len(found) == 1 else ""

    def number_classes(self, key: str, names: Sequence[str], places: Sequence[int]) -> None:
        """Renumber the classes in the column `key`: class n of `names` becomes `places[n]`."""
        numbers = self.labels[key].astype(np.int64)
        self.set_classes(key, names, np.where(numbers < 0, -1, np.asarray([*places, -1], np.int64)[numbers]))

    def set_label(self, key: str, values: Array) -> None:
        """Take these values (N, ...) for the column `key`."""
        self.__dict__["labels"] = {**self.labels, key: values}

    def set_classes(self, key: str, names: Sequence[str], numbers: Array) -> None:
        """Set the classes (N,) int64 of the column `key`, with these names."""
        self.set_label(key, numbers)
        self.__dict__["_class_columns"] = {**self._class_columns, key: ClassColumn(numbers, tuple(names))}

    def row(self, index: int, *, keep: Collection[str] = (), drop: Collection[str] = ()) -> Row:
        """Returns row `index` adapted to the delivered image, without file columns.

        `sets.carry` describes what follows a resize, what is refused (UserError), and what `keep` and `drop` do.
        """
        return carried(self.rows[index], self.move(index), self._named(index), keep=keep, drop=drop)

    def _named(self, index: int) -> str:
        return f"{show(self.path)}: '{show(self.names[index])}'"

    def move(self, index: int) -> Move:
        """Returns how the pixels of image `index` move when it is scaled to the folder's size."""
        if self.size is None:
            return _STAYS
        header = self._headers[index]
        return framed(header.height, header.width, self.size)

    def _moved_points(self, points: Array, size: tuple[int, int]) -> Array:
        moved = points.astype(np.float32)
        for index, header in enumerate(self._headers):
            if (header.height, header.width) != size:
                moved[index, ..., :2] = framing.shift_points(points[index, ..., :2], header.height, header.width, size)
        return moved

    @cached_property
    def files(self) -> dict[str, list[str | None]]:
        """The further pictures: key -> file name (or None) per row, from the columns `KEY_file_name`."""
        return self._columns.files

    @cached_property
    def _columns(self) -> Columns:
        return gather_columns(self.rows)

    @cached_property
    def _headers(self) -> list[Header]:
        return headers_of(self._place, len(self))

    @property
    def headers(self) -> list[Header]:
        """What the file of each image says of its size and channels."""
        return self._headers

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of the delivered images; UserError if the files differ and no shape is set."""
        if self.size is not None and self.channels is not None:
            return (self.channels, *self.size)
        return common_shape(self.path, self.names, self._headers, self.size, self.channels)

    @cached_property
    def has_alpha(self) -> bool:
        """Whether all files have an alpha channel."""
        return all(header.has_alpha for header in self._headers)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest of uint8, uint16 and float32 that can hold all images."""
        kinds = {np.dtype(np.float32) if self.value_range else header.dtype for header in self._headers}
        if kinds == {np.dtype(np.uint8)}:
            return np.dtype(np.uint8)
        return np.dtype(np.uint16) if kinds <= {np.dtype(np.uint8), np.dtype(np.uint16)} else np.dtype(np.float32)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """All keys that `read` can deliver: `image`, the further pictures, the labels."""
        return tuple(dict.fromkeys(("image", *self.files, *self.labels)))

    def file(self, index: int) -> FilePath:
        """Returns the file of image `index`, or its place in a shard."""
        return place(self.path, self.rows[index], "file_name") if self._has_shards else self.path / self.names[index]

    def decode(self, index: int) -> Array:
        """Returns image `index` as `(C, H, W)` uint8, uint16 or float32, in the folder's shape."""
        return self._picture(self._place(index), self.names[index], self.shape[0])

    def _place(self, index: int) -> FilePath:
        """Returns the place of image `index`, links resolved. In a set of shards the name suffices, without the row."""
        if self._has_shards:
            return place(self._root, self.rows[index], "file_name")
        return self._root / self.names[index]

    def _picture(self, path: FilePath, name: str, channels: int | None) -> Array:
        _, height, width = self.shape
        array = framing.check_values(read_image(path), self.value_range, self.path / name)
        if self.size is None and array.shape[1:] != (height, width):
            raise UserError(
                f"{show(self.path / name)}: is {array.shape[2]} x {array.shape[1]} instead of {width} x {height}: "
                "bring all images to one size with `migaki import photos`"
            )
        array = framing.resize(array, (height, width))
        if channels is None or array.shape[0] == channels:
            return array
        has_alpha = path.suffix.lower() != ".npy" and array.shape[0] in (2, 4) and read_header(path).has_alpha
        return framing.convert_channels(array, channels, has_alpha=has_alpha, path=self.path / name)

    def decode_file(self, key: str, index: int) -> Array:
        """Returns the further picture `key` of row `index`: a plane `(H, W)` in its own unit, or `(C, H, W)`."""
        name = self.files[key][index]
        if name is None:
            raise UserError(f"{show(self.path)}: '{show(self.names[index])}' has no {key}: add {key}_file_name")
        path = place(self._root, self.rows[index], f"{key}_file_name")
        if key in VECTOR_KEYS:
            return self.vectors(key, index)
        if key not in PLANE_KEYS:
            return framing.to_unit(self._picture(path, name, self.channels))
        size = self.shape[1:] if self.size else (self._headers[index].height, self._headers[index].width)
        return np.asarray(framing.resize(self.plane(key, index)[None], size, nearest=True)[0])

    def plane(self, key: str, index: int) -> Array:
        """Returns the plane `key` of row `index` at its own size: (H, W) class indices, or float32 in its own unit."""
        path = place(self._root, self.rows[index], f"{key}_file_name")
        if key == "mask":
            indices = read_mask(path)
            if self.mask_table is not None:
                indices = self.mask_table[indices]
            return indices if indices.dtype == np.uint8 else indices.astype(np.int64)
        array = read_image(path)
        if array.shape[0] != 1:
            raise UserError(f"{show(self.path)}: a {key} has one channel, {show(str(self.files[key][index]))} has "
                            f"{array.shape[0]}: save it as grey")
        plane: Array = array[0].astype(np.float32)
        return plane

    def vectors(self, key: str, index: int) -> Array:
        """Returns the numbers (C, H, W) float32 `key` of row `index`, moved with the pixels of the delivered image."""
        values = read_image(place(self._root, self.rows[index], f"{key}_file_name")).astype(np.float32)
        move, header = self.move(index), self._headers[index]
        check_vectors(self.path, self.names[index], key, values, (header.height, header.width))
        return values if move.is_identity else move.vectors(values, in_pixels=in_pixels(key))

    def read(self, indices: Sequence[int], keys: Iterable[str] | None = None) -> Batch:
        """Returns images `(B, C, H, W)` float32 in [0, 1] at these indices, with labels as tensors (bool as uint8)."""
        batch: Batch = {}
        for key in self.keys if keys is None else keys:
            if key == "image":
                images = [self.decode(index) for index in indices]
                if len({image.dtype for image in images}) > 1:
                    images = list(map(framing.to_unit, images))
                whole = framing.to_unit(np.stack(images)) if images else np.empty((0, *self.shape), np.float32)
                batch[key] = torch.from_numpy(whole)
            else:
                batch[key] = self.read_label(key, indices)
        return batch

    def read_label(self, key: str, indices: Sequence[int]) -> torch.Tensor:
        """Returns one label or further picture at these indices as a tensor `(B, ...)`."""
        if key in self.files:
            return torch.from_numpy(stacked([self.decode_file(key, index) for index in indices], self.path, key))
        self.require_column(key)
        values = self.labels[key][np.asarray(indices, np.int64)]
        return torch.from_numpy(values.astype(np.uint8) if values.dtype == np.bool_ else values)

    def require_column(self, key: str) -> None:
        """UserError if the folder has no label `key`."""
        if key in self.labels or key in self.files or key == "image":
            return
        problem = self._problems.get(key)
        known = ", ".join(self.labels) or "none"
        reason = f"label '{key}' cannot be used: {problem}" if problem else f"has no label '{key}' (it has: {known})"
        raise UserError(f"{show(self.path)}: {reason}: correct the metadata or choose another folder")

    def require(self, *keys: str) -> None:
        """UserError in one line if a label is missing, or is empty, NaN or impossible for any image (sets/possible)."""
        for key in keys:
            self.require_column(key)
            held = self.files[key] if key in self.files else self.labels.get(key)
            if held is not None:
                check_present(self.path, self.names, key, held)

    def select(self, indices: Sequence[int] | Array) -> ImageFolder:
        """Returns a view of the folder with these images, in this order; a boolean array selects where it is true."""
        array = np.asarray(indices)
        chosen: list[int] = (np.flatnonzero(array) if array.dtype == np.bool_ else array.astype(np.int64)).tolist()
        if not chosen:
            raise UserError(f"{show(self.path)}: no image is left after the selection: widen it")
        view = copy.copy(self)
        view.__dict__["_class_columns"] = self._class_columns
        view._is_all = False
        view.rows = [self.rows[index] for index in chosen]
        view.names = [self.names[index] for index in chosen]
        for name in ("keys", "fingerprint", "dtype", "has_alpha"):
            view.__dict__.pop(name, None)
        if "_headers" in self.__dict__:
            view.__dict__["_headers"] = [self._headers[index] for index in chosen]
        # Taken from the whole folder, so that a label's type does not depend on the selection.
        labels = {key: value[chosen] for key, value in self.labels.items()}
        files = {key: [names[index] for index in chosen] for key, names in self.files.items()}
        files = {key: names for key, names in files.items() if any(name is not None for name in names)}
        view._problems = dict(self._problems)  # found when the labels were read
        view.__dict__ |= {"labels": labels, "files": files, "_columns": Columns(labels, view._problems, files)}
        return view

    @cached_property
    def made(self) -> dict[str, Any]:
        """The record of `dataset.json` of how the images were made; empty without one, or if it is foreign."""
        path = self.path / "dataset.json"
        found = read_json(path) if path.is_file() else {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the folder's content (`contents`); a selection has a different value."""
        held = contents(self.path / self.names[0] if self._is_single else self.path)
        return held if self._is_all else digest("\0".join([held, *self.names]))
