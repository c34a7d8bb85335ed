"""PatternNet and PatternAttribution against their equations, on models whose signal is known."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toy_nets import Linear, Normed, Pooled, conv_back, pictures, ready

from migaki.ops import attribution_patterns as a
from migaki.ops.taps import UnfitModel

TARGETS = torch.tensor([0, 3, 1])


def twin_pattern(weight: Tensor, bias: Tensor, x: Tensor, top: float | None) -> Tensor:
    """The paper's equation for one neuron: `weight` (I,), inputs (N, I); `top` None for a neuron without a ReLU."""
    y = x @ weight
    if top is not None:
        kept = (y + bias > 0) & (y + bias < top)
        x, y = x[kept], y[kept]
    covariance = (x * y[:, None]).mean(0) - x.mean(0) * y.mean()
    return covariance / (weight @ covariance)


def test_patterns_of_every_layer_against_the_equation() -> None:
    model, images = ready(Pooled()), pictures(40)
    assert isinstance(model, Pooled)
    found = a.estimate_patterns(model, torch.split(images, 7))
    assert set(found) == {"first.weight", "second.weight", "head.weight"}
    with torch.no_grad():
        inputs = {"first": (images, 1), "second": (F.relu(model.first(images)), 2)}
        for name, (x, stride) in inputs.items():
            layer = model.get_submodule(name)
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            columns = F.unfold(x, 3, padding=1, stride=stride).transpose(1, 2).flatten(0, 1)
            for neuron in range(len(layer.weight)):
                wanted = twin_pattern(layer.weight[neuron].flatten(), layer.bias[neuron], columns, float("inf"))
                if not wanted.isfinite().all():  # the neuron is dead: its own direction
                    wanted = layer.weight[neuron].flatten() / layer.weight[neuron].square().sum()
                assert torch.allclose(found[f"{name}.weight"][neuron].flatten(), wanted, atol=1e-3), (name, neuron)
        pooled = F.relu(model.second(inputs["second"][0])).mean((2, 3))
        for neuron in range(4):
            wanted = twin_pattern(model.head.weight[neuron], model.head.bias[neuron], pooled, None)
            assert torch.allclose(found["head.weight"][neuron], wanted, atol=1e-3)


def test_a_weight_along_its_pattern_is_one() -> None:
    model = ready(Pooled("six"))
    for name, pattern in a.estimate_patterns(model, [pictures(40)]).items():
        along = (model.get_parameter(name) * pattern).flatten(1).sum(1)
        assert torch.allclose(along, torch.ones_like(along), atol=1e-4)


def test_the_signal_is_found_where_the_weight_points_elsewhere() -> None:
    """The paper's figure 2: x = a_s y + a_d e with w at right angles to the distractor a_d."""
    model = Linear(2, 1, bias=False)
    model.head.weight.data = torch.tensor([[1.0, -1.0]])  # cancels a distractor along (1, 1)
    model.eval()
    draw = torch.Generator().manual_seed(0)
    y, e = torch.randn(2, 4000, 1, generator=draw)
    x = torch.tensor([1.0, 0.0]) * y + torch.tensor([1.0, 1.0]) * e
    patterns = a.estimate_patterns(model, [x[:, :, None, None]])
    assert torch.allclose(patterns["head.weight"], torch.tensor([[1.0, 0.0]]), atol=0.05)
    images, targets = x[:3, :, None, None], torch.zeros(3, dtype=torch.long)
    signal = a.pattern_net(model, images, targets, patterns).flatten(1)
    assert torch.allclose(signal, y[:3] * torch.tensor([1.0, 0.0]), atol=0.2)
    parts = a.pattern_attribution(model, images, targets, patterns)
    assert torch.allclose(parts.flatten(1).sum(1), model(images)[:, 0], atol=1e-5)


def test_the_backward_pass_of_two_layers_by_hand() -> None:
    model, images = ready(Pooled()), pictures()
    assert isinstance(model, Pooled)
    patterns = a.estimate_patterns(model, [pictures(20)])
    for function, power in ((a.pattern_net, 0), (a.pattern_attribution, 1)):
        found = function(model, images, TARGETS, patterns)
        with torch.no_grad():
            first = model.first(images)
            second = model.second(F.relu(first))
            weights = {name: value * model.get_parameter(name) ** power for name, value in patterns.items()}
            score = model(images)[[0, 1, 2], TARGETS]
            back = score[:, None] * weights["head.weight"][TARGETS] / (second.shape[2] * second.shape[3])
            back = back[:, :, None, None] * (second > 0)
            back = conv_back(first.shape, weights["second.weight"], back, 2)
            back = conv_back(images.shape, weights["first.weight"], back * (first > 0))
        assert torch.allclose(found, back, atol=1e-5)


def test_a_batch_norm_counts_as_part_of_its_layer() -> None:
    model, images = ready(Normed()), pictures(30, 2, 6, 6)
    assert isinstance(model, Normed)
    merged = nn.Sequential(torch.nn.utils.fuse_conv_bn_eval(model.conv, model.norm), nn.ReLU(), nn.Flatten(),
                           model.head).eval()
    patterns, folded = (a.estimate_patterns(one, [images]) for one in (model, merged))
    targets = torch.tensor([0, 2, 1])
    for function in (a.pattern_net, a.pattern_attribution):
        found = function(model, images[:3], targets, patterns)
        assert torch.allclose(found, function(merged, images[:3], targets, folded), rtol=1e-3, atol=1e-4)


def test_a_neuron_that_never_varies_has_no_pattern_of_its_own() -> None:
    model = Linear(4, 2)
    model.head.weight.data = torch.tensor([[1.0, 0, 0, 0], [0, 2.0, 0, 0]])
    images = torch.rand(10, 1, 2, 2)
    images[:, :, 0, 1] = 0.3  # what the second neuron looks at
    found = a.estimate_patterns(model.eval(), [images])["head.weight"]
    assert torch.allclose(found[1], torch.tensor([0, 0.5, 0, 0])) and torch.isfinite(found).all()


def test_what_is_refused_and_nothing_is_left() -> None:
    model, images = ready(Pooled()), pictures()
    patterns = a.estimate_patterns(model, [images])

    class Twice(Pooled):
        def forward(self, images: Tensor) -> Tensor:
            scores: Tensor = self.head(self.second(self.first(self.first(images)[:, :3])).mean((2, 3)))
            return scores

    with pytest.raises(UnfitModel, match="uses its layer 'first' more than once"):
        a.estimate_patterns(ready(Twice()), [images])
    with pytest.raises(UnfitModel, match="activation gelu"):
        a.estimate_patterns(nn.Sequential(nn.Conv2d(3, 2, 1), nn.GELU()).eval(), [images])
    with pytest.raises(UnfitModel, match="not the model of these patterns"):
        a.pattern_net(ready(Pooled(classes=5)), images, TARGETS, patterns)
    with pytest.raises(UnfitModel, match=r"no pattern for its layer 'first\.weight'"):
        a.pattern_net(model, images, TARGETS, {"head.weight": patterns["head.weight"]})
    with pytest.raises(ValueError, match="at least one picture"):
        a.estimate_patterns(model, [])
    assert all(value.grad is None for value in model.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        half = a.pattern_net(model, images, TARGETS, patterns)
    assert torch.equal(half, a.pattern_net(model, images, TARGETS, patterns))
