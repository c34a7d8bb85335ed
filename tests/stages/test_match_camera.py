"""`apply match` beyond colours: blur, grain, sliced transport, partners, and what depth pictures refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from migaki.changes.match import Match
from migaki.cli import main
from migaki.core.errors import UnfitPicture, UserError
from migaki.data.files import framing
from migaki.ops import appearance, sharpness, sliced
from migaki.ops.clusters import coarse_layout
from migaki.ops.filtering import gaussian_blur

Folders = Callable[..., Path]
SEEDS = torch.tensor([11, 12, 13, 14])
WAYS = ({"how": "sliced"}, {"how": "sliced", "patch": 3, "rotations": 2, "space": "lab"}, {"blur": True},
        {"grain": True}, {"how": "none", "blur": True, "grain": True}, {"partners": "cluster", "clusters": 2},
        {"partners": "nearest"})


def scene(number: int, blur: float, noise: float, size: tuple[int, int] = (40, 48)) -> Tensor:
    """A bright rectangle at a place of its own, blurred, with grain."""
    draw = torch.Generator().manual_seed(number)
    image = torch.full((1, 3, *size), 0.3)
    image[..., 8 + number : 28, 10:30] = torch.tensor([0.8, 0.6, 0.5]).view(1, 3, 1, 1)
    image = gaussian_blur(image, blur)
    return (image + noise * torch.randn(image.shape, generator=draw)).clamp(0, 1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """One soft and grainy photograph."""
    (tmp_path / "photos").mkdir()
    pixels = (scene(1, 1.0, 0.04)[0].movedim(0, 2).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png")
    return tmp_path / "photos"


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Twelve dark photographs bright on the left, and twelve bright ones, brighter still on the right."""
    random, folder = np.random.default_rng(0), tmp_path / "many"
    folder.mkdir()
    for number in range(24):
        pixels = random.normal(60 if number < 12 else 160, 10, (20, 20, 3))
        pixels[:, slice(0, 10) if number < 12 else slice(10, 20)] += 40
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02}.png")
    return folder


def opened(photos: Path, **options: object) -> Match:
    change = Match(Match.Config(to=photos, **options))  # type: ignore[arg-type]
    change.open(photos)
    return change


def read(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).movedim(-1, 0)[None].float() / 255


def test_blur_comes_first_then_colours_then_grain(photos: Path) -> None:
    image = scene(3, 0.0, 0.0)
    photo = read(photos / "a.png")
    found = opened(photos, blur=True, grain=True).change({"image": image}, SEEDS[:1])["image"]
    soft = sharpness.match_edge_rise(image, sharpness.edge_rise(photo))
    coloured = appearance.match_mean_deviation(soft, *appearance.mean_deviation(photo)).clamp(0, 1)
    rest = found - coloured
    assert float(sharpness.edge_rise(soft)) == pytest.approx(float(sharpness.edge_rise(photo)), abs=0.01)
    torch.testing.assert_close(sharpness.grain(found), sharpness.grain(photo), atol=6e-4, rtol=0)
    assert float(rest.std()) == pytest.approx(0.04, rel=0.2) and abs(float(rest.mean())) < 0.003


def test_photographs_are_measured_at_the_size_of_the_picture(photos: Path) -> None:
    small = scene(3, 0.0, 0.0)[..., ::2, ::2]
    fitted = torch.from_numpy(framing.resize(read(photos / "a.png")[0].numpy(), (20, 24)))[None]
    found = opened(photos, how="none", blur=True).change({"image": small}, SEEDS[:1])["image"]
    wanted = sharpness.match_edge_rise(small, sharpness.edge_rise(fitted))
    torch.testing.assert_close(found, wanted)
    assert (found - small).abs().max() > 0.05


