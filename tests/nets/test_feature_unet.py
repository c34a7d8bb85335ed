"""The residual U-Net: sizes of maps, padding, another encoder, float32 at the end."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from migaki.nets.feature_unet import FeatureUNet, ResidualEncoder, scene_net
from migaki.nets.pretrained import Kind


@pytest.mark.parametrize("stride", [2, 4, 8, 32])
def test_maps_of_any_picture_have_the_size_rounded_up(stride: int) -> None:
    net = FeatureUNet(3, 5, features=4, stride=stride).eval()
    for height, width in ((32, 64), (33, 40), (7, 100)):
        out = net(torch.rand(2, 3, height, width) * 2 - 1)
        assert out.shape == (2, 5, -(-height // stride), -(-width // stride))
    with pytest.raises(ValueError, match="stride must be one of"):
        FeatureUNet(3, 5, stride=3)


def test_padding_changes_nothing_that_multiples_of_32_have() -> None:
    """A picture that ends in its own border reads the same with the border spelt out."""
    net = FeatureUNet(1, 2, features=4, stride=4).eval()
    image = torch.rand(1, 1, 64, 52)
    spelt = torch.cat([image, image[..., -1:].expand(-1, -1, -1, 12)], 3)
    torch.testing.assert_close(net(image), net(spelt)[..., :13])


def test_every_level_of_the_encoder_is_used() -> None:
    torch.manual_seed(0)
    net = FeatureUNet(1, 2, features=4, stride=2).train()
    net(torch.rand(2, 1, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())
    assert [tuple(level.shape[1:]) for level in ResidualEncoder(1, 4)(torch.rand(1, 1, 64, 32))] == [
        (4, 32, 16), (8, 16, 8), (16, 8, 4), (24, 4, 2), (32, 2, 1)]


class Averages(nn.Module):
    """An encoder of somebody else: averages at strides 2 to 16."""

    widths = (3, 3, 3, 3)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [nn.functional.avg_pool2d(images, 2**level) for level in (1, 2, 3, 4)]


def test_another_encoder_takes_the_place_of_ours() -> None:
    net = FeatureUNet(3, 2, features=4, stride=4, encoder=Averages())
    assert net.multiple == 16 and net(torch.rand(1, 3, 48, 40)).shape == (1, 2, 12, 10)


def test_outputs_are_float32_under_autocast() -> None:
    net = FeatureUNet(1, 3, features=4).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        out = net(torch.rand(1, 1, 32, 32))
    assert out.dtype == torch.float32 and not torch.equal(out, out.bfloat16().float())


@pytest.mark.parametrize(("kind", "most"), [("efficientnet_lite0", 32), ("squeezenet1_1", 16)])
def test_a_pretrained_network_takes_the_place_of_our_encoder(kind: Kind, most: int) -> None:
    net = scene_net(kind, (1, 33, 70), 3, 4, 4).eval()
    assert net.multiple == most and net(torch.rand(2, 1, 33, 70)).shape == (2, 3, 9, 18)
    levels = net.encoder(torch.rand(1, 1, 64, 96))
    assert [tuple(level.shape[2:]) for level in levels] == [(64 // s, 96 // s) for s in (2, 4, 8, 16, 32) if s <= most]
    assert net.backbone is not None and scene_net("", (1, 33, 70), 3, 4, 4).backbone is None
    names = list(net.state_dict())
    assert len(names) == len(set(names)) and not any(name.startswith("backbone.") for name in names)
