"""`apply match`: pictures take the looks of photographs, labels stay, bits do not depend on workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.changes.match import Match
from migaki.cli import main
from migaki.core.config import to_dict
from migaki.core.errors import UserError
from migaki.core.seeds import fold
from migaki.data.folder import ImageFolder
from migaki.ops import appearance
from migaki.ops.colour import lab_to_rgb, rgb_to_lab
from migaki.stages.apply import apply_change
from migaki.stages.apply_job import ApplyJob
from migaki.stages.change_work import ChangeWork

Folders = Callable[..., Path]
HOWS = ("mean-deviation", "histogram", "spectrum")
SEEDS = torch.tensor([11, 12, 13, 14])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four photographs of different sizes, of dim and bluish to bright and reddish noise; grey, RGB and with alpha."""
    random, folder = np.random.default_rng(0), tmp_path / "photos"
    folder.mkdir()
    for number, (size, mode) in enumerate([((20, 30), "RGB"), ((64, 41), "RGB"), ((7, 9), "L"), ((33, 33), "RGBA")]):
        channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
        values = random.normal(60 + 40 * number, 20, (*size, channels)) + np.linspace(-20, 20, channels) * (2 - number)
        pixels = values.clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels[..., 0] if mode == "L" else pixels, mode).save(folder / f"{number}.png")
    return folder


def opened(photos: Path, **options: object) -> Match:
    change = Match(Match.Config(to=photos, **options))  # type: ignore[arg-type]
    change.open(photos)
    return change


def drawn(photos: Path, seeds: torch.Tensor) -> list[torch.Tensor]:
    """The photographs (1, 3, H, W) that rows of these seeds take."""
    names = sorted(photos.iterdir())
    found = [Image.open(names[fold(int(seed), 0) % len(names)]).convert("RGB") for seed in seeds]
    return [torch.from_numpy(np.array(one)).movedim(-1, 0)[None].float() / 255 for one in found]


def pictures(channels: int = 3) -> torch.Tensor:
    return 0.3 + 0.4 * torch.rand(4, channels, 12, 16, generator=torch.Generator().manual_seed(0))


def test_mean_and_deviation_are_the_photographs(photos: Path) -> None:
    image = pictures()
    found = opened(photos, how="mean-deviation").change({"image": image}, SEEDS)["image"]
    for one, given, photo in zip(found, image, drawn(photos, SEEDS), strict=True):
        expected = appearance.match_mean_deviation(given[None], *appearance.mean_deviation(photo)).clamp(0, 1)
        torch.testing.assert_close(one, expected[0])
    assert len(np.unique([photo.mean() for photo in drawn(photos, SEEDS)])) > 1, "one photograph for all"


def test_lab_histogram_and_spectrum_are_the_photographs(photos: Path) -> None:
    image = pictures()
    found = {how: opened(photos, how=how, space="lab", band=0.2).change({"image": image}, SEEDS)["image"]
             for how in HOWS}
    wide = rgb_to_lab(image)
    for number, photo in enumerate(drawn(photos, SEEDS)):
        one, lab = wide[number : number + 1], rgb_to_lab(photo)
        expected = lab_to_rgb(appearance.match_mean_deviation(one, *appearance.mean_deviation(lab)))
        torch.testing.assert_close(found["mean-deviation"][number], expected[0], atol=1e-5, rtol=0)
        expected = lab_to_rgb(appearance.match_quantiles(one, appearance.quantiles(lab, 256)))
        torch.testing.assert_close(found["histogram"][number], expected[0], atol=1e-5, rtol=0)
        given = appearance.mean_deviation(one)[0][0, 0]
        after = appearance.mean_deviation(rgb_to_lab(found["spectrum"][number : number + 1]))[0][0, 0]
        assert abs(after - lab[:, 0].mean()) < max(4.0, 0.5 * abs(given - lab[:, 0].mean())), "the mean's frequency is 0"


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_does_not_depend_on_its_batch(how: str, channels: int, photos: Path) -> None:
    image = pictures(channels)
    together = opened(photos, how=how).change({"image": image}, SEEDS)["image"]
    assert together.shape == image.shape and together.min() >= 0 and together.max() <= 1
    alone = opened(photos, how=how).change({"image": image[2:3]}, SEEDS[2:3])["image"]
    assert torch.equal(alone[0], together[2])
    assert not torch.equal(opened(photos, how=how).change({"image": image}, SEEDS + 7)["image"], together)


