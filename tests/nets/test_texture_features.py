"""Features for textures: what opens them, their layers, gradients, identity, and what is refused."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from published_files import write_net

from migaki.core.checkpoint import save_model
from migaki.core.config import to_dict
from migaki.core.errors import UserError
from migaki.core.files import write_json
from migaki.nets.random_filters import FILTERS, SIZES, RandomFilters
from migaki.nets.texture_features import open_features
from migaki.nets.vgg import Vgg
from migaki.ops.colour import luma
from migaki.ops.taps import tapped
from migaki.systems.classifier import Classifier


def test_random_filters_need_no_file_and_are_the_same_every_time() -> None:
    images = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    first, again, other = (open_features(name) for name in ("random", "random", "random=7"))
    assert first.identity == again.identity != other.identity
    maps = first.maps(images, "")
    assert list(maps) == [f"size_{size}" for size in SIZES] and all(x.min() >= 0 and x.max() > 0 for x in maps.values())
    for layer in first.layers:
        assert maps[layer.name].shape == (2, layer.channels, 64 // layer.stride, 48 // layer.stride)
        assert torch.equal(maps[layer.name], again.maps(images, layer.name)[layer.name])
    assert not first.training and not any(value.requires_grad for value in first.state_dict().values())


def test_random_filters_are_what_they_say() -> None:
    """The filters have length 1, half of them no mean; the map is the filtered picture after a ReLU."""
    net, image = RandomFilters(), torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(2))
    filters = net.get_buffer("size_5")
    assert torch.allclose(filters.flatten(1).norm(dim=1), torch.ones(FILTERS))
    assert filters[: FILTERS // 2].mean((2, 3)).abs().max() < 1e-6 < filters[FILTERS // 2 :].mean((2, 3)).abs().max()
    wanted = F.relu((4 * (image[0, :, 5:10, 7:12] - 0.5) * filters[3]).sum())
    assert torch.allclose(dict(net.outputs(image))["size_5"][0, 3, 7, 9], wanted, atol=1e-5)


@pytest.mark.parametrize("kind, layer", [("efficientnet_lite0", "block_4"), ("squeezenet1_1", "fire5")])
def test_layers_of_a_users_file(kind: str, layer: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    net = write_net(path, kind)
    features, images = open_features(f"{kind}={path}"), torch.rand(2, 3, 64, 64, requires_grad=True)
    maps = features.maps(images, f"{layer}+{features.layers[0].name}")
    place = net.backbone.strides.index(8)
    assert torch.equal(maps[layer], net.backbone(images)[place])
    about = {one.name: (one.channels, one.stride) for one in features.layers}
    assert about[layer] == (net.backbone.widths[place], 8) and features.usual in about
    (slope,) = torch.autograd.grad(maps[layer].square().mean(), images)
    assert slope.abs().max() > 0
    assert open_features(str(path)).identity == features.identity
    here, there = multiprocessing.Pipe()  # between our own processes: as its name
    here.send(features)
    twin = there.recv()
    assert twin.identity == features.identity
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(features.maps(images, layer)[layer], maps[layer])


def test_the_layers_behind_the_last_one_are_not_computed(tmp_path: Path) -> None:
    write_net(tmp_path / "w.safetensors", "efficientnet_lite0")
    features, used = open_features(str(tmp_path / "w.safetensors")), []
    for name, module in features.named_modules():
        module.register_forward_hook(lambda *_, name=name: used.append(name))
    features.maps(torch.rand(1, 3, 32, 32), "block_1")
    assert any("block_1" in name for name in used) and not any("block_2" in name for name in used)


def test_the_head_of_a_network_is_a_layer(tmp_path: Path) -> None:
    net = write_net(tmp_path / "w.safetensors", "efficientnet_lite0")
    images = torch.rand(1, 3, 64, 64)
    head = open_features(str(tmp_path / "w.safetensors")).maps(images, "head")["head"]
    assert torch.allclose(net.classifier(head.mean((2, 3))), net(images), atol=1e-4)


def test_vgg_of_a_users_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, places = Vgg("vgg16"), [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]  # torchvision's numbers
    names = [name for name in dict(net.named_children())]
    safetensors.torch.save_file({f"features.{place}.{part}": net.state_dict()[f"{name}.{part}"]
                                 for place, name in zip(places, names, strict=True) for part in ("weight", "bias")},
                                tmp_path / "v.safetensors")
    features, images = open_features(f"vgg16={tmp_path / 'v.safetensors'}"), torch.rand(1, 3, 48, 32)
    assert len(features.layers) == 13 and features.layers[-1].name == "conv5_3"
    x = (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    for name in names[:3]:
        x = F.max_pool2d(x, 2) if name == "conv2_1" else x
        x = F.relu(net.get_submodule(name)(x))
    assert torch.allclose(features.maps(images, "conv2_1")["conv2_1"], x, atol=1e-6)
    with pytest.raises(UserError, match="holds vgg16 and not vgg19: give vgg16="):
        open_features(f"vgg19={tmp_path / 'v.safetensors'}")


def test_a_run_of_ours_has_layers(tmp_path: Path) -> None:
    config, _ = Classifier.tiny()
    system = Classifier(replace(config, height=16, width=24)).eval()
    write_json(tmp_path / "config.json", {"system": "classifier", "config": to_dict(system.config)})
    save_model(tmp_path / "model.safetensors", system)
    features, images = open_features(str(tmp_path)), torch.rand(2, 3, 16, 24)
    layer = features.layers[1]
    with torch.no_grad(), tapped(system, [layer.name]) as taps:
        system.predict({"image": luma(images)})
    maps = features.maps(images, "")
    assert features.identity.startswith("run-") and all(x.ndim == 4 and len(x) == 2 for x in maps.values())
    assert torch.equal(features.maps(images, layer.name)[layer.name], taps.output(layer.name))
    assert features.maps(torch.rand(1, 3, 50, 40), "")[features.usual].shape[1:] == maps[features.usual].shape[1:]


@pytest.mark.parametrize("name, message", [
    ("nothing", "nothing: no such file or folder, and no known features: give random, gradients, efficientnet_lite0"),
    ("squeezenet1_1", r"give squeezenet1_1=FILE.safetensors"),
    ("random=many", "random=many: no such file"),
    ("vgg19=nowhere.safetensors", "nowhere.safetensors: no such file"),
])
def test_what_is_no_network_is_refused(name: str, message: str, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        open_features(name)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"\x00" * 40)
    safetensors.torch.save_file({"x.weight": torch.zeros(3)}, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match=r"a\.safetensors: is no file of weights"):
        open_features(str(tmp_path / "a.safetensors"))
    with pytest.raises(UserError, match=r"b\.safetensors: does not hold the weights of a known network"):
        open_features(str(tmp_path / "b.safetensors"))


def test_unknown_layers_and_tiny_pictures_are_refused() -> None:
    features = open_features("random")
    with pytest.raises(UserError, match="random: has no layer 'fire9': it has size_3, size_5"):
        features.maps(torch.rand(1, 3, 32, 32), "fire9")
    with pytest.raises(UserError, match="pictures of 5x40 px are too small"):
        features.maps(torch.rand(1, 3, 40, 5), "")
    assert features.maps(torch.rand(1, 1, 32, 32), "size_3")["size_3"].shape == (1, FILTERS, 32, 32)
