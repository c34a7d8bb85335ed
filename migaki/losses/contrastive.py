"""Losses of contrastive learning: two views of one picture agree, and differ from all other pictures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core import processes
from migaki.ops.full_precision import full_precision


@full_precision
def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The normalised temperature-scaled cross-entropy of SimCLR (Chen et al., ICML 2020, equation 1), a scalar.

    -log exp(s_ij / t) / sum over k != i of exp(s_ik / t), with the cosines s of all 2 N views, meant over both orders
    of all pairs. With several processes, each one's views are compared with those of all; the mean of the processes'
    losses is the loss of the whole batch. Without information it is log(2 N - 1).

    Shape: first, second: (N, D) outputs of the projector for the two views
    """
    own = F.normalize(torch.cat([first, second]), dim=1)
    everyone, start = processes.gathered(own)
    scores = own @ everyone.T / temperature
    count = len(first)
    rows = torch.arange(2 * count, device=own.device)
    scores = scores.masked_fill(F.one_hot(start + rows, len(everyone)).bool(), -torch.inf)
    return F.cross_entropy(scores, start + (rows + count) % (2 * count))


@full_precision
def nearest_entropy(values: Tensor, group: Tensor) -> Tensor:
    """-mean over i of log of the distance to the nearest j of another `group`: small where descriptors are spread.

    SSCD's term (Pizzi et al., CVPR 2022, section 3.2; the estimator of Kozachenko and Leonenko). Distances are at
    least 1e-3.

    Shape: values (N, D) of unit length; group (N,) int64, equal for views of one picture; a scalar
    """
    # From differences: 2 - 2 * cosine has no digits left where two descriptors are close, which is where it counts.
    apart = torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist")
    apart = apart.masked_fill(group[:, None] == group[None], torch.inf)
    return -apart.amin(1).clamp_min(1e-3).log().mean()


@torch.no_grad()
@full_precision
def alignment(first: Tensor, second: Tensor) -> Tensor:
    """The mean squared distance of the two views of a picture on the unit sphere (Wang and Isola, ICML 2020)."""
    return (F.normalize(first, dim=1) - F.normalize(second, dim=1)).square().sum(1).mean()


@torch.no_grad()
@full_precision
def uniformity(values: Tensor) -> Tensor:
    """The logarithm of the mean of exp(-2 d^2) over all pairs of pictures on the unit sphere (Wang and Isola, 2020).

    0: all are one point; -4 at the lowest, for points spread over a sphere of many dimensions.
    """
    unit = F.normalize(values, dim=1)
    return torch.pdist(unit).square().mul(-2).exp().mean().clamp_min(1e-12).log()


@torch.no_grad()
@full_precision
def effective_rank(values: Tensor) -> Tensor:
    """exp of the entropy of the shares of the singular values of centred features (Roy and Vetterli, 2007): how many
    directions are in use, from 1 to min(N, D)."""
    shares = torch.linalg.svdvals(values - values.mean(0))
    shares = shares / shares.sum().clamp_min(1e-12)
    return torch.exp(-(shares * shares.clamp_min(1e-12).log()).sum())


@full_precision
def shared_nce(queries: Tensor, keys: Tensor, own: Tensor, temperature: float) -> Tensor:
    """The cross-entropy of finding two keys: key i with the weight `own` and its partner, key N - 1 - i, with the rest.

    -mean over i of own_i log p_i(i) + (1 - own_i) log p_i(N - 1 - i), p_i the softmax of the cosines of query i with
    all keys over the temperature (Ren et al., CVPR 2022, plug-in example). With several processes the keys of all are
    compared. An odd middle picture is its own partner.

    Shape: queries, keys (N, D); own (N,) in [0, 1]; a scalar
    """
    everyone, start = processes.gathered(F.normalize(keys, dim=1))
    scores = F.log_softmax(F.normalize(queries, dim=1) @ everyone.T / temperature, 1)
    place = start + torch.arange(len(queries), device=queries.device)
    first = scores.gather(1, place[:, None])[:, 0]
    second = scores.gather(1, place.flip(0)[:, None])[:, 0]
    return -(own * first + (1 - own) * second).mean()
