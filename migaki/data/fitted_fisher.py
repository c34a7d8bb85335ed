"""Fisher pooling fitted on the local features of some pictures, kept beside the feature store's rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import atomic_write, digest, make_folder, make_inner_folder, open_own, show
from migaki.data.feature_store import FeatureStore, Network, prepared
from migaki.data.files.member import FilePath
from migaki.ops.fisher import Fisher, fit_fisher

PICTURES: Final = 400
"""Pictures that local features are drawn from, at most."""

PLACES: Final = 100
"""Local features that are drawn from each picture, at most."""

_PARTS: Final = ("middle", "axes", "weights", "means", "variances")


def drawn_places(files: Sequence[FilePath], features: Network, layer: str, seed: int, **look: Any) -> Tensor:
    """Returns local features (N, C): up to `PLACES` places of up to `PICTURES` pictures, drawn by the seed.

    `look` is passed to `feature_store.prepared`. Several layers are drawn from alike; they need as many channels.
    """
    draw = np.random.default_rng(seed)
    chosen = np.sort(draw.permutation(len(files))[:PICTURES])
    found = []
    with torch.inference_mode():
        for place in chosen.tolist():
            maps = features.maps(prepared(files[place], **look), features.names_of(layer))
            rows = torch.cat([one[0].flatten(1) for one in maps.values()], 1).T
            found.append(rows[draw.permutation(len(rows))[:PLACES].tolist()])
    return torch.cat(found)


def fitted_fisher(store: FeatureStore, files: Sequence[FilePath], features: Network, layer: str = "", *,
                  gaussians: int = 64, parts: int = 64, seed: int = 0, **look: Any) -> Fisher:
    """Returns the Fisher pooling fitted on these pictures: from the store where it was fitted before.

    Raises UserError for too few local features, and for layers whose numbers of channels differ.
    """
    about = {"features": features.identity, "layers": list(features.names_of(layer)), "gaussians": gaussians,
             "parts": parts, "seed": seed, "look": look, "files": _content(files), "drawn": [PICTURES, PLACES]}
    path = store.folder / "fisher" / f"{digest(json.dumps(about, sort_keys=True))}.safetensors"
    if path.is_file():
        with open_own(path, "rb") as file:
            data = file.read()
        try:
            found = safetensors.torch.load(data)
            return Fisher(**{name: found[name] for name in _PARTS})
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise UserError(f"{show(path)}: is damaged: delete it; it is fitted again") from error
    try:
        made = fit_fisher(drawn_places(files, features, layer, seed, **look), parts=parts, gaussians=gaussians,
                          seed=seed)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"pooling fisher: {' '.join(str(error).split())}") from error
    make_folder(store.folder)
    make_inner_folder(path.parent)
    with atomic_write(path) as out:
        out.write(safetensors.torch.save({name: getattr(made, name).contiguous() for name in _PARTS}))
    return made


def _content(files: Sequence[FilePath]) -> str:
    total = hashlib.sha256()
    for path in files:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]
