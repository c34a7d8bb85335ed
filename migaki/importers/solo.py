"""Unity Perception 1.0, SOLO: `sequence.N/stepM.frame_data.json` beside the pictures.

Source: "Synthetic Optimized Labeled Objects (SOLO) Dataset Schema" (Unity Technologies). The schema spells the files
`step.NNNN.frame.json`, what Unity writes is called `stepN.frame_data.json`: both are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.sets.listing import natural_key
from migaki.importers.annotations import (
    Shape,
    class_name,
    member,
    numbers,
    object_row,
    plain_files,
    plain_folders,
    say_empty,
    set_names,
    with_boxes,
)
from migaki.importers.frames import (
    Colour,
    Frame,
    colour_of,
    coloured_mask,
    index_of,
    mask_table,
    members,
    reading,
    whole,
)
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

_SEQUENCE = re.compile(r"sequence\.\d+")
_FRAME = re.compile(r"step\.?\d+\.frame(_data)?\.json")
_PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(slots=True)
class Capture:
    """What one camera saw in one step."""

    picture: Path
    source: Path
    size: tuple[int, int]
    shapes: list[Shape] | None = None  # None: the set has no boxes
    ids: list[str] = field(default_factory=list)  # of the objects in `shapes`
    points: dict[str, tuple[str, Array]] = field(default_factory=dict)  # object -> class, (K, 3) x y v
    mask: Path | None = None
    colours: dict[Colour, str] = field(default_factory=dict)
    metrics: Row = field(default_factory=dict)


@dataclass(slots=True)
class Definitions:
    """What `annotation_definitions.json` says."""

    names: dict[int, str] = field(default_factory=dict)
    mask_names: list[str] = field(default_factory=list)
    keypoint_names: list[str] = field(default_factory=list)


class Solo(Importer):
    """`migaki import solo DIR --out DIR`: boxes, semantic masks, keypoints and metrics of Unity Perception 1.0.

    Colours of masks become class indices; instance masks serve where there are no semantic ones. Keypoints go with the
    box of the same object; without boxes, and with one object a picture, they become `keypoints`. Metrics that are
    numbers become columns. Boxes in 3D and depth as EXR are left out.
    """

    licence = "that of the renders"
    source = "Unity Perception, SOLO Dataset Schema"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What to take."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "camera"}

        camera: str = ""  # take the captures of this sensor alone, by its id; none named: of all

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether the folder holds `sequence.N` with files of frames."""
        for root in _roots(path):
            for sequence in _sequences(root)[:3]:
                if frames := _frames(sequence):
                    return f"Unity Perception SOLO: {sequence.name}/{frames[0].name}"
        return ""

    def find(self, path: Path) -> Sequence[Frame]:
        """The frames, one for each picture."""
        captures: list[Capture] = []
        definitions = Definitions()
        for root in _roots(path):
            _read_definitions(root, definitions)
            for file in (frame for sequence in _sequences(root) for frame in _frames(sequence)):
                captures += self._captures(root, file, definitions)
        if not captures:
            seen = f" of the camera '{show(self.config.camera)}'" if self.config.camera else ""
            raise UserError(f"{show(path)}: no sequence.N/stepM.frame_data.json names a picture{seen}: give the folder "
                            "that holds metadata.json and the sequences")
        with reading(path, "Unity Perception"):
            return self._frames_of(path, captures, definitions)

    def load(self, entry: Frame) -> tuple[str, Array, Row]:
        """One picture (C, H, W) with its labels."""
        return entry.load()

    def _captures(self, root: Path, file: Path, definitions: Definitions) -> list[Capture]:
        values = read_label_json(file)
        found = []
        with reading(file, "Unity Perception SOLO"):
            for item in members(values, "captures"):
                name = item.get("filename")
                if self.config.camera not in ("", item.get("id")) or (
                        isinstance(name, str) and not name.lower().endswith(_PICTURES)):
                    continue
                width, height = (whole(side, 1) for side in numbers(item["dimension"], 2))
                capture = Capture(member(root, file.parent, name, show(file)), file, (height, width))
                for note in members(item, "annotations"):
                    _annotate(root, capture, note, definitions)
                for metric in members(values, "metrics"):
                    if metric.get("sensorId") in (None, "", item.get("id")) and not metric.get("annotationId"):
                        capture.metrics |= metric_columns(str(metric.get("id") or metric.get("@type")),
                                                          metric.get("values", metric.get("value")))
                found.append(capture)
        return found

    def _frames_of(self, path: Path, captures: Sequence[Capture], definitions: Definitions) -> list[Frame]:
        tables = [table for capture in captures for _, table in capture.points.values()]
        same_length(tables)
        has_boxes = any(capture.shapes is not None for capture in captures)
        single = not has_boxes and all(len(capture.points) == 1 for capture in captures)
        for capture in captures if has_boxes or (tables and not single) else ():
            capture.shapes = with_points(capture.shapes or [], capture.ids, capture.points)
        labels = _names(shape.label for capture in captures for shape in capture.shapes or ())
        known = list(dict.fromkeys(definitions.names.values()))
        self.classes = () if not labels else [*known, *(name for name in labels if name not in known)]
        colours = _names(name for capture in captures for name in capture.colours.values())
        masks = [*definitions.mask_names, *(name for name in colours if name not in definitions.mask_names)]
        self.mask_classes = mask_table(path, masks) if any(capture.mask for capture in captures) else ()
        if tables:
            names = definitions.keypoint_names
            self.keypoint_names = [*names, *map(str, range(len(names), len(tables[0])))][: len(tables[0])]
        stems = set_names(capture.picture.relative_to(path).as_posix() for capture in captures)
        frames, empty = [], 0
        for name, capture in zip(stems, captures, strict=True):
            row = dict(capture.metrics)
            if capture.shapes is not None:
                kept = with_boxes(capture.shapes)
                empty += len(capture.shapes) - len(kept)
                row |= object_row(kept, crowd=False, points=len(tables[0]) if tables else 0)
            elif single:
                row |= single_points(next(iter(capture.points.values()))[1])
            planes = {}
            if capture.mask is not None and self.mask_classes:
                table = {colour: index_of(label, self.mask_classes) for colour, label in capture.colours.items()}
                planes["mask"] = partial(coloured_mask, capture.mask, table)
            frames.append(Frame(name, capture.picture, capture.source, row, planes, capture.size))
        say_empty(path, empty)
        return frames


