"""The deep detail network and pix2pix: the rungs, the terms, whole images, a few steps from folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core import processes
from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.metrics.restoration import ssim
from migaki.ops.colour import lab_to_rgb, luma, rgb_to_lab, rgb_to_ycbcr
from migaki.ops.filtering import guided_filter
from migaki.simulate.clouds import Clouds
from migaki.systems.colourisation import Colourisation
from migaki.systems.deep_detail import DeepDetail
from migaki.systems.pix2pix import Pix2Pix
from migaki.systems.super_resolution import SuperResolution


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


def test_a_blend_leaves_alone_what_it_does_not_repaint() -> None:
    config, batch = Pix2Pix.tiny()
    system = Pix2Pix(replace(config, blend=True)).eval()
    image, painted = batch["image"], torch.rand(2, 3, 32, 32)
    mask, share = torch.rand(2, 1, 32, 32), torch.zeros(2, 1, 32, 32)
    share[..., 16:] = 1
    system.generator.forward = lambda seen: torch.cat([painted, mask, share], 1)  # type: ignore[method-assign]
    made = system.predict({"image": image})
    assert torch.equal(made["target"][..., :16], image[:, :3, :, :16]) and torch.equal(made["mask"], mask[:, 0])
    torch.testing.assert_close(made["target"][..., 16:], painted[..., 16:])
    del system.generator.forward
    assert system.train().update(batch, 0)["generator/l1"] > 0
    with pytest.raises(UserError, match="--blend"):
        Pix2Pix(replace(config, damage="none", channels=1, blend=True))


def test_a_veil_is_lifted_and_every_detail_kept() -> None:
    config, batch = Pix2Pix.tiny()
    system = Pix2Pix(replace(config, blend=True, unveil=True)).eval()
    ground = torch.rand(2, 3, 32, 32)
    light, opacity = (torch.rand(2, count, 1, 1).expand(2, count, 32, 32).contiguous() for count in (3, 1))  # smooth
    veil = 0.9 * opacity**2
    seen = torch.cat([(1 - veil) * ground + veil * light, torch.rand(2, 1, 32, 32)], 1)
    nothing = torch.zeros(2, 1, 32, 32)  # is repainted
    found = torch.cat([torch.rand(2, 3, 32, 32), nothing, nothing, opacity, light], 1)
    system.generator.forward = lambda image: found  # type: ignore[method-assign]
    torch.testing.assert_close(system.predict({"image": seen})["target"], ground, atol=1e-5, rtol=0)
    found[:, -3:] = 1  # too much light: the ground would lie below black
    assert system.predict({"image": seen * 0})["target"].min() == 0
    del system.generator.forward
    assert system.train().update(batch, 0)["generator/l1"] > 0
    with pytest.raises(UserError, match="--unveil"):
        Pix2Pix(replace(config, unveil=True))


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


def test_super_resolution_begins_at_bicubic_and_learns(photos: Path) -> None:
    config, batch = SuperResolution.tiny()
    torch.manual_seed(0)
    system = SuperResolution(replace(config, steps=200, learning_rate=0.003)).train()
    first = system.update(batch, 0)
    assert abs(first["net/psnr"] - first["net/psnr_bicubic"]) < 1
    losses = [system.update(batch, step)["net/loss"].item() for step in range(60)]
    assert losses[-1] < 0.95 * losses[0]
    opened, source = SuperResolution.open(SuperResolution.Data(photos=photos), replace(config, scale=3), seed=1)
    made = source.batch(0)
    assert made["image"].shape == (4, 3, 12, 12) and made["target"].shape == (4, 3, 36, 36)
    assert SuperResolution(opened).predict(made)["target"].shape == (4, 3, 36, 36)
    assert SuperResolution.Config.paper().scale == 3 and not SuperResolution.Config.paper().residual


def test_super_resolution_leaves_chroma_to_bicubic(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    system = SuperResolution(replace(SuperResolution.tiny()[0], scale=2)).eval()
    small = 0.3 + 0.4 * torch.rand(1, 3, 40, 30)
    with torch.no_grad():
        whole = system.predict({"image": small})["target"]
        bicubic = torch.from_numpy(np.stack([  # Pillow's bicubic is ours
            np.asarray(Image.fromarray(plane).resize((60, 80), Image.Resampling.BICUBIC))
            for plane in rgb_to_ycbcr(small)[0, 1:].numpy()]))
        torch.testing.assert_close(rgb_to_ycbcr(whole)[0, 1:], bicubic, atol=2e-3, rtol=0)
        monkeypatch.setattr("migaki.systems.super_resolution._WHOLE", 16)
        monkeypatch.setattr(SuperResolution, "tiling", replace(system.tiling, tile=20, blend=4))
        torch.testing.assert_close(system.predict({"image": small})["target"], whole, atol=1e-5, rtol=0)


def test_soft_classes_are_those_of_the_paper() -> None:
    """Against sec. 2.2 written out for one pixel."""
    system = Colourisation(replace(Colourisation.tiny()[0], grid=10))
    colour = torch.tensor([23.0, -41.0])
    soft, _ = system._soft(colour.view(1, 2, 1, 1))
    distances = sorted(((float((colour - centre).square().sum()), q) for q, centre in enumerate(system.classes)))[:5]
    shares = np.exp([-distance / (2 * 25) for distance, _ in distances])
    for share, (_, q) in zip(shares / shares.sum(), distances, strict=True):
        assert soft[0, q, 0, 0].item() == pytest.approx(share, abs=1e-5)
    assert soft.sum().item() == pytest.approx(1, abs=1e-5) and 200 < len(system.classes) < 330


def test_rare_colours_weigh_more_and_the_mean_weight_is_one() -> None:
    system = Colourisation(Colourisation.tiny()[0])
    centres = system.classes[[0, 5]]
    ab = torch.cat([centres[:1].expand(90, 2), centres[1:].expand(10, 2)]).T.reshape(1, 2, 10, 10)
    system._count([ab[:1], ab[1:]])
    q = len(system.classes)
    raw = [1 / (0.5 * share + 0.5 / q) for share in (0.9, 0.1)]
    assert (system.weights[5] / system.weights[0]).item() == pytest.approx(raw[1] / raw[0], rel=1e-5)
    _, weight = system._soft(ab)
    assert weight.mean().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("objective", ["classes", "regression"])
def test_colourisation_learns_one_colour_and_keeps_lightness(objective: str, photos: Path) -> None:
    config = replace(Colourisation.tiny()[0], objective=objective, steps=300, learning_rate=0.003)
    torch.manual_seed(0)
    system = Colourisation(config).train()
    chroma = torch.full((4, 32, 32), 40.0)
    lab = torch.stack([30 + 40 * torch.rand(4, 32, 32), chroma, chroma], 1)
    target = lab_to_rgb(lab)
    batch = {"image": luma(target), "target": target}
    for step in range(60):
        scalars = system.update(batch, step)
    assert scalars["net/ab_error"] < 0.4 * scalars["net/ab_grey"]
    made = rgb_to_lab(system.eval().predict(batch)["target"])
    assert (made[:, 1:] - lab[:, 1:]).abs().mean() < 20
    grey = rgb_to_lab(batch["image"].expand(-1, 3, -1, -1))[:, 0]
    assert (made[:, 0] - grey).abs().mean() < 1
    opened, source = Colourisation.open(Colourisation.Data(photos=photos), config, seed=1)
    fresh = Colourisation(opened)
    fresh.prepare(Colourisation.Data(photos=photos))
    assert (fresh.weights.std() > 0) == (objective == "classes")
    assert source.batch(0)["image"].shape == (4, 1, 32, 32)


def test_absolute_and_structural_losses() -> None:
    system, batch = taught("full", steps=3, loss="l1", ssim_weight=0.5, fold=2)
    with torch.no_grad():
        restored = system._restored(system.net.eval(), batch["image"])
    system.net.train()
    made = system._restored(system.net, batch["image"]).detach()
    value = system.update(batch, 3)["net/loss"].item()
    wanted = (made - batch["target"]).abs().mean() + 0.5 * (1 - ssim(made, batch["target"]).mean())
    assert value == pytest.approx(float(wanted), abs=1e-4) and restored.shape == batch["image"].shape


def test_folded_pixels_take_any_size() -> None:
    config, _ = DeepDetail.tiny()
    system = DeepDetail(replace(config, fold=3)).eval()
    image = torch.rand(1, 3, 20, 31)
    with torch.no_grad():
        assert system.predict({"image": image})["target"].shape == image.shape
    assert system.tiling.context == 4 * 3 + 2 * 3 and system.tiling.multiple == 3


def test_the_rarity_of_colours_is_counted_alike_by_every_process(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are a part of the loss, which is one for all; batches are counted one at a time."""
    config, _ = Colourisation.tiny()
    weights, most = [], []
    nearest = torch.cdist

    def noted(points: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        most.append(len(points))
        return nearest(points, classes)

    monkeypatch.setattr(torch, "cdist", noted)
    for rank in (0, 1):
        with monkeypatch.context() as patch:
            patch.setattr(processes, "rank", lambda rank=rank: rank)
            patch.setattr(processes, "world", lambda: 2)
            system = Colourisation(config)
            system.prepare(Colourisation.Data(photos=photos))
        weights.append(system.weights)
    assert torch.equal(*weights) and len(weights[0].unique()) > 3
    assert max(most) == config.batch_size * (config.patch // 4) ** 2
