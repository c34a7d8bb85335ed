"""The first part of the page: what was found in the sets, and what differs between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from migaki.core.files import read_json, show
from migaki.data.folder import ImageFolder
from migaki.lab.adapt.gap import prior
from migaki.lab.adapt.state import Adaptation
from migaki.lab.adapt.thumbnails import thumbnails
from migaki.lab.study_report import StudyReport
from migaki.report.tables import Entry, Table

_CLASSES = 30  # classes whose shares are shown at most


def show_found(work: Adaptation, report: StudyReport) -> None:
    """Show what was read: counts, sizes, labels, ranges, and thumbnails with the labels drawn."""
    sets = work.sets
    named = [("simulated", sets.simulated, "simulated"), ("photographs", sets.photos, "photos")]
    part = "first" if work.options.is_halved else "test"
    named += [("labelled photographs", sets.real, part)] if sets.real is not None else []
    rows: list[list[Entry]] = [[name, len(folder), sizes(folder), labels(folder, work)] for name, folder, _ in named]
    report.table("found", Table(["set", "pictures", "size, px", "label that is learned"], rows,
                                " ".join(sets.notes)))
    for name, _, part in named:
        report.figure(f"thumbnails_{part}", thumbnails(ImageFolder(work.out / part), sets.task),
                      f"{name}, evenly spaced, as models see them")


def sizes(folder: ImageFolder) -> str:
    """Returns the size of the pictures of a set, or the smallest and largest, in px."""
    found = sorted({(header.width, header.height) for header in folder.headers}, key=lambda size: size[0] * size[1])
    text = f"{found[0][0]} x {found[0][1]}"
    return text if len(found) == 1 else f"{text} to {found[-1][0]} x {found[-1][1]}, {len(found)} sizes"


def labels(folder: ImageFolder, work: Adaptation) -> str:
    """Returns what a set's label holds: its classes or its range."""
    task = work.sets.task
    column = work.sets.label if folder is work.sets.real and work.sets.label else task.column(folder)
    if column is None:
        return "none"
    if column == "mask":
        names = folder.made.get("mask_classes")
        return f"masks{' of ' + ', '.join(map(show, names[:8])) if isinstance(names, list) else ''}"
    if column not in folder.labels:
        return f"'{show(column)}', {len({str(row.get(column)) for row in folder.rows})} names"
    if column == "boxes":
        count = int((folder.labels["boxes"][..., 2] > 0).sum())
        names = folder.class_names("classes")
        return f"{count} boxes{' of ' + ', '.join(map(show, names[:8])) if names else ''}"
    if column in ("label", "labels"):
        names, numbers = folder.class_names(column), np.unique(folder.labels[column])
        numbers = numbers[numbers >= 0]
        listed = ", ".join(show(names[int(one)]) if int(one) < len(names) else str(int(one)) for one in numbers[:8])
        return f"{len(numbers)} classes: {listed}{' ...' if len(numbers) > 8 else ''}"
    values = [folder.labels[name] for name in task.columns if name in folder.labels]
    return "; ".join(f"{show(name)} {np.nanmin(one):.3g} to {np.nanmax(one):.3g}"
                     for name, one in zip(task.columns, values, strict=False))


def show_gap(work: Adaptation, report: StudyReport) -> None:
    """Show what differs between simulated pictures and photographs, and what to do about it; folded if nothing is."""
    found = read_json(work.out / "look" / "look.json")
    report.section("What differs", is_folded=not found["advice"])
    rows: list[list[Entry]] = [[row["name"], row["simulated"], row["photographs"], f"{row['apart']:+.1f}",
                                row["advice"] or "alike"] for row in found["measures"]]
    report.table("gap", Table(["what", "simulated", "photographs", "standard deviations apart", "for the simulator"],
                              rows, _told(found)))
    more = [line for line in found["advice"] if line not in {row["advice"] for row in found["measures"]}]
    more += _prior_advice(work)
    if copies := found.get("copies", {}).get("count"):
        pair = found["copies"]["pairs"][0]
        more.append(f"{copies} of {found['copies']['of']} labelled photographs are nearly the same as one of the "
                    f"photographs without labels, such as {show(pair[0])} and {show(pair[1])}: figures on them may "
                    "flatter")
    if more:
        report.text("\n\n".join(f"{line[0].upper()}{line[1:]}." for line in more))


def _told(found: dict[str, Any]) -> str:
    if "looks" not in found:
        return ""
    share = max(one["told_apart"] for one in found["looks"].values())
    return f"A linear classifier tells the two sets apart in {share:.0%} of cases; 50 % is chance."


def _prior_advice(work: Adaptation) -> list[str]:
    """Returns what the chosen model's readings say of the classes among the photographs."""
    read = work.out / "read_chosen"
    if work.sets.task.name != "label" or not (read / "dataset.json").exists():
        return []
    drawn = prior(ImageFolder(work.out / "simulated"), "label")
    seen = prior(ImageFolder(read), "predicted_label")
    rare = [name for name, share in drawn.items() if seen.get(name, 0.0) < share / 4]
    often = [name for name, share in drawn.items() if seen.get(name, 0.0) > 3 * share]
    found = []
    if rare:
        found.append(f"the chosen model reads few photographs as {', '.join(map(show, rare[:8]))}: "
                     "simulate these less often if there are so few")
    if often:
        found.append(f"it reads many as {', '.join(map(show, often[:8]))}: simulate these more often if that is true")
    return found
