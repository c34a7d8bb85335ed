"""Tiles: equal to the whole, seamless where they cannot be, and small."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from migaki.ops.tiling import apply_tiled, tiled_rows


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Receptive radius 4, zero padding."""
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(4))).eval()


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 50), width=st.integers(1, 50), tile=st.integers(4, 40), context=st.integers(4, 9),
       blend=st.integers(0, 9))
def test_tiled_is_untiled(network: nn.Module, height: int, width: int, tile: int, context: int, blend: int) -> None:
    image = torch.rand(2, height, width)
    with torch.no_grad():
        expected = network(image[None])[0]
    got = apply_tiled(network, image, tile=tile, context=context, blend=blend)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", [2, 3])
def test_larger_output(scale: int) -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 3 * scale**2, 5, padding=2), nn.PixelShuffle(scale))
    image = torch.rand(3, 37, 41)
    with torch.no_grad():
        expected = network(image[None])[0]
    got = apply_tiled(network, image, tile=16, context=2, blend=4, scale=scale)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_tiles_keep_the_phase_of_a_strided_network() -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(1, 4, 4, stride=4), nn.ConvTranspose2d(4, 1, 4, stride=4))
    image = torch.rand(1, 64, 80)
    with torch.no_grad():
        expected = network(image[None])[0]
    got = apply_tiled(network, image, tile=18, context=3, blend=5, multiple=4)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_no_line_shows_where_tiles_disagree() -> None:
    """A network that answers each tile with its own mean: steps between pixels stay below the ramp's slope."""
    def network(x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3), keepdim=True).expand_as(x)
    image = torch.zeros(1, 64, 64)
    image[:, :, 32:] = 1
    blended = apply_tiled(network, image, tile=32, context=0, blend=16)
    assert (blended[..., 1:] - blended[..., :-1]).abs().max() <= 1 / 16 + 1e-6
    assert blended.min() >= 0 and blended.max() <= 1


def test_bytes_in_bytes_out() -> None:
    image = torch.randint(0, 256, (3, 50, 60), dtype=torch.uint8)
    assert torch.equal(apply_tiled(lambda x: x, image, tile=16, context=4, blend=8), image)


def test_rows_come_once_and_memory_is_a_band() -> None:
    """A tall image: rows in order, none larger than a band, no tile larger than tile, context and blend."""
    seen: list[tuple[int, int]] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append((x.shape[2], x.shape[3]))
        return x
    next_row = 0
    for top, rows in tiled_rows(network, torch.rand(1, 1000, 30), tile=64, context=8, blend=6):
        assert top == next_row and rows.shape[1] <= 64 + 6
        next_row += rows.shape[1]
    assert next_row == 1000
    assert max(height for height, _ in seen) <= 64 + 2 * 6 + 2 * 8


@pytest.mark.parametrize("wrong", [{"tile": 0}, {"context": -1}, {"blend": -2}, {"multiple": 0}, {"scale": 0}])
def test_nonsense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        apply_tiled(lambda x: x, torch.zeros(1, 4, 4), **wrong)  # type: ignore[arg-type]


def test_a_network_of_another_scale_is_noticed() -> None:
    with pytest.raises(ValueError, match="not 2 times"):
        apply_tiled(lambda x: x, torch.zeros(1, 4, 4), scale=2)
