"""Why a classifier says so, by the maps of its layers: CAM, Grad-CAM and DCSM. See `attribution` for what all share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.ops.attribution import all_scores, class_scores, differentiated, leaf, of_classes, slopes
from migaki.ops.rules import Guided, Relus
from migaki.ops.taps import Taps, UnfitModel, is_map, layer_name, map_layers, stage_layers, tapped

_TINY = 1e-12
_ALIKE = 1e-3  # of the largest score: how well a sum of maps must give the score


@differentiated
def cam(model: nn.Module, images: Tensor, targets: Tensor, layer: str = "") -> Tensor:
    """The class activation map, (B, h, w) at the layer's size: sum_k w_ck f_k, whose mean is the score but for its
    bias.

    It needs a model that takes the mean over all positions of the maps f, followed by one linear layer (EfficientNet),
    or whose maps are those of the classes themselves (SqueezeNet); this is checked on the images. `layer` names the
    maps f; the last ones by default. Zhou et al., "Learning deep features for discriminative localization", CVPR 2016,
    equation 2.
    """
    with torch.no_grad():
        name = layer_name(model, layer) if layer else last_maps(model, images)
        heads = [head for head, module in model.named_modules() if isinstance(module, nn.Linear)]
        with tapped(model, {name, *heads}) as taps:
            scores = all_scores(model, images.float())
        of_classes(scores, targets)
        maps = taps.first(name).float()
        rows = torch.arange(len(images), device=images.device)
        for head in reversed(heads):
            linear = model.get_submodule(head)
            assert isinstance(linear, nn.Linear)
            if linear.in_features == maps.shape[1] and linear.out_features == scores.shape[1]:
                bias = 0 if linear.bias is None else linear.bias
                _require_mean(maps.mean((2, 3)) @ linear.weight.T.float() + bias, scores, name)
                return torch.einsum("bk,bkhw->bhw", linear.weight.float()[targets], maps)
        if maps.shape[1] == scores.shape[1]:
            for values in (maps, F.relu(maps)):
                if _is_mean(values.mean((2, 3)), scores):
                    return values[rows, targets]
    raise UnfitModel(f"has no linear layer on the mean of the maps of '{name}': CAM needs one: choose grad_cam")


def _is_mean(found: Tensor, scores: Tensor) -> bool:
    return bool((found - scores).abs().max() <= _ALIKE * scores.abs().max().clamp(min=_TINY))


def _require_mean(found: Tensor, scores: Tensor, name: str) -> None:
    if not _is_mean(found, scores):
        raise UnfitModel(f"does not take the mean of the maps of '{name}' before its last layer, and CAM needs that: "
                         "choose grad_cam, or another layer")


@differentiated
def grad_cam(model: nn.Module, images: Tensor, targets: Tensor, layer: str = "") -> Tensor:
    """Grad-CAM, (B, h, w) at the layer's size, 0 or more: ReLU(sum_k a_k A_k), a_k the mean gradient of map k.

    `layer` names the maps A; the last ones by default. Selvaraju et al., "Grad-CAM: visual explanations from deep
    networks via gradient-based localization", ICCV 2017, equations 1 and 2.
    """
    name = layer_name(model, layer) if layer else last_maps(model, images)
    x = leaf(images)
    with tapped(model, {name}) as taps:
        score = class_scores(model, x, targets)
    maps = taps.output(name)
    if maps.ndim != 4:
        raise UnfitModel(f"has no maps at its layer '{name}': its output is {tuple(maps.shape)}: choose another layer")
    weights = slopes(score, maps).mean((2, 3), keepdim=True)
    return F.relu((weights * maps.detach()).sum(1)).float()


def last_maps(model: nn.Module, images: Tensor) -> str:
    """The last layer whose output has positions. Raises UnfitModel if there is none."""
    found = map_layers(model, images[:1].float())
    if not found:
        raise UnfitModel("has no layer with maps for pictures of this size: give larger pictures")
    return found[-1]


def dcsm_layers(model: nn.Module, images: Tensor, most: int = 9) -> list[str]:
    """The layers of DCSM by default: of the network's blocks (`stage_layers`) the upper half, at most `most`.

    The paper takes conv3_1 to conv5_3 of VGG-16, nine of its thirteen.
    """
    blocks = stage_layers(model, images[:1].float())
    if not blocks:
        raise UnfitModel("has no layer with maps for pictures of this size: give larger pictures")
    return blocks[len(blocks) // 3 :][-most:]


@differentiated
def dcsm(model: nn.Module, images: Tensor, classes: Tensor, layers: Sequence[str] = (), *, is_guided: bool = True,
         scales: Sequence[float] = (1.0,), sharpness: float = 3.0) -> Tensor:
    """Distinct class-specific saliency maps of several classes at once, (B, K, H, W) in [0, 1], in the images' size.

    `classes` (B, K), K at least 2, are explained against each other: at each layer the largest gradient over the
    channels, v_c, is compared with those of the other classes, D_c = sum over c' of tanh(s (v_c - v_c') / max), and
    tanh(s D_c / max) is added up over the layers. `layers` default to `dcsm_layers`. `scales` of the images are
    averaged; the model must take pictures of any size for others than 1. Shimoda, Yanai, "Distinct class-specific
    saliency maps for weakly supervised semantic segmentation", ECCV 2016; s = 3 is that of the authors' code. The
    gradient is that of guided backpropagation unless `is_guided` is false.
    """
    if classes.ndim != 2 or classes.shape[1] < 2:
        raise ValueError("dcsm compares classes: give at least two for each image, (B, K)")
    names = [layer_name(model, name) for name in layers] or dcsm_layers(model, images)
    size = (images.shape[2], images.shape[3])
    total = torch.zeros(len(images), classes.shape[1], *size, device=images.device)
    for scale in scales:
        sides = [max(1, round(side * scale)) for side in size]
        seen = images.float() if scale == 1 else F.interpolate(images.float(), sides, mode="bilinear", antialias=True)
        total += _over_layers(class_gradients(model, seen, classes, names, is_guided), size, sharpness)
    return total / len(scales)


def _over_layers(found: list[Tensor], size: tuple[int, int], sharpness: float) -> Tensor:
    """The sum over the layers of the differences of (B, K, h, w), in `size`, divided by its maximum; from 0 to 1."""
    total = sum(F.interpolate(differences(values, sharpness), size, mode="bilinear") for values in found)
    assert isinstance(total, Tensor)
    return (total / _peak(total)).clamp(min=0)


def differences(values: Tensor, sharpness: float = 3.0) -> Tensor:
    """DCSM's comparison of classes at one layer: (B, K, h, w) largest gradients to (B, K, h, w) in [-1, 1]."""
    pairs = values[:, :, None] - values[:, None]  # (B, K, K, h, w): c against c'
    pairs = torch.tanh(sharpness * pairs / _peak(pairs))
    own = torch.eye(values.shape[1], dtype=torch.bool, device=values.device)[None, :, :, None, None]
    against = pairs.masked_fill(own, 0).sum(2)
    return torch.tanh(sharpness * against / _peak(against))


