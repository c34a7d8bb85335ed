"""The discriminator at two scales and on the spectrum: what each map sees, sizes, and the frozen features of psi."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from migaki.nets.frozen_features import BackboneFeatures, RandomFeatures
from migaki.nets.pretrained import build_backbone, load_backbone
from migaki.nets.scale_discriminator import ScaleDiscriminator, patch_spectrum


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("size", "maps"), [
    ((48, 48), [(24, 24), (12, 12), (5, 5)]), ((35, 55), [(18, 28), (9, 14), (3, 5)]),
    ((8, 9), [(4, 5), (2, 3), (1, 1)]),
])
def test_three_maps_of_judgements(channels: int, size: tuple[int, int], maps: list[tuple[int, int]]) -> None:
    net = ScaleDiscriminator(channels, width=0.2, image_size=size)
    images = (torch.rand(2, channels, *size) * 2 - 1).requires_grad_()
    found = net(images)
    assert [one.shape for one in found] == [(2, 1, *map_) for map_ in maps]
    for one in found:
        (slope,) = torch.autograd.grad(one.mean(), images, retain_graph=True)
        assert one.dtype == torch.float32 and torch.isfinite(slope).all() and slope.any()


@pytest.mark.parametrize(("scale", "side"), [(0, 12), (1, 24)])
def test_how_large_a_patch_is(scale: int, side: int) -> None:
    net = ScaleDiscriminator(1, width=0.2, image_size=(96, 96))
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.05)
    images = torch.rand(1, 1, 96, 96, requires_grad=True)
    one = net(images)[scale]
    (gradient,) = torch.autograd.grad(one[0, 0, one.shape[2] // 2, one.shape[3] // 2], images)
    seen = gradient[0, 0] != 0
    assert seen.any(0).sum() == seen.any(1).sum() == side


def test_its_gradient_has_no_pattern_of_its_own() -> None:
    """A stride passes each pixel of a cell another gradient, for all pictures alike; means of 2x2 px do not."""
    torch.manual_seed(0)
    images = torch.zeros(1, 1, 48, 48, requires_grad=True)
    spread = []
    for net in (ScaleDiscriminator(1, image_size=(48, 48)).scales[0], nn.Conv2d(1, 8, 3, stride=2, padding=1)):
        (gradient,) = torch.autograd.grad(net(images).mean(), images)
        inside = gradient[0, 0, 16:32, 16:32]
        phases = torch.stack([inside[y::2, x::2].mean() for y in (0, 1) for x in (0, 1)])
        spread.append(float(phases.std() / phases.abs().mean()))
    assert spread[0] < 1e-4 < 0.1 < spread[1]


def spectrum_by_hand(images: np.ndarray, side: int) -> np.ndarray:
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / side)
    rows = range(0, images.shape[2] - side + 1, side // 2)
    columns = range(0, images.shape[3] - side + 1, side // 2)
    out = np.zeros((len(images), images.shape[1], side, side // 2 + 1, len(rows), len(columns)))
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            patch = images[:, :, y : y + side, x : x + side]
            patch = (patch - patch.mean((2, 3), keepdims=True)) * np.outer(window, window)
            power = np.abs(np.fft.rfft2(patch) / side) ** 2
            out[..., i, j] = (np.log(power + 1e-5) + 6) / 3
    return out.reshape(len(images), -1, len(rows), len(columns))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 16])
def test_the_spectrum_of_patches_against_numpy(channels: int, side: int) -> None:
    images = np.random.default_rng(0).uniform(-1, 1, (2, channels, 24, 33))
    shown = images
    if channels == 3:
        red, green, blue = (images[:, k : k + 1] for k in range(3))
        shown = np.concatenate([(red + green + blue) / 3, red - green, blue - green], 1)
    found = patch_spectrum(torch.from_numpy(images).float(), side).numpy()
    np.testing.assert_allclose(found, spectrum_by_hand(shown, side), atol=1e-4)


def test_the_spectrum_sees_grain_that_is_hard_to_see_in_pixels() -> None:
    plain = torch.zeros(1, 1, 32, 32)
    grain = plain + 0.02 * torch.randn(1, 1, 32, 32)
    assert float((patch_spectrum(grain, 16) - patch_spectrum(plain, 16)).mean()) > 0.5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(patch_spectrum(grain, 16), patch_spectrum(grain, 16).float())
        exact = patch_spectrum(grain, 16)
    assert torch.equal(exact, patch_spectrum(grain, 16))


def test_spectral_norm_bounds_every_layer() -> None:
    net = ScaleDiscriminator(1, width=0.3, image_size=(24, 24), spectral=True).train()
    for _ in range(30):
        net(torch.rand(2, 1, 24, 24))
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert len(layers) == 11
    for layer in layers:
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.1)


# ------------------------------------------------------------------------------------------------ features of psi


def away(net: nn.Module, image: Tensor, other: Tensor) -> float:
    return sum(float((one - two).abs().mean()) for one, two in zip(net(image), net(other), strict=True))


def test_random_features_hold_edges_and_not_brightness() -> None:
    torch.manual_seed(0)
    net = RandomFeatures(3)
    assert not list(net.parameters()) and not net.state_dict()  # the same in every run, and in no file
    image = torch.full((2, 3, 32, 32), -0.3)
    image[..., 8:20, 10:24] = 0.4
    assert away(net, image, image + 0.2) < 1e-5
    grain = away(net, image, image + 0.05 * torch.randn_like(image))
    assert away(net, image, image.roll(2, 3)) > 2 * grain > 0
    again = RandomFeatures(3)
    assert all(map(torch.equal, net(image), again(image)))
    assert [one.shape[2:] for one in RandomFeatures(1)(torch.rand(1, 1, 9, 13))] == [(5, 7), (3, 4)]


@pytest.mark.parametrize("kind", ["efficientnet_lite0", "squeezenet1_1"])
def test_features_of_a_pretrained_network(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = build_backbone(kind, 3, 48, 48)  # type: ignore[arg-type]
    save_file({name: value.contiguous() for name, value in source.state_dict().items()}, tmp_path / "net")
    backbone = build_backbone(kind, 3, 48, 48, 8)  # type: ignore[arg-type]
    load_backbone(backbone, tmp_path / "net")
    net = BackboneFeatures(backbone)
    images = (torch.rand(2, 3, 48, 48) * 2 - 1).requires_grad_()
    maps = net(images)
    whole = source((images + 1) / 2)
    for found, place in zip(maps, (1, 2), strict=True):
        wanted = whole[place] / whole[place].norm(dim=1, keepdim=True) * math.sqrt(whole[place].shape[1])
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert torch.autograd.grad(maps[0].sum(), images)[0].any()
    assert not any(parameter.requires_grad for parameter in net.parameters())
