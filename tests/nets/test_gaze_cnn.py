"""The paper's gaze network: its layers and its smallest patch."""

from __future__ import annotations

import torch
from torch import nn

from migaki.nets.gaze_cnn import PaperGazeNet


def test_the_papers_layers() -> None:
    net = PaperGazeNet(1, 35, 55)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.kernel_size[0], m.out_channels) for m in convolutions] == [(3, 32), (3, 32), (3, 64), (3, 80), (3, 192)]
    assert [m.out_features for m in net.modules() if isinstance(m, nn.Linear)] == [1000, 3]
    assert [int(str(m.kernel_size)) for m in net.modules() if isinstance(m, nn.MaxPool2d)] == [3, 2]
    kinds = [type(m) for m in (*net.trunk, *net.head)]
    for place, kind in enumerate(kinds[:-1]):
        if kind in (nn.Conv2d, nn.Linear):
            assert kinds[place + 1] is nn.ReLU
    assert kinds[-1] is nn.Linear


def test_sizes() -> None:
    for channels, height, width in ((1, 35, 55), (3, 36, 60), (1, 24, 40)):
        assert PaperGazeNet(channels, height, width)(torch.rand(2, channels, height, width)).shape == (2, 3)
