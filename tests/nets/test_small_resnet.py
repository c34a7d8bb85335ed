"""The small residual network and its batch norm's adaptation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from migaki.core.discovery import find_class, names_in
from migaki.core.system import System
from migaki.nets.batch_norm import adapt_norm
from migaki.nets.small_resnet import ResidualUnit, SmallResNet, flat_size


@pytest.mark.parametrize(("channels", "size"), [(1, (8, 8)), (1, (36, 60)), (3, (37, 61)), (5, (24, 40))])
def test_sizes(channels: int, size: tuple[int, int]) -> None:
    net = SmallResNet(channels, *size, num_outputs=4, features=4)
    images = torch.rand(3, channels, *size)
    assert net(images).shape == (3, 4) and net.features(images).shape == (3, 256)
    assert net(images).dtype == torch.float32


def test_it_knows_where_things_are() -> None:
    """A network that pools over places cannot tell a disc on the left from one on the right; this one can."""
    torch.manual_seed(0)
    net = SmallResNet(1, 16, 16, num_outputs=1, features=4, dropout=0.0).eval()
    left = torch.zeros(1, 1, 16, 16)
    left[..., 4:8, 2:6] = 1
    assert (net(left) - net(left.roll(8, 3))).abs() > 1e-4


def test_a_unit_with_silent_convolutions_passes_its_input_on() -> None:
    unit = ResidualUnit(4, 4, 1).eval()
    nn.init.zeros_(unit.second_norm.weight)
    x = torch.rand(2, 4, 6, 6)
    torch.testing.assert_close(unit(x), x)


def test_a_unit_with_a_stride_projects_every_other_place() -> None:
    torch.manual_seed(0)
    unit = ResidualUnit(4, 8, 2).eval()
    x = torch.rand(2, 4, 7, 6)
    weight, norm = unit.project[0].weight, unit.project[1]  # type: ignore[index]
    projected = norm(nn.functional.conv2d(x, weight, stride=2))
    y = unit.second_norm(unit.second(torch.relu(unit.first_norm(unit.first(x)))))
    torch.testing.assert_close(unit(x), torch.relu(projected + y))


@pytest.mark.parametrize("name", sorted(names_in("systems", "System")))
def test_no_1x1_convolution_has_a_stride(name: str) -> None:
    """In channels_last its gradient writes outside its memory (PyTorch 2.13 on CPUs), if it has few channels."""
    system = find_class("systems", name, System)
    for module in system(system.tiny()[0]).modules():
        if isinstance(module, nn.Conv2d) and set(module.kernel_size) == {1}:
            assert set(module.stride) == {1}


def test_flat_size_leaves_the_mode_alone() -> None:
    trunk = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    before = trunk[1].running_mean.clone()
    assert flat_size(trunk, 1, 5, 6) == 2 * 3 * 4
    assert trunk.training and torch.equal(trunk[1].running_mean, before)


def test_adapted_statistics_are_those_of_the_new_images() -> None:
    net = nn.Sequential(nn.BatchNorm2d(2, momentum=0.3), nn.Dropout(0.5))
    net(torch.randn(50, 2, 4, 4) * 9)
    batches = [torch.randn(40, 2, 8, 8) * 2 + 5 for _ in range(3)]
    adapt_norm(net, batches)
    norm = net[0]
    assert isinstance(norm, nn.BatchNorm2d) and norm.momentum == 0.3 and net.training
    every = torch.cat(batches)
    assert norm.running_mean is not None and norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, every.mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(norm.running_var, every.var((0, 2, 3)), atol=0.05, rtol=0.01)


def test_a_frozen_part_keeps_its_statistics_and_a_frozen_copy_does_not() -> None:
    def made() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))

    def changed(net: nn.Sequential) -> list[bool]:
        before = [net[place].running_mean.clone() for place in (1, 3)]
        adapt_norm(net, [torch.randn(9, 1, 4, 4) + 5])
        return [not torch.equal(net[place].running_mean, old) for place, old in zip((1, 3), before, strict=True)]

    net, copied = made(), made().requires_grad_(False)
    net[:2].requires_grad_(False)
    assert changed(net) == [False, True] and changed(copied) == [True, True] and changed(made()) == [True, True]
