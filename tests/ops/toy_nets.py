"""Small networks for tests of attribution, in evaluation mode, with random weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import grad


class Pooled(nn.Module):
    """conv - ReLU - conv - ReLU - mean - linear; its ReLUs are one module, separate modules, functions or in place."""

    def __init__(self, kind: str = "modules", channels: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(channels, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=kind == "in_place")
        self.second = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.last = self.relu if kind == "reused" else nn.ReLU(inplace=kind == "in_place")
        self.head = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, classes)."""
        if self.kind == "functions":
            x = F.relu(self.second(torch.relu(self.first(images))))
        elif self.kind == "six":
            x = F.relu6(self.second(F.relu6(self.first(images))))
        else:
            x = self.last(self.second(self.relu(self.first(images))))
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


class Linear(nn.Module):
    """One linear layer on the pixels."""

    def __init__(self, size: int = 3 * 4 * 5, classes: int = 3, bias: bool = True) -> None:
        super().__init__()
        self.head = nn.Linear(size, classes, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, classes)."""
        scores: Tensor = self.head(images.flatten(1))
        return scores


class Normed(nn.Module):
    """conv - batch norm - ReLU - linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 5, 3, bias=False)
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(5 * 4 * 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 2, 6, 6) to (B, 3)."""
        scores: Tensor = self.head(F.relu(self.norm(self.conv(images))).flatten(1))
        return scores


def ready(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in evaluation mode with weights, and statistics of batch norms, drawn from the seed."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=draw) * 0.4)
                if name.endswith("running_var"):
                    value.abs_().add_(0.5)
    return model.eval()


def pictures(count: int = 3, channels: int = 3, height: int = 12, width: int = 10, seed: int = 1) -> Tensor:
    """Random pictures in [0, 1]."""
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(seed))


def conv_back(shape: torch.Size, weight: Tensor, gradient: Tensor, stride: int = 1) -> Tensor:
    """The gradient at the input of a 3x3 convolution with a padding of 1."""
    found: Tensor = grad.conv2d_input(shape, weight, gradient, stride=stride, padding=1)  # type: ignore[no-untyped-call]
    return found
