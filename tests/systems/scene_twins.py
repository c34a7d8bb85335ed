"""The losses of the segmenter and the detector, written out pixel by pixel and cell by cell: see `update_twins`."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from twin_parts import Descents, Terms

from migaki.core.batch import Batch


def segmenter(system: Any, batch: Batch, step: int) -> Descents:
    """Cross-entropy and Dice over the pixels with a class; or differences of the log of depth and of its steps."""
    config = system.config
    out = F.interpolate(system.net(batch["image"] * 2 - 1), scale_factor=2, mode="bilinear", align_corners=False)
    if config.target == "depth":
        return [("net", depth_terms(config, out[:, 0], batch["depth"], system.mean, system.deviation))]
    return [("net", mask_terms(config.dice_weight, out, batch["mask"].long()))]


def mask_terms(weight: float, out: Tensor, mask: Tensor) -> Terms:
    known = mask != 255
    shares = out.softmax(1).permute(0, 2, 3, 1)[known]  # (N, K)
    truth = mask[known]
    entropy = torch.stack([-share[k].log() for share, k in zip(shares, truth.tolist(), strict=True)]).mean()
    dice = []
    for k in truth.unique().tolist():
        mine = (truth == k).float()
        dice.append(1 - 2 * (shares[:, k] * mine).sum() / (shares[:, k].sum() + mine.sum()))
    return [("entropy", 1.0, entropy), ("dice_weight", weight, torch.stack(dice).mean())]


def weak_segmenter(system: Any, batch: Batch, step: int) -> Descents:
    """The tags by themselves; or the teacher's masks of the easiest half, pixel by pixel."""
    config = system.config
    if step < round(config.classifier_share * config.steps):
        p = system.classifier(batch["image"])[0].double().sigmoid()
        losses = [-(p[row, k].log() if k in batch["labels"][row] else (1 - p[row, k]).log())
                  for row in range(len(p)) for k in range(config.num_classes)]
        return [("classifier", [("tags", 1.0, torch.stack(losses).mean().float())])]
    taught = system._locate(batch)
    kept = taught["easiness"].argsort(descending=True)[:2].sort()[0]
    out = system.nets[0](batch["image"][kept])
    return [("round_1", mask_terms(config.dice_weight, out, taught["mask"][kept].long()))]


def depth_terms(config: Any, read: Tensor, depth: Tensor, mean: Tensor, deviation: Tensor) -> Terms:
    off, steps = [], []
    away = {place: read[place] - (depth[place].log() - mean) / deviation
            for place in map(tuple, (depth > 0).nonzero().tolist())}
    for (b, y, x), value in away.items():
        off.append(value.abs())
        steps += [(away[b, y, x + 1] - value).abs()] if (b, y, x + 1) in away else []
        steps += [(away[b, y + 1, x] - value).abs()] if (b, y + 1, x) in away else []
    return [("value", 1.0, torch.stack(off).mean()),
            ("gradient_weight", config.gradient_weight, torch.stack(steps).mean())]


