"""The classifier that shows where it looks: its pooling, its layers, on either network."""

from __future__ import annotations

import math

import pytest
import torch

from migaki.nets.localiser import RUNGS, Localiser, TrunkSegmenter, class_maps, scaled, smooth_maximum
from migaki.nets.pretrained import Kind


def test_the_smooth_maximum_lies_between_mean_and_maximum() -> None:
    maps = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    for sharpness in (0.5, 4.0):
        expected = [[math.log(sum(math.exp(sharpness * value) for value in one.flatten().tolist()) / 20) / sharpness
                     for one in image] for image in maps]
        torch.testing.assert_close(smooth_maximum(maps, sharpness), torch.tensor(expected))
    torch.testing.assert_close(smooth_maximum(maps, 1e-3), maps.mean((2, 3)), atol=1e-2, rtol=0)
    torch.testing.assert_close(smooth_maximum(maps, 1e3), maps.amax((2, 3)), atol=1e-2, rtol=0)


@pytest.mark.parametrize(("kind", "strides"), [("", (1, 2, 4, 4)), ("efficientnet_lite0", (4, 8, 16, 16)),
                                               ("squeezenet1_1", (4, 8, 16, 16))])
def test_layers_and_scores_of_either_network(kind: Kind, strides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = Localiser(3, 64, 48, 5, 4, 4.0, kind).eval()
    images = torch.rand(2, 3, 64, 48)
    with torch.no_grad():
        scores, layers = net(images)
    assert scores.shape == (2, 5) and len(layers) == len(strides)
    for layer, stride in zip(layers, strides, strict=True):
        assert abs(layer.shape[2] - 64 / stride) <= 2 and abs(layer.shape[3] - 48 / stride) <= 2
    out = TrunkSegmenter(3, 64, 48, 3, 4, kind)
    out.trunk.load_state_dict(net.trunk.state_dict())
    assert out.eval()(images[..., :40]).shape == (2, 3, 64, 40)
    for rung in RUNGS:
        maps = class_maps(net, images, torch.tensor([[0, 3], [4, 1]]), rung, (1.0, 1.5))
        assert maps.shape == (2, 2, 64, 48) and maps.min() >= 0 and maps.max() <= 1


def test_images_are_scaled_to_a_size_of_at_least_eight() -> None:
    images = torch.full((1, 3, 20, 10), 0.3)
    assert scaled(images, 1.5).shape == (1, 3, 30, 15) and scaled(images, 0.1).shape == (1, 3, 8, 8)
    assert scaled(images, 1.0) is images
    torch.testing.assert_close(scaled(images, 0.75), torch.full((1, 3, 15, 8), 0.3))
