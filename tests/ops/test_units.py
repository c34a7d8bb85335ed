"""Units of a layer: their peaks, the pixels that a value depends on, and their profile of classes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from toy_nets import Pooled, pictures, ready

from migaki.ops import units
from migaki.ops.taps import UnfitModel


def test_peaks_are_the_largest_values_and_their_positions() -> None:
    model, images = ready(Pooled()), pictures()
    assert isinstance(model, Pooled)
    peaks, places = units.unit_peaks(model, images, "first")
    maps = model.first(images)
    for row in range(3):
        for unit in range(6):
            y, x = places[row, unit].tolist()
            assert peaks[row, unit] == maps[row, unit].max() == maps[row, unit, y, x]
    scores, nowhere = units.unit_peaks(model, images, "head")
    assert torch.equal(scores, model(images)) and not nowhere.any()


def test_a_gradient_lies_in_the_receptive_field() -> None:
    model, image = ready(Pooled()), pictures(1)[0]
    slope = units.unit_slope(model, image, "first", 2, (5, 4))
    assert isinstance(model, Pooled)
    assert torch.allclose(slope[:, 4:7, 3:6], model.first.weight[2]) and slope.abs().sum() == pytest.approx(
        model.first.weight[2].abs().sum().item(), rel=1e-5)
    assert units.box_of(slope, 1.0) == (3, 4, 6, 7)
    assert units.unit_slope(model, image, "head", 1, (0, 0)).shape == image.shape


def test_the_box_leaves_out_what_has_no_say() -> None:
    slope = torch.zeros(1, 20, 30)
    slope[0, 5:15, 10:20], slope[0, 0, 0], slope[0, 19, 29] = 1.0, 0.1, -0.1
    assert units.box_of(slope, 1.0) == (0, 0, 30, 20)
    assert units.box_of(slope, 0.99) == (10, 5, 20, 15)
    assert units.box_of(torch.zeros(3, 4, 5)) == (0, 0, 5, 4)


def test_profiles_are_means_by_class() -> None:
    peaks, labels = torch.tensor([[1.0, 5.0], [3.0, 7.0], [10.0, 0.0], [99.0, 99.0]]), torch.tensor([0, 0, 2, -1])
    profile, counts = units.class_profile(peaks, labels, 3)
    assert profile[0].tolist() == [2, 6] and profile[2].tolist() == [10, 0] and profile[1].isnan().all()
    assert counts.tolist() == [2, 0, 1]


def test_layers_without_units() -> None:
    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fold = nn.Flatten(2)

        def forward(self, images: Tensor) -> Tensor:
            found: Tensor = self.fold(images).mean(2)
            return found

    with pytest.raises(UnfitModel, match="no units at its layer 'fold'"):
        units.unit_peaks(Sequence().eval(), pictures(), "fold")