def depth(system: Any, batch: Batch, step: int) -> Descents:
    """The scale-invariant error of each picture; the steps of every pixel, every second, fourth and eighth."""
    out = F.interpolate(system.net(batch["image"] * 2 - 1), scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
    away = {place: out[place] - (batch["depth"][place].log() - system.mean)
            for place in map(tuple, (batch["depth"] > 0).nonzero().tolist())}
    own = [torch.stack([value for (b, _, _), value in away.items() if b == k]) for k in range(len(out))]
    steps = []
    for k in (1, 2, 4, 8):
        there = {place: value for place, value in away.items() if place[1] % k == 0 and place[2] % k == 0}
        steps.append(torch.stack([(there[other] - value).abs() for (b, y, x), value in there.items()
                                  for other in ((b, y, x + k), (b, y + k, x)) if other in there]).mean())
    return [("net", [("value", 1.0, torch.stack([(one**2).mean() for one in own]).mean()),
                     ("share", system.config.share, -torch.stack([one.mean()**2 for one in own]).mean()),
                     ("matching_weight", system.config.matching_weight, torch.stack(steps).sum())])]


def gaussian(x: int, y: int, box: list[float]) -> float:
    """Of a box at a cell of 4 px: a standard deviation of 0.09 of its sides, at least 0.4 cells."""
    left, top, width, height = (value / 4 for value in box)
    middle = math.floor(left + width / 2), math.floor(top + height / 2)
    wide, tall = max(0.09 * width, 0.4), max(0.09 * height, 0.4)
    return math.exp(-(((x - middle[0]) / wide) ** 2 + ((y - middle[1]) / tall) ** 2) / 2)


def detector(system: Any, batch: Batch, step: int) -> Descents:
    """The focal loss of CornerNet's equation 1 outside of crowds; offset, size and keypoints around the centres."""
    config = system.config
    out = system.net(batch["image"] * 2 - 1)
    count, outputs = config.num_object_classes, out.shape[1]
    heat, centres = [], 0
    geometry: list[tuple[float, Tensor]] = []
    points: list[tuple[float, Tensor]] = []
    for b, image in enumerate(out):
        objects = list(zip(batch["boxes"][b].tolist(), batch["classes"][b].tolist(), batch["crowd"][b].tolist(),
                           batch["object_keypoints"][b].tolist(), strict=True))
        single = [(box, k, marks) for box, k, crowd, marks in objects if k >= 0 and crowd != 1]
        crowds = [box for box, _, crowd, _ in objects if crowd == 1]
        centres += len(single)
        for y in range(image.shape[1]):
            for x in range(image.shape[2]):
                high = [gaussian(x, y, box) for box, _, _ in single]
                in_crowd = any(box[0] <= 4 * x + 2 < box[0] + box[2] and box[1] <= 4 * y + 2 < box[1] + box[3]
                               for box in crowds)
                for k in range(count):
                    wanted = max([value for value, (_, own, _) in zip(high, single, strict=True) if own == k],
                                 default=0.0)
                    p = torch.sigmoid(image[k, y, x])
                    if wanted == 1:
                        heat.append(-((1 - p) ** 2) * p.log())
                    elif not in_crowd:
                        heat.append(-((1 - wanted) ** 4) * p**2 * (1 - p).log())
                if not high or max(high) <= 0.1:
                    continue
                box, _, marks = single[high.index(max(high))]
                middle = [box[0] + box[2] / 2, box[1] + box[3] / 2]
                true = [middle[0] / 4 - x - 0.5, middle[1] / 4 - y - 0.5, math.log(box[2] / 4), math.log(box[3] / 4)]
                geometry += [(max(high), (image[count + c, y, x] - true[c]).abs()) for c in range(4)]
                for j in range((outputs - count - 4) // 2):
                    if marks[j][2] > 0:
                        for axis in (0, 1):
                            there = (marks[j][axis] + 0.5 - middle[axis]) / box[2 + axis]
                            read = image[count + 4 + 2 * j + axis, y, x]
                            points.append((max(high), (read - there).abs()))
    terms: Terms = [("heat", 1.0, torch.stack(heat).sum() / centres),
                    ("geometry_weight", config.geometry_weight, weighted(geometry))]
    return [("net", terms + ([("keypoint_weight", config.keypoint_weight, weighted(points))] if points else []))]


def weighted(values: list[tuple[float, Tensor]]) -> Tensor:
    return torch.stack([weight * value for weight, value in values]).sum() / sum(weight for weight, _ in values)


def deep3d(system: Any, batch: Batch, step: int) -> Descents:
    """The absolute error of a right view that is mixed of shifted left ones, column by column."""
    left, shares = batch["image"], system.net(batch["image"] * 2 - 1).softmax(1)
    columns = []
    for x in range(left.shape[3]):
        parts = [shares[:, k, None, :, x] * left[..., min(max(x + system.config.first + k, 0), left.shape[3] - 1)]
                 for k in range(system.config.disparities)]
        columns.append(torch.stack(parts).sum(0))
    return [("net", [("error", 1.0, (torch.stack(columns, 3) - batch["right"]).abs().mean())])]
