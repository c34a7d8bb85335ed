"""The figures of views in the dark: alignment, the dark third, what is too bright for the sensor."""

from __future__ import annotations

import pytest
import torch

from migaki.judges.raw_views import _Figures
from migaki.metrics.restoration import psnr
from migaki.ops.raw_light import developed, white_of


def figures(light: torch.Tensor, truth: torch.Tensor, above: torch.Tensor | None = None) -> dict[str, float]:
    found = _Figures([0])
    found.add(0, truth, {"one": light}, torch.zeros(truth.shape[-2:], dtype=torch.bool) if above is None else above)
    assert found.count == 1 and found.sheet(["one"])[:4] == b"\x89PNG"
    return found.means()["one"]


def scene() -> torch.Tensor:
    """Light (3, 12, 12): two rows of nothing, then brighter from row to row."""
    light = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0)) + torch.arange(12.0)[:, None]
    light[:, :2] = 0
    return light


def test_a_factor_and_a_shift_of_a_colour_cost_nothing() -> None:
    truth = scene()
    made = figures(truth * torch.tensor([2.0, 0.3, 5.0])[:, None, None] + 0.7, truth)
    assert made["psnr"] > 80 and made["psnr_linear"] > 80 and made["ssim"] > 0.999 and "error_above_white" not in made


def test_the_dark_third_leaves_out_what_is_black() -> None:
    truth = scene()
    spoilt = truth.clone()
    spoilt[:, 2:5] *= 1 + 0.4 * torch.tensor([1.0, -1.0]).repeat(6)  # ten rows are lit: the darkest third are 3.3 rows
    made, gain = figures(spoilt, truth), 1 / white_of(truth[None])
    dark = slice(2, 5)
    near = float(psnr(developed(spoilt, gain)[None, :, dark], developed(truth, gain)[None, :, dark]))
    assert made["psnr_dark"] == pytest.approx(near, abs=0.8) and made["psnr_dark"] < made["psnr"] - 3


def test_light_above_white_is_compared_by_its_luminance() -> None:
    truth = scene()
    cut, above = truth.clone(), torch.zeros(12, 12, dtype=torch.bool)
    above[10:] = True
    cut[:, 10:] = 10.0
    whole, lost = figures(truth, truth, above), figures(cut, truth, above)
    assert whole["error_above_white"] == pytest.approx(0.0, abs=1e-4) and lost["error_above_white"] > 0.02
