"""Measures with estimators how far labels moved between two folders of the same images."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from migaki import __version__
from migaki.core import hardware
from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.judge import Findings, Judge, Progress, Section, share_of
from migaki.core.metric import Metric
from migaki.data.files.image_file import show
from migaki.data.files.names import fit_name, stem_of
from migaki.data.folder import ImageFolder
from migaki.data.sets.box_classes import match_box_classes
from migaki.data.sets.class_labels import match_classes
from migaki.data.sets.mask_classes import match_mask_classes
from migaki.data.sets.number_columns import match_units
from migaki.judges.drift_meter import CHUNK, FolderMeter
from migaki.metrics.drift import DriftMeter, headline, summary, truth_key
from migaki.ops.landmarks import mark
from migaki.report.sheets import Row, sheet
from migaki.report.tables import Table

_ABOUT = (
    "Drift: the change of an estimator's prediction for an image, mean ± standard deviation over images. It includes "
    "the estimator's own uncertainty; its error against the true labels stands beside it, before and after. "
    "\"Strangers\" is the difference between the predictions for two different images: a drift of that size means "
    "that nothing is left of the label. Distances in px refer to the image width at which the estimator gives its "
    "errors (eyes: 55). "
    "Shrivastava et al. measured 1.1 ± 0.8 px for the pupil's centre, by hand, on 100 images.")


class Drift(Judge):
    """Compares two folders of the same images, label by label and estimator by estimator.

    Each row of drift.json has these keys: `estimator`, `label`, `unit`, `images`; `drift` {mean, std, median, p95};
    `strangers`, the same figures between unrelated images; `bias`, the length of the mean move of all images;
    `error_before` and `error_after`, the estimator's error against the true labels, None if the folder has none.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Which folders to compare, and with which estimators."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "estimator worst", "run": "device"}

        before: Path  # the rendered images; preferably unseen by estimators and refiner
        after: Path  # the same images refined, under the same names (the output of `migaki apply`; also variants)
        estimator: tuple[Path, ...] = ()  # runs (gaze, landmarks, ...) trained on synthetic images
        worst: int = 12  # number of images on the sheet of the worst ones
        device: hardware.Device = "auto"  # auto: a GPU where there is one

    config: Config
    file_name = "drift"

    def sources(self) -> tuple[Path, ...]:
        """Both folders."""
        return (self.config.before, self.config.after)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns one row of figures for each label and estimator."""
        config = self.config
        if not config.estimator:
            raise UserError("--estimator: name at least one run of `migaki train` on the synthetic images")
        device = hardware.choose_device(config.device)
        before = ImageFolder(config.before)
        after = ImageFolder(config.after, size=before.shape[1:], channels=before.shape[0])
        pairs = pair(before, after)
        rows: list[dict[str, Any]] = []
        columns: list[dict[str, Any]] = [{"file_name": after.names[a], "before": before.names[b]} for b, a in pairs]
        shown: list[Row] = []
        for number, estimator in enumerate(config.estimator):
            meter = FolderMeter(estimator, before, device)
            total = 2 * len(pairs) * len(config.estimator)
            readings = [_readings(meter, folder, [one[side] for one in pairs],
                                  share_of(progress, (2 * number + side) * len(pairs), total))
                        for side, folder in enumerate((before, after))]
            drifts = meter.meter.drift(readings[1], readings[0])
            name = _name(estimator, config.estimator)
            rows += [_figures(meter.meter, name, key, readings, before, pairs) for key in drifts]
            for key, values in drifts.items():
                for row, value in zip(columns, values.tolist(), strict=True):
                    row[f"{name}/{key}_{meter.unit}"] = round(value, 4)
            if number == 0:
                worst = headline(drifts).argsort(descending=True, stable=True)[: config.worst].tolist()
                shown = _worst(meter.unit, readings, before, after, [(*pairs[one], one) for one in worst])
        return self._findings(before, after, rows, columns, shown)

    def _findings(self, before: ImageFolder, after: ImageFolder, rows: list[dict[str, Any]],
                  columns: list[dict[str, Any]], shown: list[Row]) -> Findings:
        config = self.config
        table = figures_table(rows)
        record = {"before": str(config.before), "after": str(config.after),
                  "estimators": list(map(str, config.estimator)), "before_fingerprint": before.fingerprint,
                  "after_fingerprint": after.fingerprint, "version": __version__, "rows": rows}
        images = Table(list(columns[0]), [list(row.values()) for row in columns])
        files = {"drift.md": table.markdown().encode(), "drift.csv": table.csv().encode(),
                 "images.csv": images.csv().encode()}
        sections = [Section(columns=table.columns, rows=table.rows)]
        if shown:
            files["worst.png"] = sheet(shown)
            sections.append(Section(picture=files["worst.png"],
                                    caption="The images whose labels moved farthest, by the first estimator."))
        figures = {f"{row['estimator']}/{row['label']}_{row['unit']}": row["drift"]["mean"] for row in rows}
        strangers = {f"{row['estimator']}/{row['label']}_{row['unit']}": row["strangers"] for row in rows}
        return Findings(title="Label drift", record=record, figures=figures, baseline=strangers,
                        baseline_name="between different images", sections=sections, files=files, notes=[_ABOUT])


def pair(before: ImageFolder, after: ImageFolder) -> list[tuple[int, int]]:
    """Returns (index before, index after) for every image of `after`, matched by name without ending or variant `_k`.

    `p_1` may be an image of that name or variant 1 of `p`. A folder that `apply` made from `before` records which. In
    any other folder all names must allow exactly one reading. Raises UserError if a name is ambiguous or has no match.
    """
    places = _places(before)
    variants = _variants(before, after)
    odd = _odd_variants(places, variants or 0)
    stored = {_stored(stem): place for stem, place in places.items()}
    own = [stored.get(stem_of(name)) for name in after.names]
    parents = [odd.get(stem_of(name), _parent(stem_of(name), stored, variants)) for name in after.names]
    if variants is not None:
        found = own if variants == 1 else parents
    elif (None in own) != (None in parents):  # exactly one of the two readings explains all names
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
    """Returns each image's index by its name without ending."""
    places: dict[str, int] = {}
    for index, name in enumerate(before.names):
        first = places.setdefault(stem_of(name), index)
        if first != index:
            raise UserError(f"{show(before.path)}: '{show(before.names[first])}' and '{show(name)}' differ only in "
                            "their ending, so no refined image can be paired with them: give each its own name")
    return places


