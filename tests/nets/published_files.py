"""Files of published networks with random weights, in the names of each source."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.nets.published import PublishedNet


def random_net(kind: str, seed: int = 0) -> PublishedNet:
    """A network with its head and random weights whose activations neither die nor grow."""
    torch.manual_seed(seed)
    net = PublishedNet(kind).eval()
    for value in net.parameters():
        if value.ndim > 1:
            nn.init.kaiming_uniform_(value, nonlinearity="relu")
    return net


def write_net(path: Path, kind: str, seed: int = 0, *, with_head: bool = True) -> PublishedNet:
    """Write its weights as the file of a user; returns the network."""
    net = random_net(kind, seed)
    names = net.names_in_file()
    safetensors.torch.save_file({names[name]: value.contiguous() for name, value in net.state_dict().items()
                                 if with_head or name.startswith("backbone.")}, path)
    return net


class TorchvisionSqueezeNet(nn.Module):
    """SqueezeNet 1.1 with torchvision's names, layers and normalisation (written after its documentation)."""

    def __init__(self) -> None:
        super().__init__()
        fires = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128), 9: (256, 48, 192),
                 10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}
        self.features = nn.ModuleDict({"0": nn.Conv2d(3, 64, 3, 2)})
        for place, (before, narrow, wide) in fires.items():
            self.features[str(place)] = nn.ModuleDict({
                "squeeze": nn.Conv2d(before, narrow, 1), "expand1x1": nn.Conv2d(narrow, wide, 1),
                "expand3x3": nn.Conv2d(narrow, wide, 3, padding=1)})
        self.classifier = nn.ModuleDict({"1": nn.Conv2d(512, 1000, 1)})

    def forward(self, images: Tensor) -> Tensor:
        """Images in [0, 1] to scores."""
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = (images - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
        for place in range(13):
            if place in (2, 5, 8):
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            elif place == 0:
                x = F.relu(self.features["0"](x))
            elif place != 1:
                fire = self.features[str(place)]
                s = F.relu(fire["squeeze"](x))  # type: ignore[index]
                x = torch.cat([F.relu(fire["expand1x1"](s)), F.relu(fire["expand3x3"](s))], 1)  # type: ignore[index]
        return F.relu(self.classifier["1"](x)).mean((2, 3))