def _peak(values: Tensor) -> Tensor:
    """The largest value over the positions; where none is positive, the largest absolute one, so that signs stay."""
    top, size = values.amax((-2, -1), keepdim=True), values.abs().amax((-2, -1), keepdim=True)
    return torch.where(top > 0, top, size).clamp(min=_TINY)


@differentiated
def class_gradients(model: nn.Module, images: Tensor, classes: Tensor, layers: Sequence[str],
                    is_guided: bool = True) -> list[Tensor]:
    """For each layer the largest gradient over the channels (no absolute value), (B, K, h, w), of each of the classes.

    A layer that ends with a ReLU counts with it: the gradient is that at the ReLU's input. (At its output it would be
    the same everywhere for the last maps of a network that takes their mean.) One forward pass serves all classes and
    layers.
    """
    names = [layer_name(model, name) for name in layers]
    x = leaf(images)
    with Guided() if is_guided else Relus() as relus, tapped(model, set(names)) as taps:
        scores = of_classes(all_scores(model, x), classes).unbind(1)
    maps = [_maps(taps, name) for name in names]
    rows = [torch.autograd.grad(score.sum(), maps, retain_graph=True, allow_unused=True) for score in scores]
    return [torch.stack([relus.through(map_, _slope(row[number], name)).float().amax(1) for row in rows], 1)
            for number, (map_, name) in enumerate(zip(maps, names, strict=True))]


def _maps(taps: Taps, name: str) -> Tensor:
    value = taps.output(name)
    if not is_map(value):
        raise UnfitModel(f"has no maps at its layer '{name}': its output is {tuple(value.shape)}: choose another layer")
    return value


def _slope(found: Tensor | None, name: str) -> Tensor:
    if found is None:
        raise UnfitModel(f"does not use the output of its layer '{name}' for the score: choose another layer")
    return found
