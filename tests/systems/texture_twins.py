"""The loss of the recognition of textures, written out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from twin_parts import Descents

from migaki.core.batch import Batch


def texture(system: Any, batch: Batch, step: int) -> Descents:
    """Cross-entropy with smoothing of a head on standardised means and deviations of the maps."""
    config, found = system.config, []
    for layer in config.layer.split("+"):
        flat = system.net.maps(batch["image"], layer)[layer].flatten(2)
        found += [flat.mean(2), flat.std(2, correction=0)] if config.pooling == "mean_sd" else [flat.mean(2)]
    rows = (torch.cat(found, 1) - system.norm.running_mean) / (system.norm.running_var + system.norm.eps).sqrt()
    logits: Tensor = system.head(rows)
    share = torch.log_softmax(logits, 1)
    label = -share.gather(1, batch["label"].long()[:, None]).mean()
    return [("head", [("label", 1 - config.label_smoothing, label),
                      ("label_smoothing", config.label_smoothing, -share.mean())])]
