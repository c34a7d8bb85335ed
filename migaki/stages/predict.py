"""predict: what a trained system says of single pictures, in the places of the pictures that were given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from migaki.core import hardware
from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.glossary import glossary
from migaki.core.seeds import generator
from migaki.core.trained import load_system
from migaki.data.files import framing
from migaki.data.sets.carry import Move, framed
from migaki.data.sets.class_labels import predicted_classes
from migaki.data.sets.labels import batch_rows
from migaki.data.whole import restorer
from migaki.stages.system_work import split_made

Array = np.ndarray[Any, Any]

UNSEEN = 255
"""The class index of pixels of a mask that the system has not seen, since its frame is cut out of the picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a system says of one picture.

    `values` are plain: columns as `migaki apply` writes them, without `predicted_`, places in px of the picture that
    was given. `shares` are the classes with their shares (softmax), the likeliest first. `image` (C, H, W) is the
    picture that the system makes, if it makes one, in its own frame. `planes` (H, W) are masks and the like, in the
    size of the picture that was given; `UNSEEN` where the system saw nothing (0 in planes other than masks).
    """

    values: dict[str, Any]
    shares: tuple[tuple[str | int, float], ...]
    image: Array | None
    planes: dict[str, Array]

    @property
    def row(self) -> dict[str, Any]:
        """The values as the columns `predicted_...` of a row."""
        return {f"predicted_{name}": value for name, value in self.values.items()}


class Predictor:
    """A trained system that reads pictures one after the other; it may be asked by several threads.

    Pictures are brought to the system's frame as `ImageFolder` does: scaled to cover it, cut around the centre. Other
    inputs than pictures cannot be given. Raises UserError for a run that is not whole, and for such a system.
    """

    def __init__(self, run: Path, device: hardware.Device = "auto", precision: hardware.Precision = "auto") -> None:
        self.system = load_system(run)
        others = [name for name in self.system.inputs if name != "image"]
        if others or not self.system.inputs:
            raise UserError(f"{run}: reads {', '.join(others) or 'no picture'} besides pictures, which a picture alone "
                            "does not give: use `migaki apply` on a set that has it")
        self.device = hardware.choose_device(device)
        self.precision = hardware.choose_precision(precision, self.device)
        self.drawn = self.system.drawn()
        self._restore = None if self.system.tiling is None else restorer(self.system, None, device, precision)
        self._turn = Lock()  # one picture at a time: each uses all cores
        self.system.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def read(self, pixels: Array, seed: int = 0) -> Reading:
        """Returns what the system says of a picture (C, H, W) of bytes, 16 bits or floats in [0, 1].

        `seed` is that of the system's random draws. Raises UserError for pixels for which there is no rule.
        """
        where = Path("the picture")
        if pixels.ndim != 3 or 0 in pixels.shape:
            raise UserError(f"a picture is (channels, height, width), not {pixels.shape}")
        has_alpha = pixels.shape[0] in (2, 4)
        array = framing.check_values(pixels, None, where)
        array = framing.convert_channels(array, self.system.channels, has_alpha=has_alpha, path=where)
        with self._turn:
            return self._restored(array) if self._restore is not None else self._read(array, seed)

    def _restored(self, array: Array) -> Reading:
        assert self._restore is not None
        image, mask = self._restore(np.ascontiguousarray(array))
        planes = {} if mask is None else {"mask": mask}
        return Reading(values={}, shares=(), image=framing.to_unit(image), planes=planes)

    def _read(self, array: Array, seed: int) -> Reading:
        shape = self.system.shape
        size = array.shape[1:] if shape is None else shape[1:]
        unit = framing.to_unit(framing.resize(array, (size[0], size[1])))
        batch: Batch = {"image": torch.from_numpy(np.ascontiguousarray(unit))[None].to(self.device)}
        for key, own in self.drawn.items():
            batch[key] = torch.randn(own, generator=generator(seed, 0))[None].to(self.device)
        with torch.inference_mode(), hardware.autocast(self.device, self.precision):
            made = {name: value.float().cpu() for name, value in self.system.predict(batch).items()}
        move = framed(array.shape[1], array.shape[2], (size[0], size[1]))
        return self._reading(made, back(move))

    def _reading(self, made: Batch, move: Move) -> Reading:
        """Sort the outputs of one picture by their kinds; `move` leads from the system's frame to the picture."""
        picture, rest = split_made(made)
        kinds = {name: key.kind for name, key in glossary().items()}
        planes = {name: _plane(name, rest.pop(name)[0], move) for name in list(rest) if kinds.get(name) == "plane"}
        logits = rest.pop("logits", None)
        own = batch_rows(moved(rest, move))[0] if rest else {}
        values = {name.removeprefix("predicted_"): value for name, value in own.items()}
        shares: tuple[tuple[str | int, float], ...] = ()
        if logits is not None and logits.ndim == 2:
            values["label"] = predicted_classes(logits, self.system.config)[0]
            shares = shares_of(logits[0], getattr(self.system.config, "classes", ()))
        image = None if picture is None else picture[0].clamp(0, 1).numpy()
        return Reading(values=values, shares=shares, image=image, planes=planes)


def back(move: Move) -> Move:
    """The move that takes pixels back to where they were."""
    inverse = np.linalg.inv(np.vstack([move.matrix, [0.0, 0.0, 1.0]]))
    return Move(inverse[:2], move.after, move.before)


def moved(made: Batch, move: Move) -> Batch:
    """Places among a system's outputs, moved; rows of objects that are only there to fill up stay as they are."""
    found = dict(made)
    for name, value in made.items():
        key = glossary().get(name)
        if key is None or key.kind not in ("points", "boxes"):
            continue
        given = value.double().numpy()
        result = move.boxes(given) if key.kind == "boxes" else move.points(given)
        if key.pad is not None:  # a row of nothing but its filling
            filling = (given == key.pad).all(-1)
            result = np.where(filling[..., None], given, result)
        found[name] = torch.from_numpy(result.astype(np.float32))
    return found


def shares_of(logits: torch.Tensor, names: Sequence[str], most: int = 5) -> tuple[tuple[str | int, float], ...]:
    """Returns the likeliest classes of logits (K,) with their shares, by the softmax."""
    shares = torch.softmax(logits.double(), 0)
    order = torch.argsort(-shares, stable=True)[:most].tolist()
    return tuple((names[place] if place < len(names) else place, float(shares[place])) for place in order)


def _plane(name: str, plane: torch.Tensor, move: Move) -> Array:
    """A plane in the size of the picture that was given, at the nearest pixels; `move` leads there, without a turn."""
    values: Array = plane.numpy()
    values = values.astype(np.int64 if values.max(initial=0) > UNSEEN else np.uint8) if name == "mask" else values
    if move.is_identity:
        return values
    to_frame = back(move).matrix
    rows = np.rint(to_frame[1, 1] * np.arange(move.after[0]) + to_frame[1, 2]).astype(np.int64)
    columns = np.rint(to_frame[0, 0] * np.arange(move.after[1]) + to_frame[0, 2]).astype(np.int64)
    height, width = values.shape
    found = values[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)[None]]
    seen = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None]
    result: Array = np.where(seen, found, UNSEEN if name == "mask" else 0).astype(values.dtype)
    return result
