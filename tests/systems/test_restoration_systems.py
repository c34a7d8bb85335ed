"""The deep detail network and pix2pix: the rungs, the terms, whole images, a few steps from folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.ops.filtering import guided_filter
from migaki.simulate.clouds import Clouds
from migaki.systems.deep_detail import DeepDetail
from migaki.systems.pix2pix import Pix2Pix


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Smooth pictures of different sizes."""
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number, size in enumerate([(90, 70), (80, 100)]):
        coarse = Image.fromarray(random.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def taught(rung: str, steps: int = 5, **more: object) -> tuple[DeepDetail, Batch]:
    config, batch = DeepDetail.tiny()
    torch.manual_seed(0)
    system = DeepDetail(replace(config, rung=rung, steps=100, learning_rate=0.01, **more)).train()  # type: ignore[arg-type]
    for step in range(steps):
        scalars = system.update(batch, step)
        assert all(torch.isfinite(value) for value in scalars.values())
    return system.eval(), batch


@pytest.mark.parametrize("rung", ["direct", "resnet", "neg_mapping", "full"])
def test_the_rungs_are_what_the_paper_compares(rung: str) -> None:
    system, batch = taught(rung, ema=0.0)
    x = batch["image"]
    detail = x - guided_filter(x, x, 3, 1.0)
    expected = {"direct": system.net(x), "resnet": system.net(x), "neg_mapping": x + system.net(x),
                "full": x + system.net(detail)}[rung]
    with torch.no_grad():
        torch.testing.assert_close(system.predict(batch)["target"], expected.clamp(0, 1), atol=0.05, rtol=0)
        assert all(block.skip == (rung != "direct") for block in system.net.blocks)


@pytest.mark.parametrize("rung", ["direct", "resnet", "neg_mapping", "full"])
def test_every_rung_learns(rung: str) -> None:
    system, batch = taught(rung, steps=0)
    system.train()
    losses = [system.update(batch, step)["net/loss"].item() for step in range(25)]
    assert np.mean(losses[-5:]) < 0.85 * losses[0]


def test_the_negative_residual_begins_near_the_damaged_image() -> None:
    config, batch = DeepDetail.tiny()
    system = DeepDetail(config)
    scalars = system.update(batch, 0)
    assert abs(scalars["net/psnr"] - scalars["net/psnr_damaged"]) < 6
    worse, better = ({"net/psnr": psnr, "net/psnr_damaged": 25.0} for psnr in (20.0, 26.0))
    assert system.watch(worse, config.steps) and not system.watch(better, config.steps)
    assert not DeepDetail(replace(config, steps=1000)).watch(worse, 10)


def test_prediction_keeps_state_even_in_training_mode() -> None:
    config, batch = DeepDetail.tiny()
    system = DeepDetail(config).train()
    before = {key: value.clone() for key, value in system.state_dict().items()}
    system.predict(batch)
    assert all(torch.equal(value, before[key]) for key, value in system.state_dict().items())


def test_paper_schedule_divides_by_ten_twice() -> None:
    config = replace(DeepDetail.Config.paper(), depth=2, features=1)
    system = DeepDetail(config)
    rates = []
    for step in (0, 99_999, 100_000, 199_999, 200_000):
        system._set_rate(step)
        rates.append(system.optimizers["net"].param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])


def test_large_images_are_tiled_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    system, _ = taught("full")
    image = torch.rand(1, 3, 150, 70)
    with torch.no_grad():
        whole = system.predict({"image": image})["target"]
        monkeypatch.setattr("migaki.systems.deep_detail._WHOLE", 64)
        torch.testing.assert_close(system.predict({"image": image})["target"], whole, atol=1e-4, rtol=0)


def test_deep_detail_opens_photographs(photos: Path) -> None:
    config, _ = DeepDetail.tiny()
    for damage in ("rain", "noise", "jpeg"):
        opened, source = DeepDetail.open(DeepDetail.Data(photos=photos), replace(config, damage=damage), seed=1)
        batch = source.batch(0)
        assert batch["image"].shape == batch["target"].shape == (4, 3, 16, 16)
        DeepDetail(opened).update(batch, 0)


def test_pix2pix_takes_both_descents_and_weighs_l1() -> None:
    config, batch = Pix2Pix.tiny()
    torch.manual_seed(0)
    system = Pix2Pix(replace(config, learning_rate=0.003)).train()
    before = {key: value.clone() for key, value in system.named_parameters()}
    scalars = system.update(batch, 0)
    moved = {key for key, value in system.named_parameters() if not torch.equal(value, before[key])}
    assert {key.split(".")[0] for key in moved} == {"generator", "discriminator"}
    assert set(scalars) >= {"generator/adversarial", "generator/l1", "discriminator/loss"}
    clean = torch.tensor([0.1, 0.8, 0.3, 0.5]).view(1, 4, 1, 1).expand(2, 4, 32, 32)
    easy = {"image": clean, "target": clean, "mask": torch.zeros(2, 32, 32, dtype=torch.uint8)}
    losses = [system.update(easy, 1)["generator/l1"].item() for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]


def test_mcgan_sees_four_channels_and_answers_rgb_and_mask() -> None:
    config, batch = Pix2Pix.tiny()
    system = Pix2Pix(config).eval()
    made = system.predict(batch)
    assert made["target"].shape == (2, 3, 32, 32) and made["mask"].shape == (2, 32, 32)
    metric = system.metric()
    assert metric is not None
    metric.update(made, batch)
    assert 0 <= metric.compute()["iou"] <= 1 and len(system.sheet(batch)) == 5
    published = Pix2Pix.Config.mcgan()
    assert (published.channels, published.target_channels, published.l1, published.learning_rate,
            published.beta1) == (4, 3, 100.0, 2e-4, 0.5)
    assert isinstance(Pix2Pix.damage(published), Clouds)


@pytest.mark.parametrize(("damage", "channels"), [("none", 3), ("grey", 1), ("blur", 3), ("clouds", 3)])
def test_pix2pix_opens_its_folders(photos: Path, damage: str, channels: int) -> None:
    config, _ = Pix2Pix.tiny()
    config = replace(config, damage=damage, channels=channels)
    data = Pix2Pix.Data(target=photos, input=photos if damage == "none" else None,
                        shapes=photos if damage == "clouds" else None)
    if damage == "clouds":  # masks of one size
        (photos / "1.png").unlink()
    config, source = Pix2Pix.open(data, config, seed=2)
    batch = source.batch(0)
    assert batch["image"].shape == (2, channels, 32, 32) and batch["target"].shape == (2, 3, 32, 32)
    Pix2Pix(config).update(batch, 0)


def test_wrong_configurations_are_refused(photos: Path) -> None:
    config, _ = Pix2Pix.tiny()
    with pytest.raises(UserError, match="--input"):
        Pix2Pix.open(Pix2Pix.Data(target=photos), replace(config, damage="none"), seed=0)
    with pytest.raises(UserError, match="cannot be more"):
        Pix2Pix(replace(config, channels=1))
    with pytest.raises(UserError, match="no simulated damage"):
        Pix2Pix.damage(replace(config, damage="none"))
    with pytest.raises(UserError, match="even number"):
        DeepDetail(DeepDetail.Config(depth=5))
