"""A machine observer: a small, freshly trained classifier takes the visual Turing test.

It learns real against fake from images of the two folders that are not in the test, and then judges the test's images
one by one like a person. If people guess and the machine does not, the fakes still carry a trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import read_json, write_json
from migaki.core.seeds import generator
from migaki.data.folder import ImageFolder
from migaki.judges.observers import (
    ObserverConfig,
    one_thread,
    photographs_told_apart,
    told_apart,
    train,
    verdicts,
)
from migaki.web.stimuli import Form, Pixels, StimulusSet, prepare, read_each

__all__ = ["FILE_NAME", "ObserverConfig", "observe", "read_comparison", "write_comparison"]

FILE_NAME = "observer.json"
_FEWEST = 32  # images of a set for the comparison
_CNN = "a small CNN on held-out halves"


def observe(real: Path, fake: Path, test: StimulusSet, seed: int, config: ObserverConfig | None = None) -> list[bool]:
    """Train an observer on the images outside `test` and return its answer to each test image: real or not.

    Deterministic in (images, seed) on one machine. UserError if too few images are left to train on.
    """
    config = config or ObserverConfig()
    reals, fakes = (_others(path, role, test, seed, config) for path, role in ((real, "real"), (fake, "fake")))
    with one_thread():
        observer = train(reals, fakes, seed, config)
        with torch.inference_mode():
            return [bool(observer(to_tensor([stimulus.pixels])).item() > 0) for stimulus in test.stimuli]


def write_comparison(real: Path, fake: Path, unrefined: Path | None, test: StimulusSet, seed: int, out: Path) -> None:
    """Write `observer.json`: how well a fresh CNN tells the fakes, the unrefined fakes and half of the photographs from
    photographs (`judges.observers`), each trained on one half and judged on the other.

    Sets of fewer than 32 images are left out, as their halves and quarters would say little.
    """
    config = ObserverConfig()
    photos = _evenly(real, test.form, config.max_per_class)
    found: dict[str, Any] = {}
    for name, folder in (("refined", fake), ("unrefined", unrefined)):
        images = None if folder is None else _evenly(folder, test.form, config.max_per_class)
        if images is not None and min(len(images), len(photos)) >= _FEWEST:
            found[name] = told_apart(images, photos, seed, config)
    if len(photos) >= _FEWEST:
        found["photographs_halved"] = photographs_told_apart(photos, seed, config)
    said = verdicts({"cnn": found["unrefined"]}, {"cnn": found["refined"]}, {"cnn": _CNN}) if {
        "refined", "unrefined"} <= found.keys() else []
    write_json(out / FILE_NAME, {"figures": found, "verdicts": said})


def read_comparison(out: Path) -> dict[str, Any]:
    """Returns what `write_comparison` wrote, or empty figures; UserError for a file of another form."""
    path = out / FILE_NAME
    if not path.exists():
        return {"figures": {}, "verdicts": []}
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("figures"), dict) or not all(
            isinstance(one, dict) and isinstance(one.get("told_apart"), float) and isinstance(one.get("error"), float)
            for one in found["figures"].values()) or not all(isinstance(one, str) for one in found.get("verdicts", ())):
        raise UserError(f"{path}: not what the machine observer wrote: delete it and run the test with --machine")
    return found


def _evenly(path: Path, form: Form, count: int) -> Tensor:
    """Read up to `count` evenly spaced images of a folder, in the test's form."""
    folder = ImageFolder(path, channels=3)
    places = np.linspace(0, len(folder) - 1, min(count, len(folder))).round().astype(int).tolist()
    return to_tensor([_read(folder, place, form) for place in places])


def to_tensor(pixels: Sequence[Pixels]) -> Tensor:
    """Shape: N times (H, W, C) uint8 to (N, C, H, W) in [0, 1]."""
    return torch.stack([torch.from_numpy(one.copy()) for one in pixels]).permute(0, 3, 1, 2).float() / 255


def _others(path: Path, role: str, test: StimulusSet, seed: int, config: ObserverConfig) -> Tensor:
    """Read the images of a folder that are not in the test, in the test's form.

    Images are compared by pixels as well as by name, since a copy under another name is not an unseen image.
    """
    folder = ImageFolder(path, channels=3)
    shown = [stimulus for stimulus in test.stimuli if stimulus.is_real == (role == "real")]
    names, contents = {stimulus.name for stimulus in shown}, {one.pixels.tobytes() for one in test.stimuli}
    order = torch.randperm(len(folder.names), generator=generator(seed, 5)).tolist()
    free = [index for index in order if folder.names[index] not in names][:config.max_per_class]
    kept = [pixels for index in free if (pixels := _read(folder, index, test.form)).tobytes() not in contents]
    if len(kept) < config.min_per_class:
        raise UserError(f"--machine: {path} has {len(kept)} images outside the test and the classifier needs "
                        f"{config.min_per_class} to learn from: give more images or a smaller --per-class")
    return to_tensor(kept)


def _read(folder: ImageFolder, index: int, form: Form) -> Pixels:
    return prepare(read_each(folder, [index])[0], form)
