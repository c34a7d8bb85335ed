"""Backbones: strides and shapes, files known by their names, a naive twin of the padding, real weights where given."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.trained import load_system
from migaki.nets.pretrained import (
    EfficientNetLite0,
    PretrainedMaps,
    PretrainedNet,
    SqueezeNet11,
    _Same,
    build_backbone,
    kind_of,
    load_backbone,
)
from migaki.stages.train import train
from migaki.systems.regressor import Regressor

WEIGHTS = Path(os.environ.get("MIGAKI_DATA", Path(__file__).parents[3] / "shared/data")) / "texture" / "weights"
FILES = {"efficientnet_lite0": "efficientnet_lite0.safetensors",
         "squeezenet1_1": "squeezenet_v1_1_features.safetensors"}
KINDS: Any = tuple(FILES)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of random weights in float16, with layers more than the features need."""
    found = {}
    for kind, cls in (("efficientnet_lite0", EfficientNetLite0), ("squeezenet1_1", SqueezeNet11)):
        torch.manual_seed(1)
        state = {name: value.half() for name, value in cls().state_dict().items()}
        found[kind] = tmp_path_factory.mktemp("weights") / f"{kind}.safetensors"
        safetensors.torch.save_file(state | {"classifier.bias": torch.zeros(3).half()}, found[kind])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_features_at_every_stride(kind: Any) -> None:
    for last in (8, 16):
        net = build_backbone(kind, 3, 65, 48, last)
        assert net.strides[-1] == last
        maps = net(torch.rand(2, 3, 65, 48))
        assert [one.shape[1] for one in maps] == list(net.widths)
        for one, stride in zip(maps, net.strides, strict=True):
            slack = 0 if kind == "efficientnet_lite0" else 2  # no padding
            assert -(-65 // stride) - slack <= one.shape[2] <= -(-65 // stride)


@pytest.mark.parametrize(("side", "kernel", "stride"), [(8, 3, 2), (9, 3, 2), (8, 5, 2), (7, 5, 1)])
def test_same_padding_puts_the_odd_pixel_right_and_below(side: int, kernel: int, stride: int) -> None:
    layer = _Same(1, 1, kernel, stride)
    image = torch.rand(1, 1, side, side + 1)
    pads = []
    for length in (side + 1, side):
        total = max(0, ((length + stride - 1) // stride - 1) * stride + kernel - length)
        pads += [total // 2, total - total // 2]
    torch.testing.assert_close(layer(image), F.conv2d(F.pad(image, pads), layer.weight, layer.bias, stride))
    assert layer(image).shape[2] == -(-side // stride)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_known_by_its_names_and_read(kind: Any, drawn: dict[str, Path]) -> None:
    assert kind_of(drawn[kind]) == kind
    net = build_backbone(kind, 1, 32, 32, 8)
    load_backbone(net, drawn[kind])
    stored = safetensors.torch.load_file(drawn[kind])
    for name, value in net.state_dict().items():
        assert torch.equal(value, stored[name].float())
    grey = torch.rand(1, 1, 32, 32)
    assert torch.equal(net(grey)[0], net(grey.expand(-1, 3, -1, -1))[0])


def test_other_files_are_refused_in_one_line(tmp_path: Path, drawn: dict[str, Path]) -> None:
    for name, content, message in (
            ("noise", b"no weights at all", "no file of weights"), ("cut", drawn["squeezenet1_1"].read_bytes()[:5000],
                                                                     "no file of weights")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            kind_of(tmp_path / name)
    safetensors.torch.save_file({"conv1.weight": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(UserError, match="not hold the weights of a known network"):
        kind_of(tmp_path / "other")
    safetensors.torch.save_file({"conv1.weight": torch.full((2,), torch.nan)}, tmp_path / "nan")
    with pytest.raises(UserError, match="not finite"):
        kind_of(tmp_path / "nan")
    with pytest.raises(UserError, match="missing"):
        kind_of(tmp_path / "missing")


@pytest.mark.parametrize(("shape", "message"), [((4, 64, 64), "channels"), ((3, 31, 64), "too small")])
def test_images_that_do_not_fit(shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_backbone("squeezenet1_1", *shape)


@pytest.mark.parametrize("kind", KINDS)
def test_heads(kind: Any) -> None:
    image = torch.rand(2, 1, 50, 37) * 2 - 1
    for strides in ((8, 16), (16, 32)):
        assert PretrainedNet(kind, 1, 50, 37, 5, 4, strides=strides).eval()(image).shape == (2, 5)
    net = PretrainedMaps(kind, 1, 50, 37, 3, 4).eval()
    assert net(image).shape == (1, 2, 3, 13, 10) and net(image).dtype == torch.float32


def test_the_pretrained_part_learns_at_its_share_of_the_rate_or_not_at_all() -> None:
    net = PretrainedNet("squeezenet1_1", 3, 32, 32, 2, 4)
    optimizer = adamw(net, 0.01, 0.1, net.backbone, 0.1)
    one_cycle(optimizer, 0.01, 1, 20)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.01, 0.001, 0.001])
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(net.parameters()))
    frozen = adamw(net, 0.01, 0.1, net.backbone, 0.0)
    assert not any(p.requires_grad for p in net.backbone.parameters())
    own = {id(p) for p in net.backbone.parameters()}
    assert not any(id(p) in own for group in frozen.param_groups for p in group["params"])


@pytest.fixture
def shades(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    rows = []
    for index in range(12):
        Image.fromarray(np.full((32, 32, 3), 20 * index, np.uint8)).save(tmp_path / "data" / f"{index}.png")
        rows.append(f'{{"file_name": "{index}.png", "shade": {index / 10}}}\n')
    (tmp_path / "data" / "metadata.jsonl").write_text("".join(rows))
    return tmp_path / "data"


def test_a_run_begins_with_the_weights_of_the_file(shades: Path, drawn: dict[str, Path], tmp_path: Path) -> None:
    config = Regressor.Config(steps=2, batch_size=4, features=4, backbone_rate=0.0, validate=0.0)
    data = Regressor.Data(data=(shades,), pretrained=drawn["squeezenet1_1"])
    train(Regressor, data, config, Run(device="cpu", precision="fp32", sample_every=0), tmp_path / "run", quiet=True)
    system = load_system(tmp_path / "run")
    assert system.config.backbone == "squeezenet1_1"
    stored = safetensors.torch.load_file(drawn["squeezenet1_1"])
    for name, value in system.net.backbone.state_dict().items():  # frozen, so they are still the file's
        assert torch.equal(value, stored[name].float())
    with pytest.raises(UserError, match="another configuration"):
        train(Regressor, replace(data, pretrained=None), config, Run(device="cpu", sample_every=0), tmp_path / "run",
              quiet=True)


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"no weights at {WEIGHTS}: set MIGAKI_DATA")
@pytest.mark.parametrize("kind", KINDS)
def test_real_weights_see_more_than_chance(kind: Any) -> None:
    """Features of a photograph and of its brighter copy are nearer to each other than to those of its scrambled pixels;
    with random weights they are not by so much."""
    assert kind_of(WEIGHTS / FILES[kind]) == kind
    net = build_backbone(kind, 3, 64, 64).eval()
    load_backbone(net, WEIGHTS / FILES[kind])
    y, x = np.mgrid[:64, :64]
    image = torch.tensor(0.5 + 0.3 * np.sin(x / 5) * np.cos(y / 9), dtype=torch.float32).expand(1, 3, 64, 64)
    mixed = image[:, :, :, torch.randperm(64, generator=torch.Generator().manual_seed(0))]
    with torch.no_grad():
        here, bright, other = (net(one)[-1].mean((2, 3)) for one in (image, image * 1.1, mixed))
    assert here.isfinite().all() and F.cosine_similarity(here, bright) > F.cosine_similarity(here, other)
