"""What differs between simulated pictures and photographs, measured, with advice for the simulator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from migaki.core.files import make_folder, write_json
from migaki.data.folder import ImageFolder
from migaki.judges.looks import distance, read_images
from migaki.metrics.layout import LayoutGap
from migaki.metrics.neighbours import nearest_in_parts, pixel_features
from migaki.ops.full_precision import full_precision

_PICTURES = 300  # of each set that are measured
_MUCH = 0.5  # standard deviations between the means, from which a difference is worth advice
_COPY = 0.15  # root mean square of standardised pixels, below which two pictures show one moment

Values = npt.NDArray[np.float64]


@full_precision
def brightness(images: Tensor) -> Tensor:
    """Return the mean (B,) of each picture (B, C, H, W) in [0, 1]."""
    return images.float().mean((1, 2, 3))


@full_precision
def contrast(images: Tensor) -> Tensor:
    """Return the standard deviation (B,) of the brightness within each picture (B, C, H, W)."""
    return images.float().mean(1).std((1, 2), unbiased=False)


@full_precision
def colourfulness(images: Tensor) -> Tensor:
    """Return the mean distance (B,) between the largest and the smallest channel, over pixels; 0 for grey."""
    values = images.float()
    return (values.amax(1) - values.amin(1)).mean((1, 2))


@full_precision
def sharpness(images: Tensor) -> Tensor:
    """Return the mean slope (B,) between neighbouring pixels as a share of the contrast: low for blurred pictures."""
    grey = images.float().mean(1)
    across = (grey[:, :, 1:] - grey[:, :, :-1]).abs().mean((1, 2))
    down = (grey[:, 1:] - grey[:, :-1]).abs().mean((1, 2))
    return (across + down) / 2 / contrast(images).clamp_min(1e-3)


@full_precision
def grain(images: Tensor) -> Tensor:
    """Return the standard deviation (B,) of the noise of each picture (B, C, H, W), estimated where it is smooth.

    Source: Immerkaer, "Fast noise variance estimation", CVIU 1996: the mean absolute response to a mask that ignores
    edges and slopes. Of all pixels the half with the smallest responses counts, which corners of things do not reach;
    the factor makes it unbiased for normal noise.
    """
    grey = images.float().mean(1, keepdim=True)
    mask = grey.new_tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]).view(1, 1, 3, 3)
    found = torch.nn.functional.conv2d(grey, mask).abs().flatten(1)
    return found.median(1).values / 6 / _MEDIAN


_MEDIAN = 0.67448975  # of the absolute value of a standard normal

MEASURES: dict[str, tuple[str, Callable[[Tensor], Tensor], str, str]] = {
    "brightness": ("brightness", brightness, "render brighter", "render darker"),
    "contrast": ("contrast", contrast, "render with harder light or darker shadows", "render with softer light"),
    "colour": ("colourfulness", colourfulness, "use stronger colours", "use weaker colours"),
    "sharpness": ("sharpness", sharpness, "add fine texture, or less antialiasing",
                  "blur a little, as lens and motion do"),
    "grain": ("grain", grain, "add the camera's noise", "render with more samples: the photographs have less noise"),
}
"""What is measured: its name, how, and what to do if the photographs have more of it, or less."""


def look(simulated: Path, photos: Path, first: Path | None, out: Path) -> None:
    """Write `look.json` to `out`: the differences of the sets, which were brought to one size, and advice."""
    like = ImageFolder(simulated)
    drawn, taken = read_images(simulated, _PICTURES), read_images(photos, _PICTURES, like)
    rows = [_row(name, drawn, taken) for name in MEASURES if name != "colour" or drawn.shape[1] == 3]
    advice = [row["advice"] for row in rows if row["advice"]]
    gap = layout_gap(drawn, taken)
    if gap > 1:
        advice.append("the typical pictures differ in where things are: frame the simulated ones as the photographs "
                      "are framed, or crop the photographs")
    found: dict[str, Any] = {"measures": rows, "layout_gap": gap, "advice": advice}
    if min(len(drawn), len(taken)) >= 10:
        found["looks"] = distance(drawn, taken)
    if first is not None:
        found["copies"] = copies(ImageFolder(photos), ImageFolder(first))
    write_json(make_folder(out) / "look.json", found)


def _row(name: str, drawn: Tensor, taken: Tensor) -> dict[str, Any]:
    about, measure, more, less = MEASURES[name]
    values = [measure(images).double().numpy() for images in (drawn, taken)]
    apart = standardised(*values)
    advice = ""
    if abs(apart) > _MUCH:
        advice = f"{about}: {more if apart > 0 else less}"
    return {"name": about, "simulated": float(values[0].mean()), "photographs": float(values[1].mean()),
            "spread_simulated": float(values[0].std()), "spread_photographs": float(values[1].std()), "apart": apart,
            "advice": advice or _narrow(about, *values)}


def _narrow(about: str, drawn: Values, taken: Values) -> str:
    """Advice where photographs vary much more than simulated pictures."""
    return f"{about}: vary it more, the photographs differ more from each other" if \
        taken.std() > 2 * drawn.std() + 1e-6 else ""


def standardised(drawn: Values, taken: Values) -> float:
    """Returns the difference of the means, photographs minus simulated, in pooled standard deviations (Cohen's d)."""
    pooled = float(np.sqrt((drawn.var() + taken.var()) / 2))
    return float((taken.mean() - drawn.mean()) / max(pooled, 1e-6))


def layout_gap(drawn: Tensor, taken: Tensor) -> float:
    """Returns the distance of the mean pictures, see `metrics.layout`: above 1 typical pictures do not overlap."""
    meter = LayoutGap(drawn.shape[1])
    meter.update(drawn, taken)
    return float(meter.gap())


def copies(photos: ImageFolder, real: ImageFolder) -> dict[str, Any]:
    """Returns how many labelled photographs are nearly the same as one of `photos`, with the first few names."""
    rows = pixel_features(real.read(range(len(real)), ("image",))["image"])
    parts = (pixel_features(photos.read(range(start, min(start + 512, len(photos))), ("image",))["image"])
             for start in range(0, len(photos), 512))
    places, distances = nearest_in_parts(parts, rows)
    close = np.flatnonzero(distances < _COPY)
    return {"count": len(close), "of": len(real),
            "pairs": [[real.names[one], photos.names[int(places[one])]] for one in close[:5].tolist()]}


def prior(folder: ImageFolder, column: str) -> dict[str, float]:
    """Returns the share of each class of a set, by name."""
    names = folder.class_names(column)
    counts = Counter(folder.labels[column].astype(int).tolist())
    return {names[number] if number < len(names) else str(number): count / len(folder)
            for number, count in sorted(counts.items())}
