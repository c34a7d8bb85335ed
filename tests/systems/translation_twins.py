"""The losses of CUT's and CycleGAN's updates, written out from the papers' equations (see `update_twins`)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import twin_parts
from torch import Tensor
from twin_parts import Descents

from migaki.core.batch import Batch


def squares(scores: Tensor, wanted: float) -> Tensor:
    """The mean squared distance of a discriminator's scores from a number."""
    distance: Tensor = ((scores - wanted) ** 2).mean()
    return distance


def scores(discriminator: Any, images: Tensor) -> Tensor:
    """A discriminator's map of images in [-1, 1], without a condition."""
    found: Tensor = discriminator.layers(images)
    return found


def drift(system: Any, before: Tensor, after: Tensor) -> Tensor:
    """The drift of the estimator's readings of images in [-1, 1]."""
    first, last = (system.readings.estimators[0].predict({"image": (one + 1) / 2}) for one in (before, after))
    return twin_parts.drift(first, last)


def contrast(system: Any, source: Tensor, made: Tensor, mirrored: bool = False) -> Tensor:
    """Eq. 4: at every sampled place of every tap, its own place of the source against the others of that picture."""
    terms = []
    known, asked = system.refiner.features(source), system.refiner.features(made)
    places = [torch.randperm(one.shape[2] * one.shape[3])[: system.config.patches] for one in known]
    for there, here, where, head in zip(known, asked, places, system.projections.heads, strict=True):
        losses = []
        for b in range(len(source)):
            mine = here[b].flip(2) if mirrored else here[b]
            rows = [F.normalize(head(one.reshape(len(one), -1)[:, where].T), dim=1) for one in (mine, there[b])]
            likeness = rows[0] @ rows[1].detach().T / system.config.temperature
            losses.append(-likeness.log_softmax(1).diagonal())
        terms.append(torch.cat(losses).mean())
    return torch.stack(terms).mean()


def cut(system: Any, batch: Batch, step: int) -> Descents:
    """The discriminator on least squares, halved; then eq. 5 and the drift. At odd steps the input is mirrored."""
    config, images, photos = system.config, batch["image"] * 2 - 1, batch["real"] * 2 - 1
    torch.manual_seed(5)
    mirrored = config.flip and step % 2 == 1
    made = system.refiner(images.flip(3) if mirrored else images)
    judge = system.discriminator
    judged = [("refined", 0.5, squares(scores(judge, made.detach()), 1)),
              ("real", 0.5, squares(scores(judge, photos), 0))]
    terms = [("fool", 1.0, squares(scores(judge, made), 0)),
             ("nce", config.nce, contrast(system, images, made, mirrored))]
    if config.nce_identity:
        terms.append(("nce_identity", config.nce_identity, contrast(system, photos, system.refiner(photos))))
    terms.append(("consistency", config.consistency, drift(system, images, made.flip(3) if mirrored else made)))
    return [("discriminator", judged), ("refiner", terms)]


def cyclegan(system: Any, batch: Batch, step: int) -> Descents:
    """Eq. 3 with the identities of section 5.2 and CyCADA's term; then both discriminators, halved."""
    config, x, y = system.config, batch["image"] * 2 - 1, batch["real"] * 2 - 1
    there, back = system.refiner, system.returner
    made, drawn = there(x), back(y)
    d_y, d_x = system.discriminator, system.synthetic_discriminator
    terms = [("fool", 1.0, squares(scores(d_y, made), 0)), ("fool_back", 1.0, squares(scores(d_x, drawn), 0)),
             ("cycle", config.cycle, (back(made) - x).abs().mean()),
             ("cycle", config.cycle, (there(drawn) - y).abs().mean())]
    if config.identity:
        terms += [("identity", config.identity, (there(y) - y).abs().mean()),
                  ("identity", config.identity, (back(x) - x).abs().mean())]
    terms.append(("consistency", config.consistency, drift(system, x, made)))
    return [("refiner", terms), ("discriminator", [
        ("refined", 0.5, squares(scores(d_y, made.detach()), 1)), ("real", 0.5, squares(scores(d_y, y), 0)),
        ("drawn", 0.5, squares(scores(d_x, drawn.detach()), 1)), ("rendered", 0.5, squares(scores(d_x, x), 0))])]
