"""The steps of the signs study that no command covers: observers of each set, the blind choice, the pictures chosen."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import make_folder, read_json, show, write_json
from migaki.data.folder import ImageFolder
from migaki.data.sets.overlap import shared_pictures
from migaki.data.writers.writer import FolderWriter
from migaki.judges.choice import UNREFINED, Candidate, choose
from migaki.judges.looks import distance, read_images
from migaki.judges.observers import ObserverConfig, binomial_error, photographs_told_apart, told_apart
from migaki.lab.chain import Step
from migaki.lab.steps import call_step

_FEW = 8  # pictures of a set, below which the CNN has nothing to learn from


def photos_step(photos: Path, labelled: Path, size: int, out: Path) -> Step:
    """Copy the photographs, in one size and without labels, but for those that `labelled` holds too, pixel for pixel.

    Photographs that judge must not be seen before, not even without their labels; collections often hold copies. The
    number left out is written to dataset.json. Raises UserError if fewer than 8 photographs are left.
    """

    def work() -> None:
        kept, gone = _apart(photos, labelled)
        images = ImageFolder(photos, size=(size, size), channels=3)
        shutil.rmtree(out, ignore_errors=True)  # left by an interrupted call; nothing else writes there
        info = {"parent": str(photos), "parent_fingerprint": images.fingerprint, "copies_left_out": gone}
        with FolderWriter(out, info, len(kept)) as writer:
            for place, index in enumerate(kept):
                writer.write(place, f"{index:06d}", images.read([index], ("image",))["image"][0], {})

    return call_step(f"take the photographs that are not in {labelled} too, at {size} px", work, out / "dataset.json",
                     [photos, labelled])


def _apart(photos: Path, labelled: Path) -> tuple[list[int], int]:
    """Returns the numbers of the photographs that are not among the labelled ones, and how many are."""
    folder = ImageFolder(photos)
    shared = set(shared_pictures(folder, ImageFolder(labelled)))
    kept = [number for number, name in enumerate(folder.names) if name not in shared]
    if len(kept) < _FEW:
        raise UserError(f"{show(photos)}: {len(kept)} photographs are left without the {len(shared)} that are in "
                        f"--labelled {show(labelled)} too: give other photographs")
    return kept, len(shared)


def observe_step(folder: Path, photos: Path, like: Path, out: Path, pictures: int, steps: int, cost: float) -> Step:
    """The observers of `judges.looks` for one set against photographs, read in the size of the set `like`."""

    def work() -> None:
        size = ImageFolder(like)
        write_json(make_folder(out) / "observers.json",
                   _observed(read_images(folder, pictures, size), read_images(photos, pictures, size), steps))

    about = f"have observers tell {folder.name} from photographs, {pictures} pictures, {steps} updates"
    return call_step(about, work, out / "observers.json", [folder, photos, like], cost)


def halves_step(photos: Path, like: Path, out: Path, pictures: int, steps: int, cost: float) -> Step:
    """The same for photographs against photographs: what the observers find where there is nothing to find."""

    def work() -> None:
        real = read_images(photos, pictures, ImageFolder(like))
        found = _observed(real[::2], real[1::2], 0)
        if steps and len(real) >= 4 * _FEW:
            found["cnn"] = photographs_told_apart(real, config=ObserverConfig(num_steps=steps))
        write_json(make_folder(out) / "observers.json", found)

    about = f"have observers tell photographs from photographs, {pictures} pictures, {steps} updates"
    return call_step(about, work, out / "observers.json", [photos, like], cost)


def _observed(images: Any, photos: Any, steps: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = dict(distance(images, photos))
    for one in found.values():
        one["error"] = binomial_error(one["told_apart"], 2 * min(len(images), len(photos)))
    if steps and min(len(images), len(photos)) >= _FEW:
        found["cnn"] = told_apart(images, photos, config=ObserverConfig(num_steps=steps))
    return found


def choice_step(sets: Mapping[str, Path], observed: Mapping[str, Path], drift: Mapping[str, Path], tolerance: float,
                out: Path) -> Step:
    """Choose among refined sets by observers and drift alone, as `migaki evaluate choice` does; writes `choice.json`.

    The three mappings have the same keys: names of sets, in the order of the table; the first is the unrefined one.
    Matching changes colours alone and cannot move a label: the classes that flip under it are the estimator's doubt,
    which is taken off those of the other sets.
    """

    def work() -> None:
        doubt = _flips(drift["matched"]) if "matched" in drift else 0.0
        found = [_candidate(name, observed[name], _flips(drift[name]) - doubt if name in drift else 0.0)
                 for name in sets]
        chosen = choose(found, tolerance)
        write_json(make_folder(out) / "choice.json", {
            "chosen": chosen.name, "tolerance": tolerance,
            "candidates": {one.name: one.figures() | {"error": one.error} for one in found}})

    about = (f"choose without labels among {', '.join(sets)}, at most {tolerance:g} % of classes flipped "
             "beyond those that matching flips")
    return call_step(about, work, out / "choice.json", [*observed.values(), *drift.values()])


def _flips(drift: Path) -> float:
    """Returns the share of classes, %, that the estimator reads as others in this set."""
    return float(read_json(drift / "drift.json")["rows"][0]["drift"]["mean"])


def _candidate(name: str, observed: Path, flips: float) -> Candidate:
    figures = read_json(observed / "observers.json")
    shares = {key: float(one["told_apart"]) for key, one in figures.items()}
    return Candidate(name, shares, float(np.mean([one["error"] for one in figures.values()])), max(0.0, flips))


def regrets(choices: Sequence[Path], accuracies: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """Returns for each refiner what was chosen, what would have been best by labels, and the difference.

    `accuracies` maps names of sets to the mean accuracy, %, of the models trained on them.
    """
    found = []
    for path, known in zip(choices, accuracies, strict=True):
        chosen = str(read_json(path / "choice.json")["chosen"])
        best = max(known, key=lambda name: known[name])
        found.append({"chosen": chosen, "best": best, "accuracy": known[chosen], "best_accuracy": known[best],
                      "regret": known[best] - known[chosen]})
    return found


__all__ = ["UNREFINED", "choice_step", "halves_step", "observe_step", "photos_step", "regrets"]
