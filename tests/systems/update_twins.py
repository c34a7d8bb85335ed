"""The losses of every system's update, written out from the equations: terms with their weights, per descent.

A twin is a function of (system, batch, step) that returns, for each descent in order, the optimiser's name and the
terms (name of the weight's field or a word, weight, value) whose weighted sum is the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attack_twins
import block_twins
import field_twins
import label_twins
import raw_twins
import refiner_twins
import scene_twins
import style_twins
import texture_twins
import torch
import torch.nn.functional as F
import translation_twins
from torch import Tensor
from twin_parts import Descents, Terms, log_sigmoid_loss

from migaki.core.batch import Batch
from migaki.core.system import System
from migaki.metrics.restoration import ssim
from migaki.ops.augment import equalise
from migaki.ops.colour import rgb_to_lab, rgb_to_ycbcr
from migaki.ops.filtering import guided_filter


def film(maps: Tensor) -> Tensor:
    """The mean over squares of 9 px, twice, the border repeated."""
    kernel = maps.new_full((1, 1, 9, 9), 1 / 81)
    for _ in "12":
        flat = F.pad(maps, (4, 4, 4, 4), mode="replicate").reshape(-1, 1, maps.shape[2] + 8, maps.shape[3] + 8)
        maps = F.conv2d(flat, kernel).view(maps.shape)
    return maps


def translated(system: Any, image: Tensor) -> Tensor:
    """What the generator makes: painted, or mixed into the input, which is freed of a veil before."""
    config, raw = system.config, system.generator(image)
    if not config.blend:
        return raw
    kept, share = image[:, :3], raw[:, 4:5]
    if config.unveil:
        veil, light = 0.9 * film(raw[:, 5:6]) ** 2, film(raw[:, 6:9])
        ground = (kept - veil * light) / (1 - veil)
        kept = ground + (ground.clamp(0, 1) - ground).detach()  # clamped, with the gradient of what is not
    return torch.cat([share * raw[:, :3] + (1 - share) * kept, raw[:, 3:4]], 1)


def pix2pix(system: Any, batch: Batch, step: int) -> Descents:
    """Eq. 1 halved for the judge; eq. 4 for the generator."""
    image = batch["image"]
    truth = torch.cat([batch["target"][:, :3], batch["mask"][:, None]], 1)
    made = translated(system, image)
    judged = {name: system.discriminator(image, pictures) for name, pictures in (("made", made), ("truth", truth))}
    return [("discriminator", [("made", 0.5, log_sigmoid_loss(judged["made"], one=True)),
                               ("truth", 0.5, log_sigmoid_loss(judged["truth"], one=False))]),
            ("generator", [("fool", 1.0, log_sigmoid_loss(judged["made"], one=False)),
                           ("l1", system.config.l1, (made - truth).abs().mean())])]


def deep_detail(system: Any, batch: Batch, step: int) -> Descents:
    """Eq. 3, and what its rungs and our loss put in its place."""
    config, image = system.config, batch["image"]
    detail = image - guided_filter(image, image, config.radius, config.eps) if config.rung == "full" else image
    made = system.net(detail) + (image if config.rung in ("full", "neg_mapping") else 0)
    wrong = made - batch["target"]
    error = wrong.abs().mean() if config.loss == "l1" else (wrong**2).mean()
    return [("net", [("error", 1.0, error), ("ssim_weight", config.ssim_weight,
                                             1 - ssim(made, batch["target"], precision=torch.float32).mean())])]


def hourglass(system: Any, batch: Batch, step: int) -> Descents:
    """The distance in cells and the cross-entropy to a Gaussian, over the joints inside, of every stack."""
    config = system.config
    truth = batch[config.key if hasattr(config, "key") else "joints"][..., :2]
    inside = [(b, j) for b in range(len(truth)) for j in range(truth.shape[1])
              if -0.5 < truth[b, j, 0] < config.width - 0.5 and -0.5 < truth[b, j, 1] < config.height - 0.5]
    maps = system.net(batch["image"] * 2 - 1)
    near, heat = [], []
    for stack in maps:
        for b, j in inside:
            share = stack[b, j].flatten().softmax(0).view_as(stack[b, j])
            x, y = torch.arange(share.shape[1]), torch.arange(share.shape[0]).view(-1, 1)
            centre = (truth[b, j] - (config.stride - 1) / 2) / config.stride  # in cells
            found = torch.stack([(share * x).sum(), (share * y).sum()])
            near.append((((found - centre) ** 2).sum() + 1e-4).sqrt())
            wanted = torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * config.sigma**2))
            heat.append(-(wanted / wanted.sum() * share.log()).sum())
    return [("net", [("near", 1.0, torch.stack(near).mean()),
                     ("heat_weight", config.heat_weight, torch.stack(heat).mean())])]


def landmarks(system: Any, batch: Batch, step: int) -> Descents:
    """The mean distance of each label in units of the width / 20, every label counted once."""
    config = system.config
    images = equalise(batch["image"]) if config.equalise else batch["image"]
    unit = config.width / 20
    out = system.net(images * 2 - 1) * unit
    places = out.view(len(out), -1, 2) + torch.tensor([(config.width - 1) / 2, (config.height - 1) / 2])
    terms, start = [], 0
    for key, count in zip(config.landmarks, config.num_points, strict=True):
        truth = batch[key].view(len(out), count, 2)
        away = ((places[:, start : start + count] - truth) ** 2).sum(2)
        terms.append((key, 1 / len(config.landmarks), (away / unit**2 + 1e-4).sqrt().mean()))
        start += count
    return [("net", terms)]


def gaze(system: Any, batch: Batch, step: int) -> Descents:
    """The distance in units of 0.12 rad, or the squared one of the paper's vectors; weighted by the labels' drift."""
    config, angles = system.config, batch["gaze"]
    images = batch["image"]
    if config.mirror_side >= 0:
        flip = batch["side"] == config.mirror_side
        images, angles = images.clone(), angles.clone()
        images[flip], angles[flip, 1] = images[flip].flip(-1), -angles[flip, 1]
    out = system.net((equalise(images) if config.equalise else images) * 2 - 1)
    if config.net == "paper":
        pitch, yaw = angles.T
        vector = torch.stack([-pitch.cos() * yaw.sin(), -pitch.sin(), -pitch.cos() * yaw.cos()], 1)
        distance = ((out - vector) ** 2).sum(1)
    else:
        distance = (((out - angles / 0.12) ** 2).sum(1) + 1e-4).sqrt()
    if not config.drift_scale:
        return [("net", [("distance", 1.0, distance.mean())])]
    weights = [1 / (1 + (float(moved) / config.drift_scale) ** 2) for moved in batch["drift"]]
    return [("net", [(f"image {number}", weight / sum(weights), distance[number])
                     for number, weight in enumerate(weights)])]


def regressor(system: Any, batch: Batch, step: int) -> Descents:
    """Per column the mean of the distance over the images that have it; angles on the unit circle."""
    config, place, columns = system.config, 0, []
    out = system.net(batch["image"] * 2 - 1)
    for number, column in enumerate(config.columns):
        distances = []
        for row, truth in enumerate(batch[column].tolist()):
            if math.isnan(truth):
                continue
            if column in config.circular:
                square = (out[row, place] - math.sin(truth)) ** 2 + (out[row, place + 1] - math.cos(truth)) ** 2
            else:
                square = (out[row, place] - (truth - float(system.mean[number])) / float(system.deviation[number])) ** 2
            distances.append((square + 1e-4).sqrt())
        place += 2 if column in config.circular else 1
        columns.append(torch.stack(distances).mean())
    return [("net", [(column, 1 / len(columns), value) for column, value in zip(config.columns, columns,
                                                                              strict=True)])]


def smoothed(logits: Tensor, truth: Tensor, smoothing: float) -> Terms:
    """Cross-entropy with a share of the label spread over all classes."""
    logs = logits.log_softmax(1)
    return [("label", 1 - smoothing, -logs[torch.arange(len(truth)), truth].mean()),
            ("label_smoothing", smoothing, -logs.mean())]


def classifier(system: Any, batch: Batch, step: int) -> Descents:
    logits, smoothing = system.net(batch["image"] * 2 - 1), system.config.label_smoothing
    if not system.config.several:
        return [("net", smoothed(logits, batch["label"], smoothing))]
    p, each = torch.sigmoid(logits), []
    for row, labels in enumerate(batch["labels"].tolist()):
        for k in range(logits.shape[1]):
            share = (1 - smoothing if k in labels else 0) + smoothing / 2
            each.append(-share * p[row, k].log() - (1 - share) * (1 - p[row, k]).log())
    return [("net", [("each class", 1.0, torch.stack(each).mean())])]


def trusted_photographs(system: Any, photos: Tensor, taught: Tensor) -> tuple[Tensor, Tensor]:
    """Which photographs count with `open_set`, and each class's threshold, picture by picture."""
    config, count = system.config, taught.shape[1]
    other = system.average(photos * 2 - 1).softmax(1)
    trusted = torch.zeros(len(taught))
    for row, both in enumerate(((taught + other) / 2).tolist()):
        entropy = -sum(p * math.log(p) for p in both) / math.log(count)
        first, second, *_ = sorted(both, reverse=True)
        trusted[row] = entropy <= config.max_entropy and first - second >= config.min_margin
    least = []
    sureness = system.sureness.tolist()
    for k in range(count):
        read = [p[k] for p, is_known in zip(taught.tolist(), trusted.tolist(), strict=True)
                if is_known and max(p) == p[k]]
        if read:
            rate = 1.0 if sureness[k] == 0 else 0.1
            sureness[k] += rate * (sum(read) / len(read) - sureness[k])
    for k in range(count):
        share = sureness[k] / max(sureness) if sureness[k] else 1.0
        least.append(config.threshold * max(0.5, share))
    assert 0 < trusted.sum() < len(trusted), "the case shows nothing"
    return trusted, torch.tensor(least)


