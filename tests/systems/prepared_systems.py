"""Tiny systems with opinions: weights and buffers that are no round numbers, and batches with all an update may read.

A fresh refiner is the identity and a fresh discriminator has no opinion, so a wrong weight or sign could hide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from twin_parts import Reader

from migaki.core.batch import Batch

Draw = torch.Generator


def prepared(name: str, system: Any, batch: Batch) -> Batch:
    """Prepare a system of this name in place; returns its batch."""
    prepare = PREPARED.get(name)
    if prepare is None:
        return batch
    with torch.no_grad():
        return prepare(system, dict(batch), torch.Generator().manual_seed(2))


def shake(parameters: Any, draw: Draw, alpha: float = 0.1) -> None:
    """Move every parameter by chance."""
    for parameter in parameters:
        parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=alpha)


def enlarge(parameters: Any, factor: float) -> None:
    for parameter in parameters:
        parameter.mul_(factor)


def calibrate(system: Any, batch: Batch) -> None:
    """Give a refiner an estimator, and its meter the spread of what that reads off a batch."""
    system.readings.add(Reader(batch["image"][0].numel()))
    (meter,) = system.readings.meters
    meter.calibrate([meter.read(batch)])


def simgan(system: Any, batch: Batch, draw: Draw) -> Batch:
    shake(system.refiner.parameters(), draw)
    enlarge(system.discriminator.parameters(), 3)
    calibrate(system, batch)
    for key in ("gaze", "logits") if system.config.hold == "label" else ():
        batch[key] = torch.randn(8, {"gaze": 2, "logits": 3}[key], generator=draw)
    return batch


def translator(system: Any, batch: Batch, draw: Draw) -> Batch:
    shake([one for key, one in system.named_parameters() if not key.startswith("average.")], draw)
    calibrate(system, batch)
    return batch


def camera_refiner(system: Any, batch: Batch, draw: Draw) -> Batch:
    shake(system.camera.parameters(), draw, 0.2)
    enlarge(system.discriminator.parameters(), 3)
    return channels_of(system, batch)


def channels_of(system: Any, batch: Batch) -> Batch:
    return {key: value[:, : system.config.channels] for key, value in batch.items()}


def forgery_detector(system: Any, batch: Batch, draw: Draw) -> Batch:
    """The choices are not equally likely, and nothing is half and half."""
    shake(system.choices.parameters(), draw, 1.0)
    shake([system.net.head.bias], draw, 1.0)
    system.net.head.weight.mul_(30)
    system.net.location.bias.add_(0.7)
    return batch


def patch(system: Any, batch: Batch, draw: Draw) -> Batch:
    system.colours.mul_(9)
    return channels_of(system, batch)


def detector(system: Any, batch: Batch, draw: Draw) -> Batch:
    """No outputs that are far from the truth by nature."""
    system.net.head.weight.mul_(3)
    if not system.config.num_keypoints:
        batch["object_keypoints"] = batch["object_keypoints"][:, :, :0]
    return batch


def segmenter(system: Any, batch: Batch, draw: Draw) -> Batch:
    system.mean.fill_(5.6)
    system.deviation.fill_(1.3)
    return batch


def depth(system: Any, batch: Batch, draw: Draw) -> Batch:
    system.mean.fill_(0.8)
    return batch


def gaze(system: Any, batch: Batch, draw: Draw) -> Batch:
    return batch | {"side": torch.tensor([0, 1, 1, 0]), "drift": torch.rand(4, generator=draw) * 4}


def regressor(system: Any, batch: Batch, draw: Draw) -> Batch:
    count = len(system.config.columns)
    system.mean.copy_(torch.tensor([0.7, 0.0][:count]))
    system.deviation.copy_(torch.tensor([1.9, 1.0][:count]))
    return batch


def outside(points: Tensor, first: tuple[int, int, int], second: tuple[int, int, int]) -> None:
    """Bring two points out of the picture."""
    points[first], points[second] = -3.0, 40.0


def hourglass(system: Any, batch: Batch, draw: Draw) -> Batch:
    outside(batch["joints"], (0, 0, 0), (1, 2, 1))
    return batch


def keypoints(system: Any, batch: Batch, draw: Draw) -> Batch:
    outside(batch["keypoints"], (0, 0, 0), (1, 1, 1))
    return batch


def classifier(system: Any, batch: Batch, draw: Draw) -> Batch:
    return batch | {"labels": torch.tensor([[0, 2], [-1, -1], [1, -1], [2, 1]])}


def texture(system: Any, batch: Batch, draw: Draw) -> Batch:
    """Rows that are far from their mean."""
    system.norm.running_mean.fill_(0.4)
    system.norm.running_var.fill_(0.3)
    return batch


def super_resolution(system: Any, batch: Batch, draw: Draw) -> Batch:
    if system.config.scale != 3:
        return batch
    return {"image": torch.rand(4, 3, 8, 8, generator=draw), "target": torch.rand(4, 3, 24, 24, generator=draw)}


def colourisation(system: Any, batch: Batch, draw: Draw) -> Batch:
    system.weights.copy_(torch.rand(len(system.classes), generator=draw) + 0.5)
    return batch


def adapted_classifier(system: Any, batch: Batch, draw: Draw) -> Batch:
    """Opinions that differ from image to image."""
    system.centres.copy_(torch.randn(system.centres.shape, generator=draw))
    system.centres[1] = 0
    system.sureness.copy_(torch.tensor([0.5, 0.0, 0.9]))
    batch["real"] = torch.rand(24, 1, 8, 8, generator=draw) * torch.linspace(0.1, 1, 24).view(-1, 1, 1, 1)
    shake([*system.net.parameters(), *system.average.parameters()], draw)
    for net in (system.net, system.average):
        net.head.weight.mul_(6)
        net.head.bias.sub_(net(batch["real"] * 2 - 1).mean(0))
    return batch


def style_network(system: Any, batch: Batch, draw: Draw) -> Batch:
    """A network that paints, styles that differ, and losses that are calibrated."""
    shake(system.net.parameters(), draw, 0.2)
    system._know(batch)
    return batch


def any_style(system: Any, batch: Batch, draw: Draw) -> Batch:
    """A network that paints, and a reader that says more than nothing."""
    shake([*system.net.parameters(), *system.reader.parameters()], draw, 0.2)
    system.reader.middle.add_(0.1)
    system.reader.unit.fill_(0.7)
    return batch


def field(system: Any, batch: Batch, draw: Draw) -> Batch:
    """A fresh field is fog of one density and grey."""
    shake(system.parameters(), draw, 1.0)
    return batch


def blocks(system: Any, batch: Batch, draw: Draw) -> Batch:
    """Blocks of different fog that begin with different appearances."""
    shake(system.parameters(), draw, 0.5)
    shake([system.begun], draw)
    return batch


PREPARED: dict[str, Callable[[Any, Batch, Draw], Batch]] = {
    "adapted_classifier": adapted_classifier, "camera_refiner": camera_refiner, "classifier": classifier,
    "colourisation": colourisation, "cut": translator, "cyclegan": translator, "detector": detector,
    "depth": depth,
    "forgery_detector": forgery_detector, "gaze": gaze, "hourglass": hourglass, "keypoints": keypoints, "patch": patch,
    "regressor": regressor, "segmenter": segmenter, "simgan": simgan, "super_resolution": super_resolution,
    "texture": texture,
    "style_network": style_network, "any_style": any_style, "voxel_field": field, "nerf": field,
    "raw_field": field,
    "voxel_block": field, "block_field": blocks,
}
