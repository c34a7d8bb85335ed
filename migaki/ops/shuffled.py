"""Networks that have forgotten what they learned: the sanity check of explanations.

Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018: an explanation that looks the same after the weights
were replaced by chance explains the picture and not the network.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from migaki.ops.taps import tapped


def weighted_layers(model: nn.Module, images: Tensor) -> list[str]:
    """The layers with weights of their own, from the picture to the scores, in the order of their use."""
    with torch.no_grad(), tapped(model) as taps:
        model(images)
    own = [name for name in taps.names if any(True for _ in model.get_submodule(name).parameters(recurse=False))]
    return own


def shuffled(model: nn.Module, layers: list[str], seed: int) -> nn.Module:
    """Returns a copy of the model in which the weights of these layers are in random order, each tensor by itself.

    So a layer keeps the size and the distribution of its weights, and activations neither die nor grow. The cascade of
    the paper shuffles from the last layer down: the last one, half of them, all.
    """
    made, draw = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in layers:
            for value in made.get_submodule(name).parameters(recurse=False):
                order = torch.randperm(value.numel(), generator=draw)
                value.copy_(value.flatten()[order.to(value.device)].view_as(value))
    return made.eval()
