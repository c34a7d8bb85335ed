"""Figures are files of the promised kind, hold what they were given, and refuse what they cannot show."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.errors import UserError
from migaki.report import figures, sheets

RNG = np.random.default_rng(0)
ROWS = [{"step": i, "refiner/a": 1 / (i + 1), "refiner/b": None if i % 2 else 0.5, "rate": 1e-3, "note": "x"}
        for i in range(20)]
DRAWN: dict[str, Callable[..., bytes]] = {
    "curves": lambda **k: figures.training_curves(ROWS, smooth=3, **k),
    "errors": lambda **k: figures.error_curves({"a $x$ <b>": RNG.gamma(2, 4, 50), "b": [1.0]}, **k),
    "scatter": lambda **k: figures.scatter(RNG.normal(size=30), RNG.normal(size=30), **k),
    "flat scatter": lambda **k: figures.scatter([1.0, 1.0], [1.0, 1.0], **k),
    "bars": lambda **k: figures.bars({"one": [1.0], "three": [1.0, 2.0, 3.0]}, **k),
    "confusion": lambda **k: figures.confusion([[3, 1], [0, 5]], ["cat", "dog"], **k),
}


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_png_or_svg_and_leave_the_settings_alone(name: str) -> None:
    before = dict(mpl.rcParams)
    assert Image.open(io.BytesIO(DRAWN[name]())).width > 300
    assert b"<svg" in DRAWN[name](fmt="svg")
    assert dict(mpl.rcParams) == before


def test_equal_input_gives_equal_bytes() -> None:
    for fmt in ("png", "svg"):
        draw = [figures.bars({"a": [1.0, 2.0]}, fmt=fmt) for _ in range(2)]  # type: ignore[arg-type]
        assert draw[0] == draw[1]


def test_points_are_not_joined() -> None:
    rows = [{"step": step, "a": 0.0, "b": 5.0 if step in (1, 9) else None} for step in range(11)]

    def coloured(**options: Any) -> int:
        """Pixels of a saturated colour in the panel of `b`, of which two steps have a value."""
        drawn = Image.open(io.BytesIO(figures.training_curves(rows, keys=["b"], **options))).convert("HSV")
        return int((np.asarray(drawn)[..., 1] > 100).sum())

    assert 0 < coloured(points=("b",)) < coloured() / 2
    assert figures.training_curves(rows, keys=["a", "c"], points=("c",))  # of which no step has a value


@pytest.mark.parametrize("draw", [
    lambda: figures.training_curves([]), lambda: figures.training_curves([{"step": 1, "loss": "high"}]),
    lambda: figures.error_curves({"a": []}), lambda: figures.error_curves({"a": [float("nan")]}),
    lambda: figures.scatter([1.0], [1.0, 2.0]), lambda: figures.bars({"a": []}),
    lambda: figures.confusion([[1, 2, 3], [4, 5, 6]]), lambda: sheets.sheet([]),
    lambda: sheets.sheet([("a", torch.zeros(0, 1, 4, 4))]), lambda: sheets.sheet([("a", torch.zeros(1, 2, 4, 4))]),
])
def test_what_cannot_be_shown_is_refused(draw: Callable[[], bytes]) -> None:
    with pytest.raises(UserError):
        draw()


def test_a_sheet_shows_small_patches_large_and_pixel_by_pixel() -> None:
    image = torch.rand(1, 1, 36, 60)
    shown = Image.open(io.BytesIO(sheets.sheet([("", image)], min_side=96)))
    factor = 3
    assert shown.size == (60 * factor + 2 * sheets.GAP, 36 * factor + 2 * sheets.GAP)
    pixels = np.asarray(shown)[sheets.GAP:-sheets.GAP, sheets.GAP:-sheets.GAP][::factor, ::factor]
    expected = (image[0, 0] * 255).round().numpy()
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., channel], expected)


def test_a_sheet_takes_rows_of_several_sizes_and_channels_and_wraps() -> None:
    rows = [("synthetic", torch.rand(15, 1, 36, 60)), ("real", torch.rand(14, 3, 35, 55))]
    wide = Image.open(io.BytesIO(sheets.sheet(rows, max_columns=15)))
    tall = Image.open(io.BytesIO(sheets.sheet(rows, max_columns=5, upscale="bicubic")))
    assert tall.width < wide.width and tall.height > 2 * wide.height


def test_nan_is_seen_and_values_beyond_the_range_are_cut() -> None:
    pixels = np.asarray(sheets.picture(torch.tensor([[[float("nan"), 2.0, -1.0]]])))
    assert pixels[0].tolist() == [[255, 0, 255], [255, 255, 255], [0, 0, 0]]
