"""drift: by how much labels moved between two folders of the same images, as estimators read them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from migaki import __version__
from migaki.core import hardware
from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import apart, atomic_write, make_folder, write_json, write_text
from migaki.core.progress import Bar
from migaki.core.trained import load_system
from migaki.data.files.image_file import show
from migaki.data.folder import ImageFolder
from migaki.data.sets.labels import batch_rows
from migaki.metrics.drift import DriftMeter, calibration_indices, headline, summary, truth_key
from migaki.ops.landmarks import mark
from migaki.report.page import Page
from migaki.report.sheets import Row, sheet
from migaki.report.tables import Table

_CHUNK = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftJob:
    """What to compare, and who reads the labels."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "worst", "run": "device"}

    before: Path  # the images as they were rendered, best ones that no estimator and no refiner has seen
    after: Path  # the same images refined, by the same names (what `migaki apply` leaves; variants too)
    estimator: tuple[Path, ...]  # runs of gaze, landmarks, classifier ... that were trained on synthetic images
    out: Path  # the folder of drift.json, drift.csv, drift.md, images.csv, worst.png, drift.html
    worst: int = 12  # images on the sheet of the worst
    device: hardware.Device = "auto"  # auto: a GPU where there is one


class FolderMeter:
    """An estimator that tells the drift of images of one folder, image by image, whatever the batch they stand in.

    Raises UserError if it does not read images of the folder's shape.
    """

    def __init__(self, estimator: Path, folder: ImageFolder, device: torch.device) -> None:
        system = load_system(estimator).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self.meter = DriftMeter(system)
        self.meter.require_shape(folder.shape, estimator)
        self.unit = self.meter.unit(self._read(folder, [0]))
        if self.meter.needs_calibration:
            chosen = calibration_indices(len(folder))
            self.meter.calibrate([self._read(folder, chosen[start : start + _CHUNK])
                                  for start in range(0, len(chosen), _CHUNK)])

    def _read(self, folder: ImageFolder, indices: list[int]) -> Batch:
        return self.read(folder.read(indices, inputs_of(folder)))

    def read(self, batch: Batch) -> Batch:
        """The readings of a batch, on the CPU."""
        moved = {key: value.to(self.device) for key, value in batch.items()}
        return {key: value.cpu() for key, value in self.meter.read(moved).items()}

    def columns(self, before: Batch, after: Batch) -> list[dict[str, float]]:
        """For each image `drift`, the mean over the labels, and where there are several `drift_<label>` of each."""
        drifts = self.meter.drift(self.read(after), self.read(before))
        named = {"drift": headline(drifts)}
        if len(drifts) > 1:
            named |= {f"drift_{key}": value for key, value in drifts.items()}
        return batch_rows(named)


def inputs_of(folder: ImageFolder) -> tuple[str, ...]:
    """What an estimator is given of a folder's images."""
    return ("image", "side") if "side" in folder.labels else ("image",)


def written(images: Tensor) -> Tensor:
    """Images in [0, 1] as they are read back from files of 8 bits."""
    return (images.clamp(0, 1) * 255).round() / 255


def drift(job: DriftJob, *, command: str = "", quiet: bool = False) -> tuple[Path, list[dict[str, Any]]]:
    """Compare the two folders; returns the folder of the report and one row of figures for each label and estimator.

    Each row: `estimator`, `label`, `unit`, `images`; `drift` {mean, std, median, p95}; `bias`, the length of the move
    that all images have in common; `error_before` and `error_after`, the estimator's own against the true labels, of
    the same form, None where the folder has none. Raises UserError for folders that do not fit each other.
    """
    device = hardware.choose_device(job.device)
    apart(job.out, job.before, job.after)
    before = ImageFolder(job.before)
    after = ImageFolder(job.after, size=before.shape[1:], channels=before.shape[0])
    pairs = pair(before, after)
    rows: list[dict[str, Any]] = []
    columns: list[dict[str, Any]] = [{"file_name": after.names[a], "before": before.names[b]} for b, a in pairs]
    shown: list[Row] = []
    for number, estimator in enumerate(job.estimator):
        meter = FolderMeter(estimator, before, device)
        readings = [_readings(meter, folder, [one[side] for one in pairs], quiet)
                    for side, folder in enumerate((before, after))]
        drifts = meter.meter.drift(readings[1], readings[0])
        name = _name(estimator, job.estimator)
        rows += [_figures(meter.meter, name, key, readings, before, pairs) for key in drifts]
        for key, values in drifts.items():
            for row, value in zip(columns, values.tolist(), strict=True):
                row[f"{name}/{key}_{meter.unit}"] = round(value, 4)
        if number == 0:
            worst = headline(drifts).argsort(descending=True, stable=True)[: job.worst].tolist()
            shown = _worst(meter.unit, readings, before, after, [(*pairs[one], one) for one in worst])
    record = {"before": str(job.before), "after": str(job.after), "estimators": list(map(str, job.estimator)),
              "before_fingerprint": before.fingerprint, "after_fingerprint": after.fingerprint, "version": __version__}
    _write(job.out, record, rows, columns, shown, command)
    return job.out, rows