def _stored(stem: str) -> str:
    """Returns the stem that `apply` gives to the output of an image with this stem."""
    return stem_of(fit_name(f"{stem}.png"))


def _odd_variants(places: dict[str, int], variants: int) -> dict[str, int]:
    """Returns index by variant stem for images whose names `apply` has to alter before it can append a number."""
    return {_stored(f"{stem}_{number}"): place for stem, place in places.items() for number in range(variants)
            if _stored(f"{stem}_{number}") != f"{stem}_{number}"}


def _variants(before: ImageFolder, after: ImageFolder) -> int | None:
    """Returns how many variants `apply` made of each image; None if `after` does not record `before` as its input."""
    number = after.made.get("variants")
    known = isinstance(number, int) and number >= 1 and after.made.get("parent_fingerprint") == before.fingerprint
    return number if known else None


def _parent(stem: str, places: dict[str, int], variants: int | None) -> int | None:
    """Returns the index of the image that has a variant of this name."""
    parts = re.fullmatch(r"(.*)_(0|[1-9][0-9]*)", stem, re.DOTALL)
    if parts is None or (variants is not None and int(parts[2]) >= variants):
        return None
    return places.get(parts[1])


def _only(own: int | None, parent: int | None, name: str, before: ImageFolder, after: ImageFolder) -> int | None:
    """Returns the only possible reading of a name, or None; raises UserError if there are two."""
    if own is not None and parent is not None:
        raise UserError(f"{show(after.path)}: '{show(name)}' may be '{show(before.names[own])}' of {show(before.path)} "
                        f"or a variant of '{show(before.names[parent])}': give as --before the folder that "
                        "`migaki apply` refined")
    return parent if own is None else own


def _readings(meter: FolderMeter, folder: ImageFolder, indices: list[int], progress: Callable[[int], None]) -> Batch:
    parts: list[Batch] = []
    for start in range(0, len(indices), CHUNK):
        chunk = indices[start : start + CHUNK]
        parts.append(meter.read(folder.read(chunk, meter.keys_of(folder))))
        progress(start + len(chunk))
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _name(estimator: Path, among: Sequence[Path]) -> str:
    """Returns a run's folder name, or its path if two runs share the name."""
    return estimator.name if sum(other.name == estimator.name for other in among) == 1 else str(estimator)


