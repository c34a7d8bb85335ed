"""An encoder that learned without labels (`simclr`, `sdmp`, `pretext`) as the backbone of a task model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor, nn

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.trained import load_system
from migaki.nets.backbone import Backbone
from migaki.nets.encoder import Encoder


@runtime_checkable
class AnyEncoder(Protocol):
    """An encoder on any backbone: `Encoder`, or `nets.backbones.BackboneEncoder`."""

    dim: int

    def maps(self, images: Tensor) -> Tensor:
        """The maps whose means are the features."""

    def state_dict(self) -> dict[str, Any]:
        """The weights."""


class EncoderBackbone(Backbone):
    """The maps of an `Encoder` at the strides 2, 4, 8, ... up to `last_stride`, but two at least.

    Pictures have as many channels as the encoder learned from. A frozen one (no parameter asks for a gradient) stays in
    evaluation mode, since batch norm in training mode would change its features with every batch.
    """

    def __init__(self, channels: int, height: int, width: int, features: int, last_stride: int = 32) -> None:
        super().__init__()
        if channels not in (1, 3) or min(height, width) < 8:
            raise UserError(f"--pretrained: images of {width}x{height} px in {channels} channels: an encoder takes "
                            "grey and RGB of at least 8x8: give --channels 3 and a larger --height and --width")
        self.encoder = Encoder(channels, height, width, features)
        halvings = len(self.encoder.stem) // 3 - 1
        strides = [2 ** (number + 1) for number in range(halvings + 3)]
        widths = [*[features] * halvings, 2 * features, 4 * features, 8 * features]
        kept = max(2, sum(stride <= last_stride for stride in strides))
        self._first_halving = halvings
        self.strides, self.widths = tuple(strides[:kept]), tuple(widths[:kept])

    def train(self, mode: bool = True) -> Self:
        """See the class."""
        return super().train(mode and any(parameter.requires_grad for parameter in self.parameters()))

    def forward(self, images: Tensor) -> list[Tensor]:
        """See `maps`; grey images stay grey."""
        return self.maps(images)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Returns the maps behind every halving."""
        found, x = [], images * 2 - 1
        for number, layer in enumerate(self.encoder.stem):
            x = layer(x)
            # Each halving of the stem is conv - BN - ReLU; the last three layers keep the size.
            is_end = number % 3 == 2
            if is_end and number // 3 < self._first_halving - 1:
                found.append(x)
        if self._first_halving:
            found.append(x)
        for unit in self.encoder.trunk:
            x = unit(x)
            found.append(x)
        return found[: len(self.strides)]


def load_encoder(encoder: nn.Module, run: Path) -> None:
    """Load the encoder of a trained run into `encoder`; UserError if that run has none or another one."""
    found = opened_encoder(run)[0].state_dict()
    wanted = {name: value.shape for name, value in encoder.state_dict().items()}
    if {name: value.shape for name, value in found.items()} != wanted:
        raise UserError(f"{show(run)}: its encoder does not fit: it learned from pictures of another size or number of "
                        "channels: give --height, --width, --channels and --features as that run had them")
    encoder.load_state_dict(found)


def opened_encoder(run: Path) -> tuple[AnyEncoder, str]:
    """Returns the encoder of a trained run and the name of its backbone; UserError if it is no run of an encoder."""
    system = load_system(run)
    encoder = getattr(system, "encoder", None)
    name = getattr(system.config, "backbone", None)
    if not isinstance(encoder, nn.Module) or not isinstance(encoder, AnyEncoder) or name is None:
        raise UserError(f"{show(run)}: a run of {type(system).__name__}, which has no encoder: give a run of simclr, "
                        "sdmp or pretext as --pretrained")
    return encoder, str(name)


def encoder_of(run: Path) -> Encoder:
    """Returns the encoder of a trained run, where it is our small residual network; UserError for any other run."""
    encoder, name = opened_encoder(run)
    if not isinstance(encoder, Encoder):
        raise UserError(f"{show(run)}: its encoder is {name}, which no task model takes but semi_supervised: train it "
                        "without --backbone")
    return encoder
