"""The gated MLP block: a naive twin of its gates, its windows, and a restorer of it that can be cut into tiles."""

from __future__ import annotations

from dataclasses import replace

import torch

from migaki.nets.detail import DetailNet
from migaki.nets.gated_mlp import (
    SPREAD,
    WINDOW,
    GatedMlpBlock,
    SpatialGate,
    far_places,
    from_far_places,
    from_neighbours,
    neighbours,
)
from migaki.ops.tiling import apply_tiled
from migaki.systems.deep_detail import DeepDetail


def test_blocks_are_neighbours_or_far_places_and_can_be_put_back() -> None:
    x = torch.arange(2.0 * 64 * 96).view(1, 2, 64, 96)
    near, far = neighbours(x), far_places(x)
    torch.testing.assert_close(near[0, 1, 13], x[0, 1, 8:16, 8:16].flatten())
    torch.testing.assert_close(far[0, 1, 0], x[0, 1, 0:WINDOW:SPREAD, 0:WINDOW:SPREAD].flatten())
    torch.testing.assert_close(far[0, 0, SPREAD * SPREAD + 5], x[0, 0, 1:32:4, 33:64:4].flatten())
    torch.testing.assert_close(from_neighbours(near, 64, 96), x)
    torch.testing.assert_close(from_far_places(far, 64, 96), x)


def test_the_gate_has_a_naive_twin() -> None:
    torch.manual_seed(0)
    for is_far in (False, True):
        gate = SpatialGate(4, is_far)
        torch.nn.init.normal_(gate.mix.weight)
        x = torch.randn(1, 4, 32, 32)
        v = (x[:, 2:] - x[:, 2:].mean(1, keepdim=True)) / (x[:, 2:].var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        rows, columns = (slice(0, 32, 4),) * 2 if is_far else (slice(0, 8),) * 2
        mixed = gate.mix.weight @ v[0, 1, rows, columns].flatten() + gate.mix.bias
        torch.testing.assert_close(gate(x)[0, 1, rows, columns].flatten(), x[0, 1, rows, columns].flatten() * mixed)


def test_a_pixel_depends_on_all_of_its_window_and_on_nothing_else() -> None:
    torch.manual_seed(0)
    block = GatedMlpBlock(4)
    for gate in (block.near, block.far):
        torch.nn.init.normal_(gate.mix.weight)
    x = torch.randn(1, 4, 40, 70, requires_grad=True)
    y = block(x)
    assert y.shape == x.shape
    (slope,) = torch.autograd.grad(y[0, :, 5, 6].sum(), x)
    seen = slope[0].abs().sum(0) > 0
    assert seen[:8, :8].all() and seen[1:32:4, 2:32:4].all() and not seen[32:].any() and not seen[:, 32:].any()


def test_tiles_give_the_same_pixels_as_the_whole_picture() -> None:
    torch.manual_seed(0)
    net = DetailNet(depth=4, width=4, block="gated_mlp", norm=False).eval()
    for one in net.blocks.children():
        if isinstance(one, GatedMlpBlock):
            torch.nn.init.normal_(one.far.mix.weight, std=0.3)
    image = torch.rand(3, 150, 170)
    with torch.no_grad():
        whole = net(image[None])[0]
        tiled = apply_tiled(net, image, tile=64, context=net.reach, multiple=net.multiple)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=1e-4)


def test_a_restorer_of_gated_blocks_learns_and_every_weight_counts() -> None:
    config, batch = DeepDetail.tiny()
    torch.manual_seed(0)
    system = DeepDetail(replace(config, block="gated_mlp"))
    before = {name: value.clone() for name, value in system.net.named_parameters()}
    assert system.update(batch, 0)["net/loss"].isfinite()
    assert all(not torch.equal(value, before[name]) for name, value in system.net.named_parameters())
    assert system.tiling.multiple == WINDOW and system.predict(batch)["target"].shape == batch["target"].shape
