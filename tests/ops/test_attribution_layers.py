"""CAM, Grad-CAM and DCSM against naive twins; layers that are reused or overwritten are named."""

from __future__ import annotations

import math
import threading

import pytest
import torch
import torch.nn.functional as F
from toy_nets import Linear, Pooled, conv_back, pictures, ready

from migaki.ops import attribution_layers as a
from migaki.ops import taps
from migaki.ops.taps import UnfitModel

TARGETS = torch.tensor([0, 3, 1])


def test_cam_is_the_weighted_sum_whose_mean_is_the_score() -> None:
    model, images = ready(Pooled()), pictures()
    assert isinstance(model, Pooled)
    found = a.cam(model, images, TARGETS)
    maps = F.relu(model.second(F.relu(model.first(images))))
    for row, target in enumerate(TARGETS.tolist()):
        wanted = torch.stack([model.head.weight[target, k] * maps[row, k] for k in range(8)]).sum(0)
        assert torch.allclose(found[row], wanted, atol=1e-5)
    score = model(images)[[0, 1, 2], TARGETS] - model.head.bias[TARGETS]
    assert torch.allclose(found.mean((1, 2)), score, atol=1e-5)
    assert torch.allclose(a.grad_cam(model, images, TARGETS), F.relu(found) / (6 * 5), atol=1e-6)


def test_grad_cam_against_its_two_equations() -> None:
    model, images = ready(Pooled()), pictures()
    assert isinstance(model, Pooled)
    found = a.grad_cam(model, images, TARGETS, "first")
    for row, target in enumerate(TARGETS.tolist()):
        maps = model.first(images[row : row + 1]).detach().requires_grad_()
        score = model.head(F.relu(model.second(F.relu(maps))).mean((2, 3)))[0, target]
        (slope,) = torch.autograd.grad(score, maps)
        total = torch.zeros(12, 10)
        for k in range(6):
            total += slope[0, k].mean() * maps[0, k].detach()
        assert torch.allclose(found[row], total.clamp(min=0), atol=1e-6)


def test_cam_wants_the_mean_of_the_maps() -> None:
    model, images = ready(Pooled()), pictures()
    with pytest.raises(UnfitModel, match="no linear layer on the mean of the maps of 'first'"):
        a.cam(model, images, TARGETS, "first")

    class Largest(Pooled):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.head(F.relu(self.second(F.relu(self.first(images)))).amax((2, 3)))
            return scores

    with pytest.raises(UnfitModel, match="does not take the mean of the maps of 'second'"):
        a.cam(ready(Largest()), images, TARGETS)


def twin_dcsm(model: Pooled, image: torch.Tensor, classes: list[int], layers: list[str]) -> torch.Tensor:
    """The steps of the paper, one class, pair and position after the other."""
    values: dict[str, list[torch.Tensor]] = {layer: [] for layer in layers}
    for c in classes:
        first = model.first(image[None])
        second = model.second(F.relu(first))
        back = (model.head.weight[c] / second[0, 0].numel())[None, :, None, None].expand_as(second)
        back = torch.where((second > 0) & (back > 0), back, 0.0)
        values["last"] += [back[0].amax(0)] if "last" in values else []
        back = conv_back(first.shape, model.second.weight, back, 2)
        back = torch.where((first > 0) & (back > 0), back, 0.0)
        values["relu"] += [back[0].amax(0)] if "relu" in values else []
    total = torch.zeros(len(classes), *image.shape[1:])
    for found in values.values():
        for i in range(len(classes)):
            against = torch.zeros_like(found[i])
            for j in range(len(classes)):
                if i != j:
                    difference = found[i] - found[j]
                    top = difference.max() if difference.max() > 0 else difference.abs().max()
                    for place in range(difference.numel()):
                        against.view(-1)[place] += math.tanh(3 * difference.reshape(-1)[place] / (top + 1e-30))
            top = against.max() if against.max() > 0 else against.abs().max()
            sharp = torch.tanh(3 * against / (top + 1e-30))[None, None]
            total[i] += F.interpolate(sharp, image.shape[1:], mode="bilinear")[0, 0]
    tops = [one.max() if one.max() > 0 else one.abs().max() for one in total]
    return torch.stack([(one / (top + 1e-30)).clamp(min=0) for one, top in zip(total, tops, strict=True)])


def test_dcsm_against_a_naive_twin() -> None:
    model, images = ready(Pooled()), pictures()
    assert isinstance(model, Pooled)
    classes = torch.tensor([[0, 2, 3], [1, 0, 2], [3, 1, 0]])
    with torch.no_grad():
        found = a.dcsm(model, images, classes, ["relu", "last"])
        for row in range(3):
            twin = twin_dcsm(model, images[row], classes[row].tolist(), ["relu", "last"])
            assert torch.allclose(found[row], twin, atol=1e-4)
    assert found.min() == 0 and found.amax((2, 3)).min() == 1