def _figures(meter: DriftMeter, name: str, key: str, readings: list[Batch], before: ImageFolder,
             pairs: list[tuple[int, int]]) -> dict[str, Any]:
    first, second = readings[0][key], readings[1][key]
    row: dict[str, Any] = {
        "estimator": name, "label": truth_key(key), "unit": meter.unit(readings[0]), "images": len(pairs),
        "drift": summary(meter.away(key, second, first)),
        "strangers": float(meter.away(key, first.roll(max(1, len(first) // 2), 0), first).mean()),
        "bias": meter.bias(key, second, first),
        "error_before": None, "error_after": None,
    }
    metric = meter.estimator.metric()
    if metric is not None and all(name in before.keys for name in metric.keys) and metric.drift_unit(key):
        own = _own_errors(meter, metric, key, readings, before, pairs)
        if own is not None:
            return row | {"error_before": summary(own[0]), "error_after": summary(own[1])}
    if truth_key(key) in before.labels:
        match_classes(before, meter.estimator.config, name)
        match_units(before, meter.estimator.config, name)
        truth = _truth(meter, before, truth_key(key), pairs)
        errors = {"error_before": meter.error(key, first, truth), "error_after": meter.error(key, second, truth)}
        there = errors["error_before"].isfinite()
        if there.any():
            row |= {side: summary(values[there]) for side, values in errors.items()}
    return row


def _own_errors(meter: DriftMeter, metric: Metric, key: str, readings: list[Batch], before: ImageFolder,
                pairs: list[tuple[int, int]]) -> list[torch.Tensor] | None:
    """Returns the errors before and after by the metric's own rule, or None if it has none for this reading."""
    match_mask_classes(before, meter.estimator.config, "the estimator")
    match_box_classes(before, meter.estimator.config, "the estimator")
    names = (*metric.keys, *(name for name in metric.hints if name in before.labels))
    errors: list[torch.Tensor] = []
    for reading in readings:
        parts: list[torch.Tensor] = []
        for start in range(0, len(pairs), CHUNK):
            truth = before.read([b for b, _ in pairs[start : start + CHUNK]], names)
            error = metric.drift_error(key, reading[key][start : start + CHUNK], truth)
            if error is None:
                return None
            parts.append(error)
        errors.append(torch.cat(parts))
    return errors


def _truth(meter: DriftMeter, folder: ImageFolder, key: str, pairs: list[tuple[int, int]]) -> torch.Tensor:
    """Returns the true labels of the pairs; NaN where the estimator's kind of label may be missing and is."""
    metric = meter.estimator.metric()
    if metric is None or not metric.may_miss:
        folder.require(key)
    chosen = [b for b, _ in pairs]
    truth = folder.read_label(key, chosen)
    if metric is not None and "keypoint_visible" in metric.hints and "keypoint_visible" in folder.labels:
        labelled = folder.read_label("keypoint_visible", chosen) > 0
        truth = truth.float().masked_fill(~labelled[..., None], torch.nan)
    return truth


def _worst(unit: str, readings: list[Batch], before: ImageFolder, after: ImageFolder,
           chosen: list[tuple[int, int, int]]) -> list[Row]:
    """Returns the images whose labels moved farthest, with the estimated positions marked."""
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
    """Returns the figures as a table: mean and standard deviation over images, as in the paper."""
    def cell(found: dict[str, float] | None) -> str | None:
        return None if found is None else f"{found['mean']:.2f} ± {found['std']:.2f}"

    names = ["estimator", "label", "unit", "images", "drift", "median", "95 % below", "common to all", "strangers",
             "own error", "error after"]
    return Table(names, [[row["estimator"], row["label"], row["unit"], row["images"], cell(row["drift"]),
                          round(row["drift"]["median"], 3), round(row["drift"]["p95"], 3),
                          None if row["bias"] is None else round(row["bias"], 3), round(row["strangers"], 2),
                          cell(row["error_before"]), cell(row["error_after"])] for row in rows])
