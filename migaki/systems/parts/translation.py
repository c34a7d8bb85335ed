"""What translations with patch discriminators share: the least size, the learning rate, scores, the picture made."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim import Optimizer

from migaki.core.errors import UserError
from migaki.nets.unet import PatchGAN


def require_room(system: str, height: int, width: int, levels: int, patch_layers: int) -> None:
    """UserError if images of `height` x `width` px are too small for the networks of `system`."""
    least = max(3 << patch_layers, 4 << levels, 8)
    if min(height, width) < least:
        raise UserError(f"{system}: images of {width}x{height} px are too small for {levels} levels and {patch_layers} "
                        f"patch layers, which take {least}x{least}: lower --levels or --patch-layers")


def decay_rates(optimizers: Iterable[Optimizer], rate: float, step: int, steps: int) -> None:
    """Set the rate of a step: constant for half of the steps, then linearly to 0 (CycleGAN, appendix 7.1)."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, 2 * (1 - step / steps))


def scores_of(discriminator: PatchGAN, images: Tensor) -> Tensor:
    """A discriminator's scores (B, 1, h, w) of images (B, C, H, W) in [-1, 1]; it has no condition."""
    scores: Tensor = discriminator(images[:, :0], (images + 1) / 2)
    return scores.float()


def translated(net: nn.Module, images: Tensor) -> Tensor:
    """What a generator makes of images (B, C, H, W) in [0, 1], in [0, 1]."""
    made: Tensor = net(images * 2 - 1)
    return ((made + 1) / 2).clamp(0, 1)
