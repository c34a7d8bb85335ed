"""Dense gradients against SIFT's descriptor computed place by place, and what they do not depend on."""

from __future__ import annotations

import math

import numpy as np
import torch

from migaki.nets.dense_gradients import CELLS, STEP, DenseGradients
from migaki.nets.texture_features import open_features


def naive(grey: np.ndarray[tuple[int, int], np.dtype[np.float64]], y: int, x: int, cell: int) -> list[float]:
    """One descriptor, by loops."""
    height, width = grey.shape
    found = np.zeros((4, 4, 8))
    for row in range(height):
        for column in range(width):
            down = (grey[min(row + 1, height - 1), column] - grey[max(row - 1, 0), column]) / 2
            across = (grey[row, min(column + 1, width - 1)] - grey[row, max(column - 1, 0)]) / 2
            turn = (math.atan2(down, across) / (2 * math.pi) * 8) % 8
            for i, j in np.ndindex(4, 4):
                near = [max(0.0, 1 - abs(place - middle - (k - 1.5) * cell) / cell) / cell
                        for place, middle, k in ((row, y, i), (column, x, j))]
                for low in (int(turn) % 8, (int(turn) + 1) % 8):
                    share = 1 - min(abs(turn - low), 8 - abs(turn - low))
                    found[i, j, low] += math.hypot(down, across) * share * near[0] * near[1]
    flat = found.ravel() / np.linalg.norm(found)
    flat = flat.clip(max=0.2)
    return list(flat / np.linalg.norm(flat))


def test_a_descriptor_by_loops() -> None:
    image = torch.rand(1, 1, 36, 40, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    found = dict(DenseGradients().outputs(image))
    for cell, (i, j) in ((4, (2, 3)), (8, (0, 1))):
        wanted = naive(image[0, 0].double().numpy(), 2 * cell + STEP * i, 2 * cell + STEP * j, cell)
        assert np.allclose(found[f"cell_{cell}"][0, :, i, j], wanted, atol=1e-4)
    number = sum(found[f"cell_{cell}"][0, 0].numel() for cell in CELLS)
    assert found["all"].shape == (1, 128, 1, number)


def test_contrast_and_brightness_leave_no_trace_and_flat_places_say_nothing() -> None:
    image = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    plain, other = (open_features("gradients").maps(x, "")["all"] for x in (image, 0.5 * image + 0.3))
    assert torch.allclose(plain, other, atol=1e-3) and torch.allclose(plain.norm(dim=1), torch.ones(1))
    assert open_features("gradients").maps(torch.full((1, 3, 48, 48), 0.4), "")["all"].abs().max() == 0


def test_flat_places_have_finite_derivatives() -> None:
    """A picture that is flat somewhere, as most are, can be optimised through these features."""
    image = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    image[:, :, :30] = 0.5
    image.requires_grad_()
    maps = dict(DenseGradients().outputs(image))
    torch.stack([found.square().cos().sum() for found in maps.values()]).sum().backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert image.grad.abs().max() > 0
