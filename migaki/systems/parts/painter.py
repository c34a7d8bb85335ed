"""What networks that paint in a style share: the loss of a step, the network that judges it, and what watchmen say."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from migaki.core.batch import Scalars
from migaki.core.seeds import generator
from migaki.core.system import System
from migaki.core.tiling import Tiling
from migaki.losses.style import StyleLoss, content_distance, shapes_of, total_variation
from migaki.metrics.style_watch import grey_share, spot_share
from migaki.nets.style_features import StyleFeatures
from migaki.nets.style_net import STRIDE, StyleNet

_LEAST = 32  # px, of the squares that a network learns from


class Painter(System, ABC):
    """The base of `style_network` and `any_style`; they name `System` too, since the shelf is read from the source."""

    config: Any
    net: StyleNet
    _judge: list[StyleFeatures]  # in a list, so that its weights are no part of the model
    num_styles = 0  # that it knows; 0 = any

    @property
    def judge(self) -> StyleFeatures:
        """The frozen network whose statistics are the style; opened when it is first needed."""
        config = self.config
        if not self._judge:
            self._judge.append(StyleFeatures(config.loss_network, config.style_layers, config.content_layers))
        return self._judge[0].to(self.net.scales.device)

    @property
    def tiling(self) -> Tiling:
        """Context over two strides and the residual blocks; tiles agree only with statistics of the whole picture."""
        return Tiling(context=STRIDE * (2 * self.config.blocks + 6), blend=32, multiple=STRIDE)

    def cut(self, images: Tensor, step: int) -> Tensor:
        """Returns the photographs of a step: at every second one a square of half their side, at a place of its own.

        With patches of one size a network makes the rim of its maps a knob of the deviations that it divides by, and
        fails on larger pictures, whose rim is a smaller part.
        """
        side = images.shape[2] // 2 // STRIDE * STRIDE
        if step % 2 == 0 or side < max(_LEAST, self.judge.smallest):
            return images
        top, left = torch.randint(images.shape[2] - side + 1, (2,), generator=generator(step)).tolist()
        return images[..., top : top + side, left : left + side]

    def painted(self, images: Tensor, made: Tensor, wanted: Sequence[Tensor], loss_of: StyleLoss, numbers: Tensor,
                others: Tensor) -> tuple[Tensor, Scalars]:
        """Returns content + r style + v TV, each the mean over the batch, and what is logged.

        Shape:
            images, made: (B, 3, H, W), photographs and how they were painted; wanted: content maps of the photographs
            numbers, others: (B,), the styles that were meant, and others to compare with
        """
        config = self.config
        style_maps, content_maps = self.judge.both(made)
        style = loss_of(style_maps, numbers).mean()
        if config.recolour:
            content_maps, wanted = ([shapes_of(one) for one in every] for every in (content_maps, wanted))
        content = torch.stack([content_distance(*pair) for pair in zip(content_maps, wanted, strict=True)]).mean()
        smooth = total_variation(made).mean()
        loss = content + config.style_weight * style + config.smooth_weight * smooth
        with torch.no_grad():
            other = loss_of([one.detach() for one in style_maps], others).mean()
        return loss, {
            "net/loss": loss.detach(), "net/style": style.detach(), "net/content": content.detach(),
            "net/smooth": smooth.detach(), "net/style_of_another": other,
            "net/spots": spot_share(made.detach(), images).mean(), "net/grey": grey_share(made.detach(), images)}

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn of styles that come out alike, a content that is lost, bright spots, and grey pictures."""
        found, config = super().watch(scalars, step), self.config
        if step < config.steps // 5:
            return found
        if self.num_styles != 1 and scalars["net/style"] > 0.9 * scalars["net/style_of_another"]:
            found.append("the styles come out alike: raise --steps or --style-weight")
        if scalars["net/content"] > 1:
            found.append("the content is lost: lower --style-weight")
        if scalars["net/spots"] > 2e-3 and not config.grain:  # grain is there to paint flat areas
            found.append("spots stand where photographs are flat: raise --flat or --smooth-weight")
        if scalars["net/grey"] < 0.25:
            found.append("pictures come out with little contrast: train for more --steps")
        return found
