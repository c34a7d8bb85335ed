"""What a set's dataset.json says of its columns: kept by every stage that carries the columns."""

from __future__ import annotations

from typing import Any

from migaki.data.folder import ImageFolder

SAID = ("mask_classes", "keypoint_names", "units", "circular", "scene")
"""The entries of dataset.json that explain columns, beside `classes`; `scene`: where posed pictures look."""


def said_of(folder: ImageFolder, model: Any = None) -> dict[str, Any]:
    """The entries of a folder's dataset.json that explain its columns, and the names of its classes.

    `model` is the configuration of a model that reads the folder: what it reads has the units it was trained on.
    """
    found = {name: folder.made[name] for name in SAID if folder.made.get(name)}
    columns, units = getattr(model, "columns", ()), getattr(model, "units", ())
    if read := {column: unit for column, unit in zip(columns, units, strict=False) if unit}:
        found["units"] = found.get("units", {}) | read
    if turning := [name for name in getattr(model, "circular", ()) if name not in found.get("circular", [])]:
        found["circular"] = [*found.get("circular", []), *turning]
    return ({"classes": folder.classes} if folder.classes else {}) | found
