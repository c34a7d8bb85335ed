"""An encoder that learned without labels below the head of a task model: same maps, same weights, frozen or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import message
from shape_sets import shapes

from migaki.core.fit import Run, fit
from migaki.core.system import System
from migaki.nets.encoder import Encoder
from migaki.nets.encoder_backbone import EncoderBackbone, encoder_of, load_encoder, opened_encoder
from migaki.nets.pretrained import kind_of, load_backbone
from migaki.systems.classifier import Classifier
from migaki.systems.gaze import Gaze
from migaki.systems.keypoints import Keypoints
from migaki.systems.regressor import Regressor
from migaki.systems.semi_supervised import SemiSupervised
from migaki.systems.simclr import SimCLR

QUICK = Run(device="cpu", precision="fp32", sample_every=0, log_every=1)


class Same:
    """The batch of a tiny system at every step."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def batch(self, step: int) -> Any:
        return self._batch


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoder") / "run"
    config = SimCLR.Config(channels=3, height=16, width=16, steps=2, batch_size=4, features=8, inside=8, projected=6)
    torch.manual_seed(0)
    fit(SimCLR(config), Same({"image": torch.rand(4, 3, 16, 16)}), QUICK, out, quiet=True)
    return out


@pytest.mark.parametrize(("side", "strides"), [(16, (2, 4, 8)), (64, (2, 4, 8, 16)), (160, (2, 4, 8, 16, 32))])
def test_the_maps_are_those_of_the_encoder(side: int, strides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    backbone = EncoderBackbone(3, side, side, 8).eval()
    images = torch.rand(2, 3, side, side)
    maps = backbone(images)
    assert backbone.strides == strides and [one.shape[1] for one in maps] == list(backbone.widths)
    assert [one.shape[2] for one in maps] == [side // stride for stride in strides]
    torch.testing.assert_close(maps[-1], backbone.encoder.maps(images))
    assert len(EncoderBackbone(3, side, side, 8, last_stride=4)(images)) == 2


def test_a_task_model_starts_from_the_run(run: Path) -> None:
    encoder = encoder_of(run)
    assert kind_of(run) == "encoder_8"
    shape: dict[str, Any] = {"channels": 3, "height": 16, "width": 16, "steps": 2, "backbone": "encoder_8",
                             "backbone_rate": 0.0}
    models: list[tuple[System, Any]] = [
        (Classifier(Classifier.Config(**shape, num_classes=2)), Classifier.Data),
        (Regressor(Regressor.Config(**shape, columns=("number",))), None),
        (Gaze(Gaze.Config(**shape | {"height": 24, "width": 24})), Gaze.Data),
        (Keypoints(Keypoints.Config(**shape, key="keypoints", num_points=2)), Keypoints.Data)]
    for model, data in models:
        net: Any = model.net
        if data is not None:
            model.prepare(data(data=(run,), pretrained=run))
        else:
            load_backbone(net.backbone, run)
        model.train()
        before = {name: value.clone() for name, value in net.backbone.encoder.state_dict().items()}
        torch.testing.assert_close(before, dict(encoder.state_dict()))
        side = model.config.height
        batch = {"image": torch.rand(4, 3, side, side), "gaze": torch.rand(4, 2), "number": torch.rand(4),
                 "label": torch.tensor([0, 1, 0, 1]), "keypoints": torch.rand(4, 2, 2) * 15}
        model.update(batch, 0)
        model.finish(Same(batch | {"real": torch.rand(4, 3, side, side)}))  # photographs change what has learned
        after = net.backbone.encoder.state_dict()
        torch.testing.assert_close(dict(after), before, rtol=0, atol=0)  # its batch norm has not moved either


def test_a_backbone_that_learns_is_in_training_mode() -> None:
    model = Classifier(Classifier.Config(channels=3, height=16, width=16, num_classes=2, backbone="encoder_8"))
    net: Any = model.train().net
    assert net.backbone.encoder.training


def test_semi_supervised_starts_from_it_and_holds_it(run: Path) -> None:
    encoder = encoder_of(run)
    config = SemiSupervised.Config(channels=3, height=16, width=16, num_classes=2, steps=4, features=8, method="none",
                                   encoder_rate=0.0)
    model = SemiSupervised(config)
    model.prepare(SemiSupervised.Data(data=run, pretrained=run))
    model.train()
    batch = {"image": torch.rand(4, 3, 16, 16), "label": torch.tensor([0, 1, 0, 1]), "real": torch.rand(4, 3, 16, 16)}
    before = model.net.head.weight.detach().clone()
    model.update(batch, 0)
    for net in (model.net.encoder, model.encoder):
        torch.testing.assert_close(dict(net.state_dict()), dict(encoder.state_dict()))
    assert not torch.equal(model.net.head.weight, before)


def test_runs_that_do_not_fit(run: Path, tmp_path: Path) -> None:
    assert "another size" in message(lambda: load_encoder(Encoder(1, 16, 16, 8), run))
    config, batch = Classifier.tiny()
    fit(Classifier(config), Same(batch), QUICK, tmp_path / "other", quiet=True)
    assert "has no encoder" in message(lambda: kind_of(tmp_path / "other"))
    odd = SimCLR.Config(channels=3, height=8, width=8, steps=1, batch_size=4, features=5, inside=8, projected=6)
    fit(SimCLR(odd), Same({"image": torch.rand(4, 3, 8, 8)}), QUICK, tmp_path / "odd", quiet=True)
    assert "is 5 wide" in message(lambda: kind_of(tmp_path / "odd"))
    assert "at least 8x8" in message(lambda: EncoderBackbone(4, 16, 16, 8))


def test_an_encoder_on_another_backbone_goes_on_in_the_same_one(tmp_path: Path) -> None:
    """`train simclr --backbone convnext` teaches semi_supervised; a task model refuses it by name."""
    config = SimCLR.Config(channels=3, height=16, width=16, steps=1, batch_size=4, features=8, inside=8, projected=6,
                           backbone="convnext")
    fit(SimCLR(config), Same({"image": torch.rand(4, 3, 16, 16)}), QUICK, tmp_path / "run", quiet=True)
    data = SemiSupervised.Data(data=shapes(tmp_path / "set", 12), pretrained=tmp_path / "run")
    wanted, _ = SemiSupervised.open(data, SemiSupervised.Config(batch_size=4), 0)
    assert (wanted.backbone, wanted.features) == ("convnext", 8)
    torch.manual_seed(1)
    model = SemiSupervised(wanted)
    model.prepare(data)
    encoder, name = opened_encoder(tmp_path / "run")
    assert name == "convnext" and isinstance(encoder, torch.nn.Module)
    for net in (model.net.encoder, model.encoder):
        torch.testing.assert_close(dict(net.state_dict()), dict(encoder.state_dict()), rtol=0, atol=0)
    assert "its encoder is convnext" in message(lambda: kind_of(tmp_path / "run"))
    assert "another network, convnext" in message(lambda: SemiSupervised.open(
        data, SemiSupervised.Config(batch_size=4, backbone="poolformer"), 0))
