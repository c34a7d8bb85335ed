"""The deep detail network's body: a residual network at full resolution."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from migaki.nets.gated_mlp import WINDOW, GatedMlpBlock

Block = Literal["residual", "gated_mlp"]
"""What the body of a detail network is made of."""


class _Block(nn.Module):
    """x + two rounds of convolution, batch norm, ReLU (Fu et al. 2017, eq. 4); without `skip` only the rounds.

    Without norm it computes x + convolution(ReLU(convolution(x))), as EDSR; the second convolution starts small.
    """

    def __init__(self, width: int, skip: bool, norm: bool) -> None:
        super().__init__()
        self.skip = skip
        rounds = [*_round(width, width, norm), *_round(width, width, norm)]
        # A final ReLU makes activations grow from block to block. Batch norm levels them; without norm, the ReLU is
        # left out.
        self.layers = nn.Sequential(*(rounds if norm or not skip else rounds[:-1]))

    @property
    def last(self) -> nn.Module:
        """Returns the last layer of the rounds."""
        return self.layers[-1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rounds: torch.Tensor = self.layers(x)
        return x + rounds if self.skip else rounds


def _round(inputs: int, width: int, norm: bool) -> list[nn.Module]:
    # Batch norm brings its own offset, so the convolution needs none.
    middle: list[nn.Module] = [nn.BatchNorm2d(width)] if norm else []
    return [nn.Conv2d(inputs, width, 3, padding=1, bias=not norm), *middle, nn.ReLU(inplace=True)]


class DetailNet(nn.Module):
    """Image (B, in_channels, H, W) to residual (B, out_channels, H, W), both of any range and size.

    Fu, Huang, Zeng, Huang, Ding, Paisley, "Removing rain from single images via a deep detail network", CVPR 2017,
    eq. 4: 26 layers of 3 x 3, 16 filters each (from memory). No pooling: an output pixel sees `depth` px around it.

    Args:
        depth: total number of convolutions, even and at least 2.
        width: filters of every convolution but the last.
        skip: use residual blocks; false gives a plain chain, the lowest rung of the paper's comparison.
        final_norm: batch norm after the last convolution, as in the paper's equation (from memory). False puts it
            before the last convolution (ours). The residual's strength is then not levelled within a batch. The last
            convolution also sees features of mean zero; otherwise one step of Adam shifts the brightness of the whole
            image.
        norm: use batch norm (the paper). False leaves it out everywhere (Lim et al., "EDSR", CVPR workshops 2017): a
            step takes two thirds of the time, and a patch's residual does not depend on the rest of its batch.
        fold: side in px of the squares that are folded into channels before the first convolution and unfolded after
            the last (Zhang et al., "FFDNet", IEEE TIP 2018). 1 is the paper's network. 2 has a quarter of its
            positions, so it is several times faster at the same width and its receptive field is twice as large.
        block: "residual" (the paper) or "gated_mlp": a gated MLP over places (`nets.gated_mlp`) before every residual
            block (ours), which sees whole windows.
    """

    def __init__(self, *, in_channels: int = 3, out_channels: int = 3, depth: int = 26, width: int = 16,
                 skip: bool = True, final_norm: bool = True, fold: int = 1, norm: bool = True,
                 block: Block = "residual") -> None:
        super().__init__()
        if depth < 2 or depth % 2 or fold < 1:
            raise ValueError(f"depth must be an even number of at least 2, fold at least 1, got {depth} and {fold}")
        self.fold = fold
        final_norm = final_norm and norm
        in_channels, out_channels = in_channels * fold**2, out_channels * fold**2
        self.first = nn.Sequential(*_round(in_channels, width, norm))
        count = (depth - 2) // 2
        self.blocks = nn.Sequential(*(part for _ in range(count) for part in (
            *([GatedMlpBlock(width)] if block == "gated_mlp" else []), _Block(width, skip, norm))))
        reach = depth + (WINDOW * count if block == "gated_mlp" else 0)
        self.reach, self.multiple = fold * reach, fold * (WINDOW if block == "gated_mlp" else 1)
        self.before = nn.BatchNorm2d(width) if norm and not final_norm else nn.Identity()
        self.last = nn.Conv2d(width, out_channels, 3, padding=1, bias=not final_norm)
        self.norm = nn.BatchNorm2d(out_channels) if final_norm else nn.Identity()
        self._start(small_blocks=skip and not norm)

    reach: int
    """px of the input around an output pixel that it depends on, at most."""
    multiple: int
    """px at whose multiples tiles must begin to give the same pixels as the whole picture."""

    @torch.no_grad()
    def _start(self, small_blocks: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # The residual starts near zero: the first output is about the damaged image itself (our choice).
        (self.norm if isinstance(self.norm, nn.BatchNorm2d) else self.last).weight.mul_(0.03)
        for block in self.blocks.children():
            if isinstance(block, GatedMlpBlock):
                block.narrow.weight.mul_(0.1)
            elif small_blocks:
                assert isinstance(block, _Block) and isinstance(block.last, nn.Conv2d)
                block.last.weight.mul_(0.1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        if self.fold > 1:
            missing = (0, -width % self.fold, 0, -height % self.fold)
            # F.pixel_unshuffle alone needs whole squares, but an image may have any size.
            image = F.pixel_unshuffle(F.pad(image, missing, mode="replicate"), self.fold)
        residual: torch.Tensor = self.norm(self.last(self.before(self.blocks(self.first(image)))))
        return F.pixel_shuffle(residual, self.fold)[..., :height, :width] if self.fold > 1 else residual
