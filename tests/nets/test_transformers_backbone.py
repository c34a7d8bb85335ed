"""SegFormer and RT-DETR from a local folder: features, training, a run read again, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from refusals import message

from migaki.core.fit import Run
from migaki.core.trained import load_system
from migaki.nets.transformers_backbone import TransformersBackbone, load_scene_backbone, scene_backbone, scene_kind
from migaki.stages.train import train
from migaki.systems.detector import Detector
from migaki.systems.segmenter import Segmenter

QUICK = Run(device="cpu", precision="fp32", log_every=1, sample_every=0)
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed: pip install 'migaki[transformers]'")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny networks of random weights with their heads, as published folders hold them."""
    import transformers

    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    segformer = transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(
        hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8))
    trunk = transformers.RTDetrResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1],
                                            layer_type="basic", out_features=["stage2", "stage3", "stage4"])
    rt_detr = transformers.RTDetrForObjectDetection(transformers.RTDetrConfig(
        backbone_config=trunk, encoder_hidden_dim=16, encoder_in_channels=[8, 16, 16], encoder_ffn_dim=16,
        encoder_attention_heads=2, d_model=16, decoder_in_channels=[16, 16, 16], decoder_ffn_dim=16, decoder_layers=1,
        decoder_attention_heads=2, num_queries=5, num_denoising=0))
    for name, model in (("segformer", segformer), ("rt_detr", rt_detr)):
        model.save_pretrained(root / name)
    return {"segformer": root / "segformer", "rt_detr": root / "rt_detr"}


def write_scenes(folder: Path, count: int = 6) -> Path:
    folder.mkdir()
    (folder / "masks").mkdir()
    lines = []
    for number in range(count):
        picture = torch.randint(0, 255, (64, 64, 3), dtype=torch.uint8)
        picture[8:24, 10 + number : 30 + number] = 255
        Image.fromarray(picture.numpy()).save(folder / f"{number}.png")
        mask = torch.zeros(64, 64, dtype=torch.uint8)
        mask[8:24, 10 + number : 30 + number] = 1
        Image.fromarray(mask.numpy()).save(folder / "masks" / f"{number}.png")
        lines.append({"file_name": f"{number}.png", "mask_file_name": f"masks/{number}.png",
                      "boxes": [[10 + number, 8, 20, 16]], "classes": ["thing"]})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@needs_transformers
@pytest.mark.parametrize(("kind", "strides"), [("segformer", (4, 8, 16, 32)), ("rt_detr", (8, 16, 32))])
def test_features_are_those_of_the_folders_network(kind: str, strides: tuple[int, ...],
                                                   folders: dict[str, Path]) -> None:
    import transformers

    found, described = scene_kind(folders[kind])
    assert found == kind
    net = scene_backbone(found, described, 3, 64, 96).eval()
    load_scene_backbone(net, folders[kind])
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = net(image)
        assert net.strides == strides and [one.shape[1] for one in maps] == list(net.widths)
        assert [tuple(one.shape[2:]) for one in maps] == [(64 // s, 96 // s) for s in strides]
        if kind == "segformer":
            mean, spread = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
            model = transformers.SegformerModel.from_pretrained(folders[kind]).eval()
            torch.testing.assert_close(maps[-1], model((image - mean) / spread).last_hidden_state)
        else:
            model = transformers.RTDetrModel.from_pretrained(folders[kind]).eval()
            theirs: Any = model(image)
            for own, other in zip(maps, theirs.encoder_last_hidden_state, strict=True):
                torch.testing.assert_close(own, other)
        grey = net(image[:, :1])
        torch.testing.assert_close(grey[0], net(image[:, :1].expand(-1, 3, -1, -1))[0])


@needs_transformers
@pytest.mark.parametrize(("kind", "system"), [("segformer", Segmenter), ("rt_detr", Detector), ("rt_detr", Segmenter)])
def test_it_trains_and_is_read_again(kind: str, system: type[Segmenter] | type[Detector], folders: dict[str, Path],
                                     tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_scenes(tmp_path / "data")
    options: dict[str, Any] = {"steps": 2, "batch_size": 2, "features": 4, "backbone_rate": 0.0}
    train(system, system.Data(data=(data,), pretrained=folders[kind]), system.Config(**options), QUICK,
          tmp_path / "run", quiet=True)
    again = load_system(tmp_path / "run")
    backbone = again.net.backbone  # type: ignore[union-attr]
    assert isinstance(backbone, TransformersBackbone)
    fresh = scene_backbone(*scene_kind(folders[kind]), 3, 64, 64)
    load_scene_backbone(fresh, folders[kind])
    own = dict(backbone.named_parameters())
    assert own and all(torch.equal(value, own[name]) for name, value in fresh.named_parameters())  # a rate of 0
    made = again.predict({"image": torch.rand(1, 3, 64, 64)})
    assert made["mask" if system is Segmenter else "boxes"].shape[0] == 1
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "migaki[transformers]" in message(lambda: load_system(tmp_path / "run"))


@needs_transformers
def test_other_folders_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    def copied(name: str, **changes: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        values = json.loads((folders["rt_detr"] / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps(values))
        (folder / "model.safetensors").write_bytes((folders["rt_detr"] / "model.safetensors").read_bytes()[:-99])
        return folder

    assert "describes 'bert'" in message(lambda: scene_kind(copied("bert", model_type="bert")))
    assert "to be fetched" in message(lambda: scene_kind(copied("far", backbone="microsoft/resnet-50")))
    assert "backbone is 'swin'" in message(lambda: scene_kind(copied("swin", backbone_config={"model_type": "swin"})))
    assert "encoder_hidden_dim is" in message(lambda: scene_kind(copied("wide", encoder_hidden_dim=10**8)))
    assert "none of a rt_detr" in message(lambda: scene_kind(copied("odd", d_model="x")))
    cut = copied("cut")
    net = scene_backbone(*scene_kind(cut), 3, 64, 64)
    assert "cannot be read" in message(lambda: load_scene_backbone(net, cut))
    assert "at least 32x32" in message(lambda: scene_backbone("segformer", "{}", 3, 16, 64))


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "config.json").write_text('{"model_type": "segformer"}')
    assert "holds no config.json" in message(lambda: scene_kind(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "pip install 'migaki[transformers]'" in message(lambda: scene_kind(tmp_path))
    (tmp_path / "config.json").write_text("[")
    assert "config.json" in message(lambda: scene_kind(tmp_path))
