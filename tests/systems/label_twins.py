"""The losses of systems that learn with few labels or none, written out: see `update_twins`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from twin_parts import Descents

from migaki.core.batch import Batch
from migaki.ops import pretext as puzzles
from migaki.ops.mixing import MIXTURES, mixed
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
    answered = weak
    if config.method != "pseudo":
        guesses = torch.softmax(system.net(weak).detach(), 1)
        answered = system._strong(photos)
    scores = torch.log_softmax(system.net(torch.cat([given, answered])), 1)
    labelled = [-scores[k, int(c)] for k, c in enumerate(batch["label"])]
    pseudo, count = [], len(photos)
    if config.method == "pseudo":
        guesses = scores[4:].exp().detach()
    needed = torch.full((config.num_classes,), config.threshold)
    if config.method == "freematch":  # Wang et al., eq. 5, 6, 8, with the decay of this step
        old = (1 + step) / (10 + step)
        level = old / config.num_classes + (1 - old) * guesses.max(1).values.mean()
        shares = old / config.num_classes + (1 - old) * guesses.mean(0)
        needed = level * shares / shares.max()
    for k, guess in enumerate(guesses):
        if guess.max() >= needed[guess.argmax()]:
            pseudo.append(-scores[4 + k, int(guess.argmax())])
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


def sdmp(system: Any, batch: Batch, step: int) -> Descents:
    """SimCLR's loss, and for mixtures the sum over both sources of share * log p, in both orders of the views."""
    images, config = batch["image"], system.config
    count = len(images)
    torch.manual_seed(5)
    views = [pair_views(images, system.views) for _ in "12"]
    drawn, place = torch.rand(count), torch.rand(count, 2)
    kind = MIXTURES[step % 3] if config.mixture == "all" else config.mixture
    made = [mixed(view, kind, drawn, place) for view in views]
    share = made[0][1].tolist()
    z = system.projector(system.encoder(torch.cat([*views, *(pictures for pictures, _ in made)])))
    z = z / z.norm(dim=1, keepdim=True)
    first, second, mixed_first, mixed_second = z.chunk(4)

    def log_p(query: Tensor, keys: Tensor, one: int) -> Tensor:
        scores = [torch.exp(query @ key / config.temperature) for key in keys]
        return (scores[one] / torch.stack(scores).sum()).log()

    pairs, source, between = [], [], []
    both = torch.cat([first, second])
    for i in range(2 * count):
        rivals = torch.stack([both[k] for k in range(2 * count) if k != i])
        j = (i + count) % (2 * count)
        pairs.append(-log_p(both[i], rivals, j - (j > i)))
    for queries, sources, mixtures in ((mixed_first, second, mixed_second), (mixed_second, first, mixed_first)):
        for i in range(count):
            j = count - 1 - i
            own = 0.5 if config.static else share[i]
            common = min(share[i], 1 - share[j]) + min(1 - share[i], share[j])
            same = 0.5 if config.static else 1 / (1 + common)
            source.append(-own * log_p(queries[i], sources, i) - (1 - own) * log_p(queries[i], sources, j))
            between.append(-same * log_p(queries[i], mixtures, i) - (1 - same) * log_p(queries[i], mixtures, j))
    return [("net", [("pairs", 1.0, torch.stack(pairs).mean()), ("source", config.source, torch.stack(source).mean()),
                     ("between", config.between, torch.stack(between).mean())])]


def log_share(scores: Tensor, truth: Tensor) -> Tensor:
    """-mean of log of the softmax of (N, K) scores at the truth (N,)."""
    return torch.stack([-(row.exp() / row.exp().sum()).log()[int(one)] for row, one in zip(scores, truth, strict=True)
                        ]).mean()


def pretext(system: Any, batch: Batch, step: int) -> Descents:
    """The loss of each puzzle."""
    images, config = batch["image"], system.config
    torch.manual_seed(5)
    if config.task in ("context", "cpc"):
        seen = pair_views(images, system.views)
    else:
        seen = pair_views(torch.cat([images, images]), system.views)
    if config.task == "rotation":
        turned, quarters = puzzles.quarter_turned(seen)
        loss = log_share(system.head(system.encoder(turned)), quarters)
    elif config.task == "context":
        middles, others, which = puzzles.neighbouring(seen, config.gap, config.jitter)
        shown = system.encoder(puzzles.one_channel_each(torch.cat([middles, others]), config.single))
        loss = log_share(system.head(torch.cat([shown[:4], shown[4:]], 1)), which)
    elif config.task == "colour":
        scores = system.head(system.encoder.maps(puzzles.grey_in_all(seen)))
        wanted = puzzles.colour_histograms(seen, (scores.shape[2], scores.shape[3]), 15)
        losses = []
        for k, (row, truth) in enumerate(zip(scores, wanted, strict=True)):
            for part in (0, 1):
                p = row[15 * part : 15 * part + 15].exp()
                losses.append(-(truth[part] * (p / p.sum(0)).log()).sum(0).flatten())
            assert k < 8
        loss = torch.cat(losses).mean()
    elif config.task == "inpainting":
        shown, hole = puzzles.holed(seen)
        painted = system.head(system.encoder.maps(shown), (12, 12))
        loss = torch.cat([(painted[k] - seen[k])[:, hole[k, 0]].flatten() for k in range(8)]).square().mean()
    else:
        patches = puzzles.overlapping(seen)
        vectors = system.encoder(puzzles.one_channel_each(patches.flatten(0, 2), config.single))
        vectors = system.head.narrow(vectors).view(4, 5, 5, -1)
        losses = []
        for away, matrix in zip((2, 3), system.head.predict, strict=True):
            guesses, truths = [], []
            for k in range(4):
                contexts = system.head.read(vectors[k].transpose(0, 1))[0]  # columns, rows
                for row in range(5 - away):
                    for column in range(5):
                        guesses.append(matrix(contexts[column, row]))
                        truths.append(vectors[k, row + away, column])
            torch.randperm(len(truths))
            guess, truth = (torch.nn.functional.normalize(torch.stack(one), dim=1) for one in (guesses, truths))
            losses.append(log_share(guess @ truth.T / config.temperature, torch.arange(len(guess))))
        loss = torch.stack(losses).mean()
    return [("net", [("puzzle", 1.0, loss)])]
