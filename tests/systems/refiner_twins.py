"""The losses of the refiners' updates, written out: see `update_twins`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from twin_parts import Descents, Terms, drift, log_sigmoid_loss

from migaki.core.batch import Batch
from migaki.losses.statistics import picture_statistics


def apart_in_looks(made: Tensor, wanted: Tensor, lines: Tensor) -> Tensor:
    """The mean difference of sorted projections of statistics, in units of the deviation of what is wanted."""
    lines = lines / (lines**2).sum(0).sqrt()
    width = wanted.std(0, correction=0).clamp_min(0.02)
    first, second = (((rows - wanted.mean(0)) / width @ lines).sort(0).values for rows in (made, wanted))
    return (first - second).abs().mean()


def maps_of(system: Any, images: Tensor) -> list[Tensor]:
    """The discriminator's maps; the paper's has one."""
    found = system.discriminator(images)
    return found if isinstance(found, list) else [found]


def judged(system: Any, images: Tensor, *, one: bool) -> Tensor:
    """The mean over the maps of the cross-entropy."""
    maps = maps_of(system, images)
    return sum((log_sigmoid_loss(logits, one=one) for logits in maps), torch.zeros(())) / len(maps)


def in_the_looks_of(photos: Tensor, images: Tensor) -> Tensor:
    """Every picture with the mean and deviation of each channel of a photograph, which take turns."""
    photos = photos.repeat(-(-len(images) // len(photos)), 1, 1, 1)[: len(images)]
    (mean, spread), (own, width) = (
        (picture.mean((2, 3), keepdim=True), picture.std((2, 3), keepdim=True, correction=0))
        for picture in (photos, images))
    return ((images - own) / width * spread + mean).clamp(0, 1)


def simgan(system: Any, batch: Batch, step: int) -> Descents:
    """Eq. 4, then eq. 2; a refiner with noise, an estimator, no augmentation, no history."""
    config = system.config
    images = in_the_looks_of(batch["real"], batch["image"]) if config.match else batch["image"]
    first, second = (images * 2 - 1).chunk(2)
    photos = batch["real"] * 2 - 1
    torch.manual_seed(5)
    refined = system.refine(first)
    clear = [(pictures.mean(1, keepdim=True) + 1) / 2 for pictures in (refined, photos)]
    pairs = [(refined, first)] if config.psi == "identity" else list(
        zip(*(system.psi(images, system.discriminator) for images in (refined, first)), strict=True))
    keep = ("lambda_reg", config.lambda_reg, sum((a - b).abs().mean() for a, b in pairs) / len(pairs))
    estimator = system.readings.meters[0].estimator
    sure = estimator.predict({"image": images.chunk(2)[0]})
    held = drift(batch if config.hold == "label" else sure, estimator.predict({"image": (refined + 1) / 2}))
    terms: Terms = []
    begins = config.refiner_pretraining
    if step >= begins:
        terms += [("fool", 1.0, judged(system, refined, one=False))]
        if config.statistics:
            wanted = picture_statistics(clear[1])
            apart = apart_in_looks(picture_statistics(clear[0]), wanted, torch.randn(wanted.shape[1], 64))
            terms += [("statistics", config.statistics, apart)]
        if config.variety:
            variety = 0.5 * (system.refine(first) - refined).abs().mean()
            terms += [("sameness", 1.0, (1 - variety / config.variety).clamp_min(0))]
    else:
        keep = ("keep", 1.0, keep[2])
    terms += [keep, ("consistency", config.consistency, held)]
    if step < begins:
        return [("refiner", terms)]
    shown = system.refine(second).detach()
    seen = photos.clone().requires_grad_()
    judge: Terms = [("refined", 1.0, judged(system, shown, one=True)), ("real", 1.0, judged(system, photos, one=False))]
    if step % config.r1_every == config.r1_every - 1:
        maps = maps_of(system, seen)
        for one in maps:
            (slope,) = torch.autograd.grad(one.flatten(1).mean(1).sum(), seen, create_graph=True)
            judge.append(("r1", config.r1_every * config.r1 / len(maps), 0.5 * (slope**2).flatten(1).sum(1).mean()))
    if begins <= step < begins + config.discriminator_pretraining:
        torch.manual_seed(5)
        return [("discriminator", [("refined", 1.0, judged(system, system.refine(second).detach(), one=True)),
                                   *judge[1:]])]
    return [("refiner", terms), ("discriminator", judge)]


def camera_refiner(system: Any, batch: Batch, step: int) -> Descents:
    """Statistics, two discriminators and the settings' size; then the discriminators with R1 at every fourth step."""
    config, images, photos = system.config, batch["image"], batch["real"]
    torch.manual_seed(5)
    if config.match:
        images = in_the_looks_of(photos, images)
    raw = system.camera.raw(images, torch.randn(len(images), config.latent))
    noise = torch.randn(len(images), config.channels + 1, *images.shape[2:])
    taken = system.camera.photograph(images, system.camera.settings(raw), noise)
    seen = taken + (taken.clamp(0, 1) - taken).detach()
    wanted = picture_statistics(photos)
    apart = apart_in_looks(picture_statistics(seen), wanted, torch.randn(wanted.shape[1], config.directions))
    fools = [log_sigmoid_loss(scale, one=False) for scale in system.discriminator(seen * 2 - 1)]
    judged = system.discriminator(seen.detach() * 2 - 1), system.discriminator(photos * 2 - 1)
    judge: Terms = [*(("refined", 0.5, log_sigmoid_loss(scale, one=True)) for scale in judged[0]),
                    *(("real", 0.5, log_sigmoid_loss(scale, one=False)) for scale in judged[1])]
    if step % 4 == 3:
        given = (photos * 2 - 1).requires_grad_()
        for scale in system.discriminator(given):
            (slope,) = torch.autograd.grad(scale.flatten(1).mean(1).sum(), given, create_graph=True)
            judge.append(("r1", 4 * config.r1 / 2, 0.5 * (slope**2).flatten(1).sum(1).mean()))
    return [("camera", [("statistics", config.statistics, apart),
                        *(("adversarial", config.adversarial / 2, fool) for fool in fools),
                        ("keep", config.keep, (raw**2).mean())]), ("discriminator", judge)]
