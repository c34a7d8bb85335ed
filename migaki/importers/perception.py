"""Unity Perception before 1.0: `Dataset<GUID>/captures_000.json` beside the folders of pictures.

Source: "Perception Dataset Schema" (Unity Technologies). The size of pictures stands in no file of this layout, so
that it cannot be checked against the labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.sets.listing import natural_key
from migaki.importers.annotations import (
    Shape,
    class_name,
    member,
    number,
    object_row,
    plain_files,
    plain_folders,
    say_empty,
    set_names,
    with_boxes,
)
from migaki.importers.frames import Colour, Frame, colour_of, coloured_mask, index_of, mask_table, members, reading
from migaki.importers.importer import Array, Importer, Row
from migaki.importers.source_files import read_label_json
from migaki.importers.unity_labels import (
    label_of,
    metric_columns,
    point_table,
    same_length,
    single_points,
    spec_names,
    template_names,
    with_points,
)

_CAPTURES = re.compile(r"captures_\d+\.json")
_METRICS = re.compile(r"metrics_\d+\.json")
_PICTURES = (".png", ".jpg", ".jpeg")
_MAX_JSON = 2**28  # bytes of a file with the labels of many pictures


@dataclass(slots=True)
class Definitions:
    """What the files of definitions say."""

    kinds: dict[str, str] = field(default_factory=dict)  # id of a definition -> what it is called
    names: dict[int, str] = field(default_factory=dict)
    colours: dict[Colour, str] = field(default_factory=dict)  # of semantic masks
    keypoint_names: list[str] = field(default_factory=list)
    metrics: dict[str, str] = field(default_factory=dict)  # id of a definition -> name


class Perception(Importer):
    """`migaki import perception DIR --out DIR`: boxes, semantic masks, keypoints and metrics of Unity Perception < 1.0.

    `DIR` is what a run wrote: the folder that holds `Dataset<GUID>` and the pictures. Newer versions: `import solo`.
    """

    licence = "that of the renders"
    source = "Unity Perception, Perception Dataset Schema"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Nothing to choose."""

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder, or one in it, holds `captures_000.json`."""
        for folder in _folders(path):
            if files := _files(folder, _CAPTURES):
                return f"Unity Perception before 1.0: {files[0].relative_to(path)}"
        return ""

    def find(self, path: Path) -> Sequence[Frame]:
        """The frames, one for each capture of a camera."""
        found: list[tuple[Frame, list[Shape] | None, dict[str, tuple[str, Array]]]] = []
        masks: list[str] = []
        names: dict[int, str] = {}
        for folder in _folders(path):
            files = _files(folder, _CAPTURES)
            if not files:
                continue
            definitions = _definitions(folder)
            masks += definitions.colours.values()
            names |= definitions.names
            self.mask_classes = mask_table(path, masks)
            self.keypoint_names = definitions.keypoint_names or self.keypoint_names
            metrics = _metrics(folder, definitions)
            root = folder if any(folder.glob("RGB*")) else folder.parent if folder != path else folder
            for file in files:
                values = read_label_json(file, _MAX_JSON)
                with reading(file, "Unity Perception"):
                    found += [self._frame(path, root, file, item, definitions, metrics)
                              for item in members(values, "captures") if _is_picture(item)]
        if not found:
            raise UserError(f"{show(path)}: no captures_000.json names a picture: give the folder that holds "
                            "Dataset<GUID> and the pictures")
        with reading(path, "Unity Perception"):
            return self._finished(path, found, names)

    def load(self, entry: Frame) -> tuple[str, Array, Row]:
        """One picture (C, H, W) with its labels."""
        return entry.load()

    def _frame(self, path: Path, root: Path, file: Path, item: Mapping[str, Any], definitions: Definitions,
               metrics: Mapping[str, Row]) -> tuple[Frame, list[Shape] | None, dict[str, tuple[str, Array]]]:
        picture = member(path, root, item["filename"], show(file))
        row = dict(metrics.get(str(item.get("id")), {}))
        row = {**metrics.get(f"{item.get('sequence_id')} {item.get('step')}", {}), **row}
        shapes: list[Shape] | None = None
        ids: list[str] = []
        points: dict[str, tuple[str, Array]] = {}
        planes = {}
        for note in members(item, "annotations"):
            kind = definitions.kinds.get(str(note.get("annotation_definition")), "")
            if kind == "bounding box" and shapes is None:
                shapes = []
                for value in members(note, "values"):
                    left, top, width, height = (number(value[side]) for side in ("x", "y", "width", "height"))
                    shapes.append(Shape(label_of(value, definitions.names), (left, top, width, height)))
                    ids.append(str(value.get("instance_id", f"box {len(ids)}")))
            elif kind == "keypoints":
                for value in members(note, "values"):
                    table = point_table(members(value, "keypoints"), len(definitions.keypoint_names))
                    points[str(value["instance_id"])] = (label_of(value, definitions.names), table)
            elif kind == "semantic segmentation" and self.mask_classes and "mask" not in planes:
                mask = member(path, root, note["filename"], show(file))
                table_of = {colour: index_of(name, self.mask_classes) for colour, name in definitions.colours.items()}
                planes["mask"] = partial(coloured_mask, mask, table_of)
        if shapes is not None:
            shapes = with_points(shapes, ids, points)
        return Frame(picture.relative_to(path).as_posix(), picture, file, row, planes), shapes, points

    def _finished(self, path: Path, found: Sequence[tuple[Frame, list[Shape] | None, dict[str, tuple[str, Array]]]],
                  names: Mapping[int, str]) -> list[Frame]:
        tables = [table for _, _, points in found for _, table in points.values()]
        same_length(tables)
        single = all(shapes is None and len(points) == 1 for _, shapes, points in found)
        stems = set_names(frame.name for frame, _, _ in found)
        frames, labels, empty = [], set[str](), 0
        for name, (frame, shapes, points) in zip(stems, found, strict=True):
            row = dict(frame.row)
            if single:
                row |= single_points(next(iter(points.values()))[1])
            elif shapes is not None or tables:
                shapes = with_points([], [], points) if shapes is None else shapes
                kept = with_boxes(shapes)
                empty += len(shapes) - len(kept)
                labels |= {shape.label for shape in kept}
                row |= object_row(kept, crowd=False, points=len(tables[0]) if tables else 0)
            frames.append(Frame(name, frame.picture, frame.source, row, frame.planes))
        known = list(dict.fromkeys(names.values()))
        self.classes = [*known, *sorted(labels - set(known))] if labels else ()
        if tables:
            own = list(self.keypoint_names)
            self.keypoint_names = [*own, *map(str, range(len(own), len(tables[0])))][: len(tables[0])]
        say_empty(path, empty)
        return frames


def _definitions(folder: Path) -> Definitions:
    """What the annotations and metrics of a folder mean."""
    found = Definitions()
    file = folder / "annotation_definitions.json"
    values = read_label_json(member(folder, folder, file.name, show(folder)), _MAX_JSON)
    with reading(file, "Unity Perception"):
        for item in members(values, "annotation_definitions"):
            kind = str(item.get("name", "")).lower().replace("_", " ")
            kind = "bounding box" if kind in ("bounding box", "bounding box 2d") else kind
            found.kinds[str(item["id"])] = kind
            if kind == "semantic segmentation":
                found.colours |= {_colour(part): class_name(part["label_name"]) for part in members(item, "spec")}
            elif kind == "keypoints":
                for template in members(item, "spec")[:1]:
                    found.keypoint_names = template_names(members(template, "key_points"))
            else:
                found.names |= spec_names(item)
    file = folder / "metric_definitions.json"
    if file.is_file():
        values = read_label_json(member(folder, folder, file.name, show(folder)), _MAX_JSON)
        with reading(file, "Unity Perception"):
            found.metrics = {str(item["id"]): str(item.get("name") or item["id"])
                             for item in members(values, "metric_definitions")}
    return found


def _colour(part: Mapping[str, Any]) -> Colour:
    """The colour of a class; a grey value stands for three of its kind."""
    value = part.get("color_pixel_value") or part["pixel_value"]
    return colour_of([value] * 3 if isinstance(value, int) else value)


def _metrics(folder: Path, definitions: Definitions) -> dict[str, Row]:
    """Free numbers by the id of a capture, or by "sequence step" where they belong to a step."""
    rows: dict[str, Row] = {}
    for file in _files(folder, _METRICS):
        values = read_label_json(file, _MAX_JSON)
        with reading(file, "Unity Perception"):
            for item in members(values, "metrics"):
                if item.get("annotation_id"):
                    continue
                key = str(item["capture_id"]) if item.get("capture_id") else f"{item['sequence_id']} {item['step']}"
                name = definitions.metrics.get(str(item.get("metric_definition")), str(item.get("metric_definition")))
                rows.setdefault(key, {}).update(metric_columns(name, item.get("values")))
    return rows


def _is_picture(item: Mapping[str, Any]) -> bool:
    name = item["filename"]
    return not isinstance(name, str) or name.lower().endswith(_PICTURES)


def _folders(path: Path) -> list[Path]:
    return [path, *plain_folders(path), *(inner for folder in plain_folders(path)[:100] for inner in
                                          plain_folders(folder) if inner.name.startswith("Dataset"))]


def _files(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    return sorted((file for file in plain_files(folder, ".json") if pattern.fullmatch(file.name)),
                  key=lambda file: natural_key(file.name))