def stem_of(name: str) -> str:
    """A picture's name without its ending: what an image that is made of it keeps."""
    stem, ending = posixpath.splitext(name)
    return stem + "." if ending == "." else stem  # a dot at the end is part of the name


def pair(before: ImageFolder, after: ImageFolder) -> list[tuple[int, int]]:
    """(index before, index after) of every image of `after`, by names without their endings; `_k` names a variant.

    `p_1` may be an image of that name or variant 1 of `p`. A folder that `apply` made of `before` says which; in any
    other all names must have one reading. Raises UserError where they have not, or where there is no such image.
    """
    places = _places(before)
    variants = _variants(before, after)
    own = [places.get(stem_of(name)) for name in after.names]
    parents = [_parent(stem_of(name), places, variants) for name in after.names]
    if variants is not None:
        found = own if variants == 1 else parents
    elif (None in own) != (None in parents):  # only one reading explains all names
        found = parents if None in own else own
    else:
        found = [_only(one, other, name, before, after)
                 for one, other, name in zip(own, parents, after.names, strict=True)]
    pairs = []
    for index, place in enumerate(found):
        if place is None:
            raise UserError(f"{show(after.path)}: '{show(after.names[index])}' has no image of that name in "
                            f"{show(before.path)}: give the folder that was refined")
        pairs.append((place, index))
    return pairs


def _places(before: ImageFolder) -> dict[str, int]:
    """Index by the name without its ending."""
    places: dict[str, int] = {}
    for index, name in enumerate(before.names):
        first = places.setdefault(stem_of(name), index)
        if first != index:
            raise UserError(f"{show(before.path)}: '{show(before.names[first])}' and '{show(name)}' have one name but "
                            "for the ending, by which no refined image can be paired: give each its own name")
    return places


def _variants(before: ImageFolder, after: ImageFolder) -> int | None:
    """How many images `apply` made of each of `before`; None where `after` does not say that it was made of it."""
    number = after.made.get("variants")
    known = isinstance(number, int) and number >= 1 and after.made.get("parent_fingerprint") == before.fingerprint
    return number if known else None


def _parent(stem: str, places: dict[str, int], variants: int | None) -> int | None:
    """The image whose variant has this name."""
    parts = re.fullmatch(r"(.*)_(0|[1-9][0-9]*)", stem, re.DOTALL)
    if parts is None or (variants is not None and int(parts[2]) >= variants):
        return None
    return places.get(parts[1])


def _only(own: int | None, parent: int | None, name: str, before: ImageFolder, after: ImageFolder) -> int | None:
    """The one reading of a name."""
    if own is not None and parent is not None:
        raise UserError(f"{show(after.path)}: '{show(name)}' may be '{show(before.names[own])}' of {show(before.path)} "
                        f"or a variant of '{show(before.names[parent])}': give as --before the very folder that "
                        "`migaki apply` refined")
    return parent if own is None else own