def _annotate(root: Path, capture: Capture, note: dict[str, Any], definitions: Definitions) -> None:
    """Add one annotation of a capture to it; of several files of boxes or keypoints the first counts."""
    kind = str(note.get("@type", "")).rsplit(".", 1)[-1]
    if kind == "BoundingBox2DAnnotation" and capture.shapes is None:
        capture.shapes = []
        for value in members(note, "values"):
            left, top = numbers(value["origin"], 2)
            width, height = numbers(value["dimension"], 2)
            capture.shapes.append(Shape(label_of(value, definitions.names), (left, top, width, height)))
            capture.ids.append(str(value.get("instanceId", f"box {len(capture.ids)}")))
    elif kind == "KeypointAnnotation" and not capture.points:
        for value in members(note, "values"):
            table = point_table(members(value, "keypoints"), len(definitions.keypoint_names))
            capture.points[str(value["instanceId"])] = (label_of(value, definitions.names), table)
    elif kind == "SemanticSegmentationAnnotation":
        capture.mask = member(root, capture.source.parent, note["filename"], show(capture.source))
        capture.colours = {colour_of(item["pixelValue"]): class_name(item["labelName"])
                           for item in members(note, "instances")}
    elif kind == "InstanceSegmentationAnnotation" and capture.mask is None and isinstance(note.get("filename"), str):
        capture.mask = member(root, capture.source.parent, note["filename"], show(capture.source))
        capture.colours = {colour_of(item["color"]): label_of(item, definitions.names)
                           for item in members(note, "instances")}


def _read_definitions(root: Path, definitions: Definitions) -> None:
    file = root / "annotation_definitions.json"
    if not file.is_file():
        return
    member(root, root, file.name, show(root))
    values = read_label_json(file)
    with reading(file, "Unity Perception SOLO"):
        for item in members(values, "annotationDefinitions"):
            kind = str(item.get("@type", "")).rsplit(".", 1)[-1]
            if kind.startswith("KeypointAnnotation") and isinstance(item.get("template"), dict):
                definitions.keypoint_names = template_names(members(item["template"], "keypoints"))
            elif kind.startswith(("BoundingBox2D", "BoundingBoxAnnotation", "InstanceSegmentation")):
                definitions.names |= spec_names(item)
            elif kind.startswith("SemanticSegmentation"):
                definitions.mask_names += [class_name(part.get("label_name", part.get("labelName")))
                                           for part in members(item, "spec")]


def _names(labels: Iterable[str]) -> list[str]:
    return sorted(set(labels))


def _roots(path: Path) -> list[Path]:
    """The folder, or those within it, that hold sequences."""
    return [root for root in (path, *plain_folders(path)) if _sequences(root)][:1000]


def _sequences(root: Path) -> list[Path]:
    return sorted((folder for folder in plain_folders(root) if _SEQUENCE.fullmatch(folder.name)),
                  key=lambda folder: natural_key(folder.name))


def _frames(sequence: Path) -> list[Path]:
    return sorted((file for file in plain_files(sequence, ".json") if _FRAME.fullmatch(file.name)),
                  key=lambda file: natural_key(file.name))
