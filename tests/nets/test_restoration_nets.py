"""Networks of restoration: sizes, receptive fields, published parameter counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from migaki.nets.detail import DetailNet
from migaki.nets.subpixel import SubPixelNet
from migaki.nets.unet import Norm, PatchGAN, UNet, Upsampling


def receptive(network: nn.Module, *inputs: torch.Tensor) -> tuple[int, int]:
    """Side of the square of input px on which the middle output depends."""
    inputs = tuple(x.requires_grad_() for x in inputs)
    output = network(*inputs)
    middle = output[0, :, output.shape[2] // 2, output.shape[3] // 2].sum()
    gradient = torch.autograd.grad(middle, inputs[0])[0][0].abs().sum(0)
    rows, columns = (gradient > 0).nonzero(as_tuple=True)
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


def num_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("depth", "width"), [(2, 4), (8, 8), (26, 16)])
def test_detail_net_has_the_depth_asked_for(depth: int, width: int) -> None:
    torch.manual_seed(0)  # few filters may all be dead at one place
    network = DetailNet(depth=depth, width=width).eval()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == depth and all(c.kernel_size == (3, 3) for c in convolutions)
    assert {c.out_channels for c in convolutions[:-1]} == {width}
    side = 2 * depth + 9
    assert receptive(network, torch.rand(1, 3, side, side)) == (2 * depth + 1, 2 * depth + 1)


def test_detail_net_parameters_and_channels() -> None:
    # 9 (3 x 16 + 24 x 16 x 16 + 16 x 3) weights, and two numbers of batch norm for every filter.
    assert num_parameters(DetailNet()) == 9 * (48 + 24 * 256 + 48) + 2 * (25 * 16 + 3)
    assert DetailNet(in_channels=1, out_channels=2, depth=4)(torch.rand(2, 1, 7, 9)).shape == (2, 2, 7, 9)
    with pytest.raises(ValueError, match="even"):
        DetailNet(depth=7)


@pytest.mark.parametrize("final_norm", [True, False])
def test_detail_net_begins_with_a_small_residual_and_learns_everywhere(final_norm: bool) -> None:
    network = DetailNet(depth=26, width=16, final_norm=final_norm)
    residual = network(torch.rand(4, 3, 24, 24))
    if final_norm:
        assert residual.std() < 0.05
    gradients = torch.autograd.grad(residual.square().sum() + residual.sum(), list(network.parameters()))
    assert all((gradient != 0).any() for gradient in gradients)


@pytest.mark.parametrize("skip", [True, False])
def test_detail_net_without_norm_judges_each_image_alone(skip: bool) -> None:
    torch.manual_seed(0)
    network = DetailNet(depth=8, width=16, norm=False, skip=skip).train()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    images = torch.rand(4, 3, 24, 24)
    with torch.no_grad():
        residual = network(images)
        torch.testing.assert_close(network(images[:1]), residual[:1])  # with batch norm it would depend on the others
    assert residual.std() < 0.2
    gradients = torch.autograd.grad(network(images).square().sum(), list(network.parameters()))
    assert all((gradient != 0).any() for gradient in gradients)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_subpixel_scales(scale: int) -> None:
    assert SubPixelNet(channels=3, scale=scale)(torch.rand(1, 3, 10, 13)).shape == (1, 3, 10 * scale, 13 * scale)


def test_subpixel_parameters_and_reach() -> None:
    network = SubPixelNet(channels=1, scale=3)
    # 5-3-3 of the paper: 1 -> 64 -> 32 -> 9, with offsets.
    assert num_parameters(network) == 25 * 64 + 64 + 9 * 64 * 32 + 32 + 9 * 32 * 9 + 9
    assert receptive(network, torch.rand(1, 1, 21, 21)) == (9, 9)
    with pytest.raises(ValueError, match="scale"):
        SubPixelNet(scale=0)


def test_unet_is_the_one_of_pix2pix() -> None:
    network = UNet(levels=8)
    # The authors' unet_256 has 54.414 million (from memory); ours adds offsets where no norm follows: 64 + 512.
    assert num_parameters(network) == 54_413_955 + 64 + 512
    assert PatchGAN(in_channels=6)(torch.rand(1, 3, 256, 256), torch.rand(1, 3, 256, 256)).shape == (1, 1, 30, 30)
    assert num_parameters(PatchGAN(in_channels=6)) == 2_768_705


@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 16), (17, 31), (50, 20)])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_unet_takes_any_size_and_channels(height: int, width: int, norm: Norm, upsampling: Upsampling) -> None:
    network = UNet(in_channels=4, out_channels=2, width=4, levels=4, norm=norm, upsampling=upsampling).train()
    out = network(torch.rand(2, 4, height, width))
    assert out.shape == (2, 2, height, width) and out.min() >= 0 and out.max() <= 1
    gradients = torch.autograd.grad(out.sum(), list(network.parameters()), allow_unused=True)
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_resized_unet_draws_no_check_pattern() -> None:
    flat = torch.full((1, 3, 160, 160), 0.7)
    spread = {}
    ways: tuple[Upsampling, ...] = ("transposed", "resize")
    for upsampling in ways:
        torch.manual_seed(0)
        network = UNet(width=4, levels=3, norm="none", upsampling=upsampling).eval()
        with torch.no_grad():  # untrained weights are too small to show anything
            for parameter in network.parameters():
                parameter *= 20
            inner = network(flat)[..., 64:96, 64:96]  # the frame's zeros do not reach that far
        spread[upsampling] = float(inner.std((2, 3)).max())
    assert spread["resize"] < 1e-6
    assert spread["transposed"] > 1e-3


def test_unet_is_quiet_in_eval_and_noisy_in_training() -> None:
    network = UNet(width=4, levels=4)
    image = torch.rand(2, 3, 16, 16)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))
    with pytest.raises(ValueError, match="levels"):
        UNet(levels=0)


@pytest.mark.parametrize(("num_layers", "side"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_one_patch(num_layers: int, side: int) -> None:
    network = PatchGAN(in_channels=2, width=4, num_layers=num_layers).eval()
    size = 2 * side
    assert receptive(network, torch.rand(1, 1, size, size), torch.rand(1, 1, size, size)) == (side, side)
