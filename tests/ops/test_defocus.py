"""A lens of finite width: discs of the right size, against the mean of what its parts see."""

from __future__ import annotations

import pytest
import torch

from migaki.ops.defocus import disc, refocused, spread


@pytest.mark.parametrize("radius", [0.0, 0.4, 1.0, 2.7, 9.0])
def test_a_disc_is_round_and_whole(radius: float) -> None:
    made = disc(radius)
    assert float(made.sum()) == pytest.approx(1.0) and torch.equal(made, made.flip(0)) and torch.equal(made, made.T)
    if radius >= 2:
        assert float(1 / made.max()) == pytest.approx(3.14159 * (radius + 0.0) ** 2, rel=0.25)


def test_spreading_is_a_convolution() -> None:
    values = torch.rand(2, 11, 13, generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.conv2d(values[:, None], disc(2.3)[None, None], padding=3)[:, 0]
    torch.testing.assert_close(spread(values, 2.3), wanted, atol=1e-5, rtol=1e-4)
    assert spread(values, 0.3) is values


def test_what_is_in_focus_stays_and_a_bright_point_becomes_a_disc() -> None:
    light, depth = torch.zeros(3, 41, 41), torch.full((41, 41), 4.0)
    light[:, 20, 20] = 100.0
    torch.testing.assert_close(refocused(light, depth, 50.0, 0.4, 4.0, 16), light, atol=1e-4, rtol=0)
    blurred = refocused(light, depth, 50.0, 0.8, 2.0, 16)  # radius 50 x 0.4 x |1/4 - 1/2| = 5 px
    assert float(blurred[0].sum()) == pytest.approx(100.0, rel=1e-3)
    across = (blurred[0, 20] > 0.1).nonzero().flatten()
    assert across.min() == 15 and across.max() == 25 and float(blurred[0, 20, 18:23].std()) < 1e-3


def test_a_plane_is_the_mean_of_what_the_parts_of_the_lens_see() -> None:
    """Seen from u on the lens, a plane moves by focal u (1 / z - 1 / focus) px."""
    draw, focal, aperture, focus, depth = torch.Generator().manual_seed(1), 60.0, 0.5, 3.0, 1.5
    light = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 200, 200, generator=draw), 4)[0]
    seen, number = torch.zeros_like(light), 0
    for u in torch.linspace(-aperture / 2, aperture / 2, 61).tolist():
        for v in torch.linspace(-aperture / 2, aperture / 2, 61).tolist():
            if u * u + v * v <= aperture**2 / 4:
                moved = [round(focal * part * (1 / depth - 1 / focus)) for part in (v, u)]
                seen, number = seen + light.roll(moved, (1, 2)), number + 1
    made = refocused(light, torch.full((50, 50), depth), focal, aperture, focus, 8)
    assert float((made - seen / number)[:, 8:-8, 8:-8].abs().max()) < 0.02


def test_a_sharp_thing_in_front_covers_what_is_blurred_behind() -> None:
    light, depth = torch.ones(3, 40, 40), torch.full((40, 40), 8.0)
    light[:, :, 20:], depth[:, 20:] = 0.25, 2.0
    made = refocused(light, depth, 80.0, 0.3, 2.0, 16)
    torch.testing.assert_close(made[:, :, 21:], light[:, :, 21:], atol=1e-3, rtol=0)
    torch.testing.assert_close(made[:, :, :19], light[:, :, :19], atol=0.1, rtol=0)  # no dark seam
    far = refocused(light, torch.where(depth == 8, 0, depth), 80.0, 0.3, 2.0, 16)  # nothing there: behind everything
    assert float(far.min()) > 0.2
