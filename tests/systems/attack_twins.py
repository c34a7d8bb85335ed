"""The losses of the forgery detector's and the patch's updates, written out: see `update_twins`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from twin_parts import Descents

from migaki.core.batch import Batch
from migaki.ops.forgery import KINDS, RATIOS, REGIONS
from migaki.ops.patches import covered, paste, place_matrices, side_of
from migaki.ops.views import draw_views, photographed


def forgery_detector(system: Any, batch: Batch, step: int) -> Descents:
    """Crops as they are and forged; the choices after REINFORCE (Williams 1992), eq. 4, with the mean as baseline."""
    config, photos = system.config, batch["image"]
    torch.manual_seed(5)  # as `descents` does
    choice = system.chosen(len(photos))
    real, fake, mask = system.forged_pair(photos, choice)
    said = system.net(torch.cat([real, fake]) * 2 - 1)
    truth = [float(one.float().mean() > 0.02) for one in mask]
    p, cells = torch.sigmoid(said.forged), torch.sigmoid(said.location)
    errors = [-(p[k].log() if k >= 4 and truth[k - 4] else (1 - p[k]).log()) for k in range(8)]
    where = torch.cat([torch.zeros(4, 3, 3), F.avg_pool2d(mask.float()[:, None], 8)[:, 0]])
    untouched = 1 - where
    location = -((where * cells[:, 0].log()).sum() / max(float(where.sum()), 1)
                 + (untouched * (1 - cells[:, 0]).log()).sum() / float(untouched.sum())) / 2
    chosen = [k for k in range(4) if truth[k]]
    share = [RATIOS[int(choice.ratio[k])] if KINDS[int(choice.kind[k])] == "mixup" else 1.0 for k in range(4)]
    kind = torch.stack([-F.log_softmax(said.kind[4 + k], 0)[choice.kind[k]] for k in chosen]).mean()
    ratio = torch.stack([(torch.sigmoid(said.ratio[4 + k]) - share[k]).abs() for k in chosen]).mean()
    found: Descents = [("net", [("forged", 1.0, torch.stack(errors).mean()),
                                ("mask_weight", config.mask_weight, location),
                                ("kind_weight", config.kind_weight, kind),
                                ("ratio_weight", config.ratio_weight, ratio)])]
    if not config.adversarial:
        return found
    logs = {}
    for name, known, allowed in (("region", REGIONS, config.regions), ("kind", KINDS, config.kinds),
                                 ("ratio", RATIOS, RATIOS)):
        kept = [k for k, value in enumerate(known) if value in allowed]
        total = torch.logsumexp(system.choices[name][kept], 0)
        logs[name] = {k: system.choices[name][k] - total for k in kept}
    mean = sum(float(errors[4 + k]) for k in chosen) / len(chosen)
    gains = []
    for k in chosen:
        taken = logs["region"][int(choice.region[k])] + logs["kind"][int(choice.kind[k])]
        if KINDS[int(choice.kind[k])] == "mixup":
            taken = taken + logs["ratio"][int(choice.ratio[k])]
        gains.append((float(errors[4 + k]) - mean) * taken)
    entropy = -torch.stack([log.exp() * log for each in logs.values() for log in each.values()]).sum()
    return [*found, ("forger", [("reward", -1.0, torch.stack(gains).mean()), ("explore", -config.explore, entropy)])]


def patch(system: Any, batch: Batch, step: int) -> Descents:
    """Brown et al. 2017: E[-log P(target | A(p, x, l, t))], and the total variation of the patch."""
    config, images = system.config, batch["image"]
    size = (config.height, config.width)
    torch.manual_seed(5)  # as `descents` does
    numbers = 2 * torch.rand(len(images), 6) - 1
    seen = draw_views(config.views, len(images), size)
    low, high = config.printed
    colours = low + (high - low) * torch.sigmoid(system.colours)
    side = side_of(config.share, config.outline, *size)
    places = place_matrices(numbers, config.views, side, colours.shape[-1], *size)
    put = paste(images, colours, covered(config.outline, colours.shape[-1]), places)
    logits = F.adaptive_avg_pool2d(photographed(put, seen), 4).flatten(1) @ system.stand_in.T
    miss = torch.stack([torch.logsumexp(row, 0) - row[int(config.target)] for row in logits]).mean()
    grain = colours.diff(dim=2).abs().mean() + colours.diff(dim=3).abs().mean()
    return [("patch", [("target", 1.0, miss), ("smooth", config.smooth, grain)])]