def adapted_classifier(system: Any, batch: Batch, step: int) -> Descents:
    """Cross-entropy on the labels; on the photographs ramped up, information raised and all else lowered."""
    config = system.config
    ramp = min(1.0, max(0.0, (step + 1) / (config.first * config.steps) - 1))
    source, photos = system.net.features(batch["image"] * 2 - 1), system.net.features(batch["real"] * 2 - 1)
    with torch.no_grad():
        known = system.average.features(batch["real"] * 2 - 1)
        taught = system.average.head(known).softmax(1)
        trusted, least = torch.ones(len(taught)), torch.full((taught.shape[1],), config.threshold)
        if config.open_set:
            trusted, least = trusted_photographs(system, batch["real"], taught)
        mass = taught * trusted[:, None]
        seen = mass.sum(0)
        means = (mass.T @ known) / seen.clamp_min(1e-6)[:, None]
        rate = (0.1 * seen.clamp_max(1))[:, None]
        centres = torch.where(system.centres.abs().sum(1, keepdim=True) == 0, means,
                              system.centres + rate * (means - system.centres))
        nearest = F.cosine_similarity(known[:, None], centres[None], dim=2).argmax(1)
    logits = system.net.head(photos)
    logs = logits.log_softmax(1)
    each = torch.arange(len(logs))
    sure, label = taught.max(1)
    mean = (logs.exp() * trusted[:, None]).sum(0) / trusted.sum()
    information = -(mean * mean.log()).sum() + ((logs.exp() * logs).sum(1) * trusted).sum() / trusted.sum()
    judged = system.judge(photos)
    terms = [
        *smoothed(system.net.head(source), batch["label"], config.label_smoothing),
        ("confident", ramp * config.confident, (-logs[each, label] * (sure >= least[label]) * trusted).mean()),
        ("information", -ramp * config.information, information),
        ("centroids", ramp * config.centroids, (-logs[each, nearest] * trusted).mean()),
        ("alignment", ramp * config.alignment, log_sigmoid_loss(judged, one=False))]
    return [("net", terms), ("judge", [
        ("source", 0.5, log_sigmoid_loss(system.judge(source.detach()), one=False)),
        ("photos", 0.5, log_sigmoid_loss(system.judge(photos.detach()), one=True))])]