def test_strength_is_a_share_of_the_way(photos: Path) -> None:
    image = pictures()
    none, half, full = (opened(photos, strength=share).change({"image": image}, SEEDS)["image"]
                        for share in (0.0, 0.5, 1.0))
    assert torch.equal(none, image)
    torch.testing.assert_close(half, (image + full) / 2)


def test_blank_photographs_are_passed_over(photos: Path) -> None:
    for name in ("a", "b", "c", "d"):
        Image.new("RGB", (10, 10), (90, 90, 90)).save(photos / f"{name}.png")
    seeds = torch.arange(40)
    found = opened(photos, how="mean-deviation").change({"image": pictures().repeat(10, 1, 1, 1)}, seeds)["image"]
    assert found.flatten(1).std(1).min() > 0.02
    for path in photos.glob("[0-9].png"):
        path.unlink()
    with pytest.raises(UserError, match="all of one tone"):
        opened(photos).change({"image": pictures()}, SEEDS)


def test_labels_are_carried_and_no_place_depends_on_others(photos: Path, image_folder: Folders,
                                                           tmp_path: Path) -> None:
    given = image_folder("given", 9, (12, 16), channels=3)
    job = ApplyJob(input=given, out=tmp_path / "out", batch_size=4, variants=2)
    apply_change("match", Match(Match.Config(to=photos)), job, quiet=True)
    before, after = ImageFolder(given), ImageFolder(job.out)
    assert after.labels["gaze"].tolist() == before.labels["gaze"].repeat(2, 0).tolist()
    record = json.loads((job.out / "dataset.json").read_text())
    assert record["config"] == to_dict(Match.Config(to=photos)) and record["to_contents"]
    # Another process, which has seen no other place: any order, any batch.
    images = after.read(range(18), ("image",))["image"]
    assert not torch.equal(images[0], images[1]), "variants look alike"
    for places in ([17, 3], [3], [0, 3, 5]):
        work = ChangeWork("match", Match(Match.Config(to=photos)), job, digits=1)
        for done in work.do(places):
            files = [content for record in done.records if record for _, content in record.files]
            assert files == [(job.out / after.names[done.place]).read_bytes()]


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["apply", "match", *map(str, words)]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_mistakes_are_one_line(photos: Path, image_folder: Folders, tmp_path: Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    given, out = image_folder("given", 3, (12, 16), channels=3), tmp_path / "out"
    assert "--to" in refused(capsys, "--input", given, "--out", out)
    assert "missing" in refused(capsys, "--to", tmp_path / "missing", "--input", given, "--out", out)
    assert "--strength 1.5" in refused(capsys, "--to", photos, "--input", given, "--out", out, "--strength", 1.5)
    assert "--band 0.5" in refused(capsys, "--to", photos, "--input", given, "--out", out, "--band", 0.5)
    assert str(photos) in refused(capsys, "--to", photos, "--input", given, "--out", photos / "below")
    (photos / "0.png").write_bytes(b"no picture")
    (photos / "1.png").write_bytes((photos / "3.png").read_bytes()[:200])
    for number in (2, 3):
        (photos / f"{number}.png").unlink()
    assert "0.png" in (error := refused(capsys, "--to", photos, "--input", given, "--out", out)) or "1.png" in error


def test_other_channels_are_refused(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "wide"
    given.mkdir()
    np.save(given / "five.npy", np.zeros((5, 8, 8), np.float32))
    error = refused(capsys, "--to", photos, "--input", given, "--out", tmp_path / "out")
    assert "five.npy" in error and "5 channels" in error
