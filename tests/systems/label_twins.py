"""The losses of systems that learn with few labels or none, written out: see `update_twins`."""

from __future__ import annotations

from typing import Any

import torch
from twin_parts import Descents

from migaki.core.batch import Batch
from migaki.ops.pair_views import pair_views


def simclr(system: Any, batch: Batch, step: int) -> Descents:
    """Eq. 1 of Chen et al.: each view finds its partner among all other views of the batch."""
    images = batch["image"]
    torch.manual_seed(5)  # as `descents` does
    views = [pair_views(images, system.views) for _ in "12"]
    z = system.projector(system.encoder(torch.cat(views)))
    z = z / z.norm(dim=1, keepdim=True)
    count, terms = len(images), []
    for i in range(2 * count):
        j = (i + count) % (2 * count)
        rivals = torch.stack([torch.exp(z[i] @ z[k] / system.config.temperature) for k in range(2 * count) if k != i])
        terms.append(rivals.sum().log() - z[i] @ z[j] / system.config.temperature)
    return [("net", [("pairs", 1.0, torch.stack(terms).mean())])]


def semi_supervised(system: Any, batch: Batch, step: int) -> Descents:
    """Eq. 3 and 4 of Sohn et al.: unsure pictures count in the mean with 0."""
    config, photos = system.config, batch["real"]
    torch.manual_seed(5)
    given = system._weak(batch["image"])
    if config.method == "none":
        scores = torch.log_softmax(system.net(given), 1)
        own = [-scores[k, int(c)] for k, c in enumerate(batch["label"])]
        return [("net", [("label", 1.0, torch.stack(own).mean())])]
    weak = system._weak(photos)
    strong = system._strong(photos) if config.method == "fixmatch" else weak
    scores = torch.log_softmax(system.net(torch.cat([given, weak, strong])), 1)
    labelled = [-scores[k, int(c)] for k, c in enumerate(batch["label"])]
    pseudo, count = [], len(photos)
    for k in range(count):
        guess = scores[4 + k].exp().detach()
        if guess.max() >= config.threshold:
            pseudo.append(-scores[4 + count + k, int(guess.argmax())])
    assert len(pseudo) > 0
    return [("net", [("label", 1.0, torch.stack(labelled).mean()),
                     ("unlabelled", config.unlabelled, torch.stack(pseudo).sum() / count)])]


def copy_detector(system: Any, batch: Batch, step: int) -> Descents:
    """SSCD's two terms: telling pairs apart, and the logarithm of the distance to the nearest stranger."""
    config = system.config
    torch.manual_seed(5)
    views, match, ignored = system._pairs(batch["image"])
    z, pairs, near = system.net(views), [], []
    for i in range(len(z)):
        strangers = [k for k in range(len(z)) if k != i and not match[i, k] and not ignored[i, k]]
        rivals = [torch.exp(z[i] @ z[k] / config.temperature) for k in strangers]
        for j in match[i].nonzero()[:, 0]:
            own = torch.exp(z[i] @ z[j] / config.temperature)
            pairs.append(torch.stack([own, *rivals]).sum().log() - z[i] @ z[j] / config.temperature)
        far = [(z[i] - z[k]).norm() for k in strangers] or [torch.tensor(2.0)]
        near.append(torch.stack(far).min().log())
    assert pairs and any(len(z) - 1 - int((match | ignored)[i].sum()) for i in range(len(z)))
    return [("net", [("pairs", 1.0, torch.stack(pairs).mean()),
                     ("entropy", config.entropy, -torch.stack(near).mean())])]