def colourisation(system: Any, batch: Batch, step: int) -> Descents:
    """Eq. 2 with soft classes of the five nearest, weighted by the nearest one's rarity; or the squared error."""
    config = system.config
    made = system.net(F.pixel_unshuffle(batch["image"], 4))
    ab = F.avg_pool2d(rgb_to_lab(batch["target"])[:, 1:], 4)
    if config.objective == "regression":
        return [("net", [("error", 1.0, ((made - ab / 100) ** 2).mean())])]
    logs, total = made.log_softmax(1), made.new_zeros(())
    for b in range(len(ab)):
        for y in range(ab.shape[2]):
            for x in range(ab.shape[3]):
                distance = (system.classes - ab[b, :, y, x]).norm(dim=1)
                order = distance.argsort()[:5]
                share = torch.exp(-(distance[order] ** 2) / (2 * 5.0**2) + distance[order[0]] ** 2 / (2 * 5.0**2))
                soft = share / share.sum()
                total = total - system.weights[order[0]] * (soft * logs[b, order, y, x]).sum()
    return [("net", [("cross-entropy", 1.0, total / (len(ab) * ab.shape[2] * ab.shape[3]))])]


def super_resolution(system: Any, batch: Batch, step: int) -> Descents:
    """The error of Y, of the network beside the bicubic enlargement or alone."""
    config = system.config
    small, wanted = (rgb_to_ycbcr(batch[key])[:, :1] for key in ("image", "target"))
    made = system.net(small)
    if config.residual:
        made = made + F.interpolate(small, scale_factor=config.scale, mode="bicubic", antialias=True)
    wrong = made - wanted
    return [("net", [("error", 1.0, wrong.abs().mean() if config.loss == "l1" else (wrong**2).mean())])]