def test_sliced_is_that_of_the_photograph(photos: Path) -> None:
    image, photo = scene(3, 0.4, 0.02), read(photos / "a.png")
    for patch in (1, 3):
        bases = sliced.random_bases(3, patch, 3)
        wanted = sliced.match_sliced(image, sliced.sliced_quantiles(photo, bases, patch, 256), bases, patch).clamp(0, 1)
        found = opened(photos, how="sliced", patch=patch, rotations=3).change({"image": image}, SEEDS[:1])["image"]
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_does_not_depend_on_its_batch(way: dict[str, object], channels: int, many: Path) -> None:
    image = 0.3 + 0.4 * torch.rand(4, channels, 12, 16, generator=torch.Generator().manual_seed(0))
    together = opened(many, **way).change({"image": image}, SEEDS)["image"]
    assert together.shape == image.shape and together.min() >= 0 and together.max() <= 1
    alone = opened(many, **way).change({"image": image[2:3]}, SEEDS[2:3])["image"]
    assert torch.equal(alone[0], together[2])
    assert not torch.equal(opened(many, **way).change({"image": image}, SEEDS + 7)["image"], together)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_autocast_changes_no_bit(way: dict[str, object], many: Path) -> None:
    image = 0.3 + 0.4 * torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    expected = opened(many, **way).change({"image": image}, SEEDS[:2])["image"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(opened(many, **way).change({"image": image}, SEEDS[:2])["image"], expected)


@pytest.mark.parametrize("way", ["cluster", "nearest"])
def test_partners_are_alike_in_layout(way: str, many: Path) -> None:
    """A picture that is brighter on the left takes a dark photograph, whichever seed; at random it may take any."""
    image = torch.full((1, 3, 12, 16), 0.5)
    image[..., :8] = 0.7
    image = (image + 0.02 * torch.rand(image.shape, generator=torch.Generator().manual_seed(0))).repeat(12, 1, 1, 1)
    seeds = torch.arange(12)
    made = {partners: opened(many, partners=partners, clusters=2).change({"image": image}, seeds)["image"]
            for partners in (way, "random")}
    means = {partners: pictures.mean((1, 2, 3)) for partners, pictures in made.items()}
    assert means[way].max() < 0.4 < means["random"].max()
    assert len(set(means[way].tolist())) > 3, "one photograph for all"


def test_blank_photographs_are_nobodys_partners(many: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (10, 10), (90, 90, 90)).save(many / f"{name}.png")
    image = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    found = opened(many, partners="cluster", clusters=30).change({"image": image}, torch.arange(6))["image"]
    assert found.flatten(1).std(1).min() > 0.02
    for path in many.glob("[0-9]*.png"):
        path.unlink()
    with pytest.raises(UserError, match="all photographs are of one tone"):
        opened(many, partners="nearest").change({"image": image}, torch.arange(6))
    assert coarse_layout(image).isfinite().all()


def test_depth_takes_grain_alone(photos: Path, tmp_path: Path, image_folder: Folders) -> None:
    """Colours and blur would make distances false; grain leaves the ground and what was not seen as they are."""
    hands = image_folder("hands", 2, (12, 16))
    (hands / "dataset.json").write_text(json.dumps({"simulator": "hands"}))
    for options in ({}, {"how": "none", "blur": True}, {"how": "sliced", "grain": True}):
        with pytest.raises(UserError, match=r"are depth.*--how none --grain"):
            Match(Match.Config(to=photos, **options)).open(hands)  # type: ignore[arg-type]
        with pytest.raises(UserError, match="are depth"):
            Match(Match.Config(to=photos, depth=True, **options)).open(photos)  # type: ignore[arg-type]
    change = Match(Match.Config(to=photos, how="none", grain=True, depth=True))
    change.open(hands)
    depth = torch.ones(1, 1, 40, 48)
    depth[..., 10:30, 10:40] = torch.linspace(0.3, 0.6, 30)
    depth[..., 20, 20] = 0
    found = change.change({"image": depth}, SEEDS[:1])["image"]
    still = (depth == 1) | (depth == 0)
    assert torch.equal(found[still], depth[still])
    moved = (found - depth)[~still]
    assert 0.01 < float(moved.std()) < 0.06 and abs(float(moved.mean())) < 0.004


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["apply", "match", *map(str, words)]) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_mistakes_are_one_line(photos: Path, image_folder: Folders, tmp_path: Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    given, out = image_folder("given", 2, (12, 16), channels=3), tmp_path / "out"
    common = ("--to", photos, "--input", given, "--out", out)
    assert "--how none" in refused(capsys, *common, "--how", "none")
    assert "--patch 2" in refused(capsys, *common, "--how", "sliced", "--patch", 2)
    assert "--clusters 0" in refused(capsys, *common, "--partners", "cluster", "--clusters", 0)
    assert "--rotations 0" in refused(capsys, *common, "--how", "sliced", "--rotations", 0)
    assert "are depth" in refused(capsys, *common, "--depth")
    assert not out.exists()
    with pytest.raises(UnfitPicture, match="8x8 px on: leave out --blur and --grain"):
        opened(photos, grain=True).change({"image": torch.rand(1, 3, 7, 9)}, SEEDS[:1])