def test_differences_are_antisymmetric_for_two_classes_and_ignore_a_common_part() -> None:
    values = torch.rand(2, 2, 5, 4)
    first, second = a.differences(values).unbind(1)
    assert ((first > 0) == (second < 0)).all()
    assert torch.allclose(a.differences(values + 3), a.differences(values), atol=1e-4)
    same = a.differences(values[:, :1].expand(-1, 3, -1, -1))
    assert (same == 0).all()


def test_class_gradients_guided_and_plain_of_one_class_too() -> None:
    model, images = ready(Pooled()), pictures()
    plain = a.class_gradients(model, images, TARGETS[:, None], ["relu"], is_guided=False)[0]
    guided = a.class_gradients(model, images, TARGETS[:, None], ["relu"])[0]
    assert plain.shape == guided.shape == (3, 1, 12, 10) and not torch.allclose(plain, guided, atol=1e-3)
    assert guided.min() >= 0 or plain.min() < 0


def test_scales_are_averaged() -> None:
    model, images = ready(Pooled()), pictures(height=16, width=16)
    classes = torch.tensor([[0, 1]] * 3)
    one, half = (a.dcsm(model, images, classes, ["last"], scales=(scale,)) for scale in (1.0, 0.5))
    assert torch.allclose(a.dcsm(model, images, classes, ["last"], scales=(1.0, 0.5)), (one + half) / 2, atol=1e-6)
    assert not torch.allclose(one, half, atol=0.01)


def test_reused_and_overwritten_layers_are_named() -> None:
    images = pictures()
    with pytest.raises(UnfitModel, match="layer 'relu' 2 times"):
        a.grad_cam(ready(Pooled("reused")), images, TARGETS, "relu")
    with pytest.raises(UnfitModel, match="layer 'relu' 2 times"):
        a.dcsm(ready(Pooled("reused")), images, torch.tensor([[0, 1]] * 3), ["relu"])
    with pytest.raises(UnfitModel, match=r"overwrites the output of its layer 'first' \(in place: relu, last\)"):
        a.grad_cam(ready(Pooled("in_place")), images, TARGETS, "first")
    separate, in_place = (a.grad_cam(ready(Pooled(kind)), images, TARGETS, "relu") for kind in ("modules", "in_place"))
    assert torch.equal(separate, in_place)


def test_layers_that_there_are_not() -> None:
    model, images = ready(Pooled()), pictures()
    with pytest.raises(UnfitModel, match="no layer 'third': it has first, relu, second, last, head"):
        a.grad_cam(model, images, TARGETS, "third")
    with pytest.raises(UnfitModel, match="no maps at its layer 'head'"):
        a.grad_cam(model, images, TARGETS, "head")
    with pytest.raises(UnfitModel, match="no layer with maps"):
        a.grad_cam(ready(Linear(360)), images, torch.tensor([0, 1, 2]))
    for classes in (torch.tensor([[0], [1], [2]]), torch.tensor([0, 1, 2])):
        with pytest.raises(ValueError, match="at least two"):
            a.dcsm(model, images, classes)
    with pytest.raises(ValueError, match="from 0 to 3"):
        a.dcsm(model, images, torch.tensor([[0, 4]] * 3))


def test_names_of_layers_by_their_end() -> None:
    model = torch.nn.Sequential()
    model.add_module("inner", Pooled())
    assert taps.layer_name(model, "second") == "inner.second"
    model.add_module("other", Pooled())
    with pytest.raises(UnfitModel, match=r"several layers 'second': inner\.second, other\.second"):
        taps.layer_name(model, "second")


def test_stages_are_the_blocks_of_a_network() -> None:
    from migaki.nets.small_resnet import SmallResNet

    net = SmallResNet(1, 16, 16, 3, features=4).eval()
    assert taps.stage_layers(net, torch.rand(1, 1, 16, 16)) == ["trunk.2", "trunk.3", "trunk.4", "trunk.5", "trunk.8"]
    assert taps.stage_layers(ready(Pooled()), pictures(1)) == ["relu", "last"]


def test_threads_do_not_see_each_others_layers() -> None:
    model, images = ready(Pooled()), pictures(1)
    with taps.tapped(model, {"first"}) as mine:
        thread = threading.Thread(target=lambda: model(images))
        thread.start()
        thread.join()
        assert mine.uses("first") == 0
        model(images)
    assert mine.uses("first") == 1 and all(not module._forward_hooks for module in model.modules())