TWINS: dict[str, Callable[[System, Batch, int], Descents]] = {
    "any_style": style_twins.any_style,
    "adapted_classifier": adapted_classifier, "camera_refiner": refiner_twins.camera_refiner, "classifier": classifier,
    "colourisation": colourisation,
    "deep3d": scene_twins.deep3d, "depth": scene_twins.depth,
    "deep_detail": deep_detail, "forgery_detector": attack_twins.forgery_detector, "gaze": gaze, "hourglass": hourglass,
    "keypoints": hourglass,
    "landmarks": landmarks, "patch": attack_twins.patch, "pix2pix": pix2pix, "regressor": regressor,
    "simgan": refiner_twins.simgan, "super_resolution": super_resolution, "texture": texture_twins.texture,
    "detector": scene_twins.detector, "segmenter": scene_twins.segmenter,
    "cut": translation_twins.cut, "cyclegan": translation_twins.cyclegan,
    "weak_segmenter": scene_twins.weak_segmenter, "style_network": style_twins.style_network,
    "simclr": label_twins.simclr, "semi_supervised": label_twins.semi_supervised,
    "copy_detector": label_twins.copy_detector, "sdmp": label_twins.sdmp, "pretext": label_twins.pretext,
    "voxel_field": field_twins.voxel_field, "nerf": field_twins.nerf, "raw_field": raw_twins.raw_field,
    "voxel_block": block_twins.voxel_block, "block_field": block_twins.block_field}


def half_cosine(rate: float, step: int, steps: int) -> float:
    return rate * (1 + math.cos(math.pi * step / steps)) / 2


def cycle(rate: float, step: int, steps: int) -> float:
    """A tenth of linear warm-up, then half a cosine."""
    warm = max(1, steps // 10)
    return rate * (step + 1) / warm if step < warm else half_cosine(rate, step - warm, steps - warm)


def halves(rate: float, step: int, steps: int) -> float:
    """Constant, then linearly to nothing from the middle on."""
    return rate if 2 * step <= steps else 2 * rate * (steps - step) / steps


def falling(rate: float, step: int, steps: int) -> float:
    """Exponentially to a tenth."""
    return float(rate * 0.1 ** (step / steps))


RATES: dict[str, dict[str, Callable[[float, int, int], float]]] = {
    "adapted_classifier": {"net": cycle, "judge": lambda rate, *_: rate}, "classifier": {"net": cycle},
    "camera_refiner": {"camera": lambda rate, *_: rate, "discriminator": lambda rate, *_: rate / 2},
    "colourisation": {"net": half_cosine}, "deep_detail": {"net": half_cosine}, "gaze": {"net": cycle},
    "deep3d": {"net": cycle}, "depth": {"net": cycle},
    "hourglass": {"net": cycle}, "keypoints": {"net": cycle}, "landmarks": {"net": cycle},
    "patch": {"patch": lambda rate, *_: rate},
    "forgery_detector": {"net": cycle, "forger": lambda rate, *_: 5 * rate},
    "regressor": {"net": cycle}, "pix2pix": {"generator": halves, "discriminator": halves},
    "simgan": {"refiner": lambda rate, *_: rate, "discriminator": lambda rate, *_: 4 * rate},
    "sdmp": {"net": cycle}, "pretext": {"net": cycle},
    "simclr": {"net": cycle}, "semi_supervised": {"net": cycle}, "copy_detector": {"net": cycle},
    "super_resolution": {"net": half_cosine}, "texture": {"head": cycle}, "style_network": {"net": half_cosine},
    "any_style": {"net": half_cosine},
    "detector": {"net": cycle}, "segmenter": {"net": cycle},
    "voxel_field": {"field": falling}, "nerf": {"net": falling},
    "raw_field": {"field": falling, "camera": lambda rate, *when: falling(rate / 10, *when)},
    "voxel_block": {"codes": lambda rate, *at: falling(0.1 * rate, *at)}, "block_field": {"maps": falling},
    **{name: {"refiner": halves, "discriminator": halves} for name in ("cut", "cyclegan")},
    # Of 20 steps the classifier has 2, each of two rounds 9.
    "weak_segmenter": {"classifier": lambda rate, step, _: cycle(rate, step, 2),
                       "round_1": lambda rate, step, _: cycle(rate, step - 2, 9),
                       "round_2": lambda rate, step, _: cycle(rate, step - 11, 9)}}