def _readings(meter: FolderMeter, folder: ImageFolder, indices: list[int], quiet: bool) -> Batch:
    parts: list[Batch] = []
    with Bar(f"read {folder.path.name}", len(indices), quiet=quiet) as bar:
        for start in range(0, len(indices), _CHUNK):
            chunk = indices[start : start + _CHUNK]
            parts.append(meter.read(folder.read(chunk, inputs_of(folder))))
            bar.advance(len(chunk))
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _name(estimator: Path, among: Sequence[Path]) -> str:
    """A run's folder name, or its path where two are called the same."""
    return estimator.name if sum(other.name == estimator.name for other in among) == 1 else str(estimator)


def _figures(meter: DriftMeter, name: str, key: str, readings: list[Batch], before: ImageFolder,
             pairs: list[tuple[int, int]]) -> dict[str, Any]:
    first, second = readings[0][key], readings[1][key]
    row: dict[str, Any] = {
        "estimator": name, "label": truth_key(key), "unit": meter.unit(readings[0]), "images": len(pairs),
        "drift": summary(meter.away(key, second, first)), "bias": meter.bias(key, second, first),
        "error_before": None, "error_after": None,
    }
    if truth_key(key) in before.labels:
        before.require(truth_key(key))
        truth = before.read_label(truth_key(key), [b for b, _ in pairs])
        row |= {"error_before": summary(meter.error(key, first, truth)),
                "error_after": summary(meter.error(key, second, truth))}
    return row


def _worst(unit: str, readings: list[Batch], before: ImageFolder, after: ImageFolder,
           chosen: list[tuple[int, int, int]]) -> list[Row]:
    """The images whose labels moved farthest; places as they were read are marked."""
    images = [folder.read([one[side] for one in chosen], ("image",))["image"]
              for side, folder in enumerate((before, after))]
    if images[0].shape[1] not in (1, 3):
        return []
    shown = list(images)
    if unit == "px":
        rows = [one[2] for one in chosen]
        for side, colour in enumerate(((0.0, 0.7, 0.2), (0.9, 0.1, 0.1))):
            places = [value[rows].reshape(len(rows), -1, value.shape[-1])[..., :2] for value in readings[side].values()]
            shown[side] = mark(images[side], torch.cat(places, 1), colour)
    return [("before", shown[0]), ("after", shown[1]), ("change, x2", ((images[1] - images[0]) + 0.5).clamp(0, 1))]


def figures_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The figures as a table: mean and standard deviation over images, as the paper gives them."""
    def cell(found: dict[str, float] | None) -> str | None:
        return None if found is None else f"{found['mean']:.2f} ± {found['std']:.2f}"

    names = ["estimator", "label", "unit", "images", "drift", "median", "95 % below", "common to all", "own error",
             "error after"]
    return Table(names, [[row["estimator"], row["label"], row["unit"], row["images"], cell(row["drift"]),
                          round(row["drift"]["median"], 3), round(row["drift"]["p95"], 3),
                          None if row["bias"] is None else round(row["bias"], 3),
                          cell(row["error_before"]), cell(row["error_after"])] for row in rows])


def _write(out: Path, record: dict[str, Any], rows: list[dict[str, Any]], columns: list[dict[str, Any]],
           shown: list[Row], command: str) -> None:
    make_folder(out)
    table = figures_table(rows)
    page = Page("Label drift", f"{record['before']} against {record['after']}")
    page.text("Drift: by how much what an estimator reads off an image moved, mean ± standard deviation over images. "
              "It holds the estimator's own uncertainty; its error against the true labels stands beside it, before "
              "and after. px are meant at the image width that the estimator tells its errors for (eyes: 55). "
              "Shrivastava et al. measured 1.1 ± 0.8 px for the pupil's centre, by hand, on 100 images.")
    page.table(table)
    if shown:
        picture = sheet(shown)
        with atomic_write(out / "worst.png") as file:
            file.write(picture)
        page.figure(picture, "The images whose labels moved farthest, by the first estimator.")
    if command:
        page.section("Repeat it")
        page.code(command)
    page.write(out / "drift.html")
    write_text(out / "drift.md", table.markdown())
    write_text(out / "drift.csv", table.csv())
    write_text(out / "images.csv", Table(list(columns[0]), [list(row.values()) for row in columns]).csv())
    # Last: whoever finds it finds everything else too.
    write_json(out / "drift.json", {**record, "rows": rows})
