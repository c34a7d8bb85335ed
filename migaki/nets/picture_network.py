"""Networks that describe a picture by one vector, under the contract of the feature store: trained runs above all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.system import System, model_state
from migaki.core.trained import load_system
from migaki.nets.descriptor import generalised_mean
from migaki.nets.published import is_published, load_backbone
from migaki.ops.colour import luma
from migaki.ops.full_precision import full_precision

_LAYER: Final = "features"
_USUAL: Final = 160  # px, for published networks, which take pictures of any size
_LEAST: Final = 32  # px, that the feature store takes


class PublishedDescriptors(nn.Module):
    """A published network without training: the generalised means (p = 3) of its two last maps, each of unit length.

    It pickles as its name. Its maps have one place, as the feature store wants them.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.net = load_backbone(name).backbone

    @property
    def size(self) -> int:
        """px, sides of the square that a picture is brought to."""
        return _USUAL

    @cached_property
    def identity(self) -> str:
        """The kind of network with a hash of its weights."""
        return f"{type(self.net).__name__}-gem-{self.size}-{_fingerprint(self.state_dict())}"

    def names_of(self, layers: Sequence[str] | str) -> tuple[str, ...]:
        """The one layer that there is."""
        return (_LAYER,)

    @full_precision
    def maps(self, images: Tensor, layers: Sequence[str] | str) -> dict[str, Tensor]:
        """Pictures (B, 3, H, W) in [0, 1] to `features` (B, D, 1, 1)."""
        power = torch.tensor([3.0], device=images.device)
        parts = [F.normalize(generalised_mean(one, power), dim=1) for one in self.net(images)[-2:]]
        return {_LAYER: torch.cat(parts, 1)[:, :, None, None]}

    def __reduce__(self) -> tuple[Callable[[str], Describer], tuple[str]]:
        return open_describer, (self.name,)


class RunDescriptors(nn.Module):
    """The `features` that a trained run predicts, as maps of one place. It pickles as the name of its folder."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.name = str(run)
        self.system: System = load_system(run)
        shape = self.system.shape
        if tuple(self.system.inputs) != ("image",) or shape is None or shape[0] not in (1, 3):
            raise UserError(f"{show(run)}: does not describe pictures: give a run of copy_detector, simclr or another "
                            "encoder")
        self.shape = shape
        self.requires_grad_(False)
        with torch.inference_mode():
            if _LAYER not in self.system.predict({"image": torch.zeros(1, *shape)}):
                raise UserError(f"{show(run)}: gives no features: give a run of copy_detector, simclr or another "
                                "encoder")

    @property
    def size(self) -> int:
        """px, sides of the square that a picture is brought to; `maps` brings it on to the run's own size."""
        return max(_LEAST, *self.shape[1:])

    @cached_property
    def identity(self) -> str:
        """The kind of system with a hash of its weights."""
        return f"{type(self.system).__name__}-{self.size}-{_fingerprint(model_state(self.system))}"

    def names_of(self, layers: Sequence[str] | str) -> tuple[str, ...]:
        """The one layer that there is."""
        return (_LAYER,)

    @full_precision
    def maps(self, images: Tensor, layers: Sequence[str] | str) -> dict[str, Tensor]:
        """Pictures (B, 3, H, W) in [0, 1] to `features` (B, D, 1, 1)."""
        channels, *size = self.shape
        if list(images.shape[2:]) != size:
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
        made = self.system.predict({"image": luma(images) if channels == 1 else images})
        return {_LAYER: made[_LAYER].float()[:, :, None, None]}

    def __reduce__(self) -> tuple[Callable[[str], Describer], tuple[str]]:
        return open_describer, (self.name,)


Describer = RunDescriptors | PublishedDescriptors


def is_describer(name: str) -> bool:
    """Whether there is anything of this name to open: a folder, a file, or a published network."""
    return Path(name).exists() or is_published(name)


def open_describer(name: str) -> Describer:
    """Returns what describes pictures: a trained run by its folder, or a published network by name or file.

    UserError for anything else.
    """
    if (Path(name) / "config.json").exists() or Path(name).is_dir():
        return RunDescriptors(Path(name))
    return PublishedDescriptors(name)


def _fingerprint(weights: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits of weights: those that are saved, for parts that only training needs are drawn anew."""
    total = hashlib.sha256()
    for name, value in sorted(weights.items()):
        total.update(f"{name} {tuple(value.shape)} ".encode() + value.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]
