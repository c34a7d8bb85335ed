"""Losses of copy detection: views that share a picture agree, all others lie apart."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core import processes
from migaki.ops.full_precision import full_precision


def shared(shows: Tensor, hints: Tensor) -> tuple[Tensor, Tensor]:
    """Which views match, and which are neither copies nor strangers; a view is not compared with itself.

    Two views match if they show one picture (`shows`). If the only thing they share was merely laid beside or behind
    something else (`hints`), they are left out of the loss: neither answer would be right.

    Shape: shows, hints (V, B), 1 where a view shows a picture or has it beside, else 0; two results (V, V) bool
    """
    alone = ~torch.eye(len(shows), dtype=torch.bool, device=shows.device)
    match = (shows @ shows.T > 0) & alone
    whole = shows + hints
    return match, (whole @ whole.T > 0) & ~match & alone


@full_precision
def match_loss(values: Tensor, match: Tensor, ignored: Tensor, temperature: float) -> Tensor:
    """InfoNCE with a matrix of matches (Pizzi et al., SSCD, CVPR 2022, equation 5), a scalar.

    The mean over all matching pairs i, j of -log exp(s_ij / t) / (exp(s_ij / t) + sum over k of exp(s_ik / t)), where
    k runs over the views that neither match i nor are ignored. With several processes, the views of the others are
    further k.

    Shape: values (V, D); match, ignored (V, V) bool
    """
    own = F.normalize(values, dim=1)
    everyone, start = processes.gathered(own)
    scores = own @ everyone.T / temperature
    count = len(own)
    left_out = torch.zeros_like(scores, dtype=torch.bool)
    left_out[:, start : start + count] = match | ignored | torch.eye(count, dtype=torch.bool, device=own.device)
    rivals = scores.masked_fill(left_out, -torch.inf).logsumexp(1, keepdim=True)
    pairs = scores[:, start : start + count]
    each = torch.logaddexp(pairs, rivals) - pairs
    weights = match.float()
    return (torch.where(match, each, 0.0) * weights).sum() / weights.sum().clamp_min(1)


@full_precision
def stranger_entropy(values: Tensor, match: Tensor, ignored: Tensor) -> Tensor:
    """-mean over i of log of the distance to the nearest stranger (SSCD, equation 7): small where views are spread.

    Distances are at least 1e-3. Shape: values (V, D) of unit length; match, ignored (V, V) bool; a scalar
    """
    # From differences: 2 - 2 * cosine has no digits left where two descriptors are close, which is where it counts.
    apart = torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist")
    left_out = match | ignored | torch.eye(len(values), dtype=torch.bool, device=values.device)
    nearest = apart.masked_fill(left_out, 2.0).amin(1)  # 2 is the largest distance: a view without strangers
    return -nearest.clamp_min(1e-3).log().mean()
