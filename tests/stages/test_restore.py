"""From clean photographs to restored ones: pairs, any size, preserved properties of files, figures, videos."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.core.fit import Run, fit
from migaki.core.system import System
from migaki.core.tiling import Tiling
from migaki.core.trained import load_system
from migaki.data.files.image_file import read_image
from migaki.data.folder import ImageFolder
from migaki.data.whole import restorer
from migaki.judges.pairs import Pairs
from migaki.metrics.restoration import psnr
from migaki.simulate.blur import Blur
from migaki.simulate.clouds import Clouds
from migaki.simulate.grey import Grey
from migaki.simulate.noise import Noise
from migaki.simulate.rain import Rain
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.damage import DamageJob, damage_folder
from migaki.stages.evaluate import judge_into
from migaki.systems.deep_detail import DeepDetail
from migaki.systems.pix2pix import Pix2Pix

CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}


class Inverter(System):
    """Answers 1 - image, four px around each px at most; so every result is known beforehand."""

    tiling = Tiling(context=4, tile=32, blend=8)

    def __init__(self, scale: int = 1, mask: bool = False) -> None:
        super().__init__()
        self.scale, self.mask = scale, mask
        self.tiling = Tiling(context=4, tile=32, blend=8, scale=scale)

    open = tiny = update = None  # type: ignore[assignment]

    def predict(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        made = 1 - batch["image"]
        made = made.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
        return {"target": made} | ({"mask": made.mean(1)} if self.mask else {})


Inverter.__abstractmethods__ = frozenset()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Smooth pictures of different sizes, one with alpha, one grey."""
    random = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, mode, size in (("a.png", "RGB", (90, 71)), ("b.jpg", "RGB", (64, 100)), ("c.png", "RGBA", (70, 66))):
        coarse = Image.fromarray(random.integers(0, 255, (6, 6, len(mode)), dtype=np.uint8), mode)
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / name)
    return folder


@pytest.fixture
def run(tmp_path: Path, photos: Path) -> Path:
    """A deep detail network of few steps."""
    config, batch = DeepDetail.tiny()
    config = replace(config, steps=2, fold=2)

    class Same:
        def batch(self, step: int) -> dict[str, torch.Tensor]:
            return batch

    torch.manual_seed(0)
    fit(DeepDetail(config), Same(), Run(log_every=1, sample_every=0, **CPU), tmp_path / "run", quiet=True)
    return tmp_path / "run"


# ------------------------------------------------------------------------------------------------ pairs


def test_pairs_are_photographs_and_their_damage(photos: Path, tmp_path: Path) -> None:
    job = DamageJob(input=photos, out=tmp_path / "pairs", count=2, seed=5)
    damage_folder("rain", Rain(), job, quiet=True)
    inputs, targets = ImageFolder(tmp_path / "pairs" / "input"), ImageFolder(tmp_path / "pairs" / "target")
    assert inputs.names == targets.names == [f"{name}_{v:02d}.png" for name in "abc" for v in (0, 1)]
    assert inputs.rows[0]["density"] >= 15 and {"angle", "length", "width", "opacity"} <= set(inputs.rows[0])
    for name in inputs.names:
        clean = read_image(tmp_path / "pairs" / "target" / name).astype(int)
        added = read_image(tmp_path / "pairs" / "input" / name).astype(int) - clean
        assert clean.shape[0] == 3 and added.min() >= -1 and added.max() > 5  # rain is added light
    np.testing.assert_array_equal(read_image(tmp_path / "pairs" / "target" / "a_01.png"), read_image(photos / "a.png"))
    first, second = (read_image(tmp_path / "pairs" / "input" / f"a_{v:02d}.png") for v in (0, 1))
    assert not np.array_equal(first, second)


def test_an_interrupted_damage_goes_on_to_the_same_files(photos: Path, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    damage_folder("noise", Noise(), DamageJob(input=photos, out=tmp_path / "straight", count=2), quiet=True)
    calls = []

    def failing(self: Noise, image: torch.Tensor, draw: torch.Generator) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self, image, draw)

    original = Noise.damage_one
    monkeypatch.setattr(Noise, "damage_one", failing)
    job = DamageJob(input=photos, out=tmp_path / "torn", count=2)
    with pytest.raises(KeyboardInterrupt):
        damage_folder("noise", Noise(), job, quiet=True)
    damage_folder("noise", Noise(), job, quiet=True)
    for part in ("input", "target"):
        names = sorted(path.name for path in (tmp_path / "straight" / part).iterdir())
        assert names == sorted(path.name for path in (tmp_path / "torn" / part).iterdir())
        for name in names:
            assert (tmp_path / "straight" / part / name).read_bytes() == (tmp_path / "torn" / part / name).read_bytes()
    assert len(calls) == 6 + 4  # the first photograph was done and is not made again


def test_damages_that_change_the_shape(photos: Path, tmp_path: Path) -> None:
    damage_folder("blur", Blur(Blur.Config(scale=4)), DamageJob(input=photos, out=tmp_path / "small"), quiet=True)
    assert read_image(tmp_path / "small" / "input" / "a.png").shape == (3, 17, 22)
    assert read_image(tmp_path / "small" / "target" / "a.png").shape == (3, 68, 88)
    damage_folder("grey", Grey(), DamageJob(input=photos, out=tmp_path / "grey"), quiet=True)
    assert read_image(tmp_path / "grey" / "input" / "b.png").shape == (1, 100, 64)
    damage_folder("clouds", Clouds(), DamageJob(input=photos, out=tmp_path / "clouds"), quiet=True)
    clouds = ImageFolder(tmp_path / "clouds" / "input", size=(32, 32), channels=3)
    assert "mask" in clouds.files and "coverage" in clouds.rows[0]


def test_wrong_damage_jobs_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--count"):
        damage_folder("grey", Grey(), DamageJob(input=photos, out=tmp_path / "x", count=0), quiet=True)
    (tmp_path / "bands").mkdir()
    np.save(tmp_path / "bands" / "a.npy", np.zeros((6, 20, 20), np.float32))
    with pytest.raises(UserError, match="tiff or npy"):
        damage_folder("noise", Noise(), DamageJob(input=tmp_path / "bands", out=tmp_path / "y"), quiet=True)


# ------------------------------------------------------------------------------------------------ pixels


@pytest.mark.parametrize("shape", [(3, 20, 30), (3, 100, 75), (3, 33, 200)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_type_and_size_comes_back(shape: tuple[int, int, int], dtype: type[Any]) -> None:
    random = np.random.default_rng(1)
    top = 1 if dtype is np.float32 else np.iinfo(dtype).max
    pixels = (random.random(shape) * top).astype(dtype)
    work = restorer(Inverter(), None, "cpu", "fp32")
    result, mask = work(pixels)
    assert result.dtype == dtype and mask is None
    np.testing.assert_allclose(result, top - pixels, atol=1e-6 if dtype is np.float32 else 0.6)


def test_scale_mask_and_value_range() -> None:
    pixels = np.random.default_rng(2).integers(0, 10_000, (4, 50, 70)).astype(np.uint16)
    result, mask = restorer(Inverter(scale=2, mask=True), (0, 10_000), "cpu", "fp32")(pixels)
    wanted = (10_000 - pixels.astype(int)).repeat(2, 1).repeat(2, 2)
    assert mask is not None and mask.shape == (100, 140) and result.shape == (4, 100, 140)
    # Where tiles meet, neighbours of the enlarged picture agree exactly, so blending leaves the value.
    assert np.abs(result.astype(int) - wanted).max() <= 1
    sure = np.abs(wanted.mean(0) - 5_000) > 10
    np.testing.assert_array_equal(mask[sure], (wanted.mean(0) > 5_000)[sure])


def test_a_real_network_has_no_seams(run: Path) -> None:
    system = load_system(run)
    pixels = np.random.default_rng(3).random((3, 161, 133)).astype(np.float32)
    with torch.no_grad():
        whole = system.predict({"image": torch.from_numpy(pixels)[None]})["target"][0].numpy()
    small = replace(system.tiling, tile=48)
    type(system).tiling, kept = small, type(system).tiling  # type: ignore[misc,assignment]
    try:
        tiled, _ = restorer(system, None, "cpu", "fp32")(pixels)
    finally:
        type(system).tiling = kept  # type: ignore[misc]
    np.testing.assert_allclose(tiled, whole, atol=2e-5)


# ------------------------------------------------------------------------------------------------ files


def test_a_folder_of_mixed_pictures(run: Path, photos: Path, tmp_path: Path) -> None:
    Image.fromarray(np.arange(48 * 40, dtype=np.uint16).reshape(48, 40) * 30).save(photos / "deep.png")
    turned = Image.open(photos / "b.jpg")
    exif = turned.getexif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    turned.save(photos / "b.jpg", exif=exif)
    assert load_system(run).tiling is not None
    out = apply(run, ApplyJob(input=photos, out=tmp_path / "out", **CPU), quiet=True)
    assert sorted(path.name for path in out.glob("*.png")) == ["a.png", "b.png", "c.png", "deep.png"]
    assert read_image(out / "a.png").shape == (3, 71, 90)
    with Image.open(out / "b.png") as upright:
        assert upright.size == (100, 64)  # was turned by its EXIF
        assert upright.getexif().get(0x010F) == "a camera" and upright.getexif().get(0x0112, 1) == 1
    np.testing.assert_array_equal(read_image(out / "c.png")[3], read_image(photos / "c.png")[3])
    deep = read_image(out / "deep.png")
    assert deep.shape == (1, 48, 40) and deep.dtype == np.uint16
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    apply(run, ApplyJob(input=photos, out=out, **CPU), quiet=True)
    assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir()}


def test_one_picture_and_what_is_refused(run: Path, photos: Path, tmp_path: Path) -> None:
    out = apply(run, ApplyJob(input=photos / "a.png", out=tmp_path / "one", file_format="jpg", **CPU), quiet=True)
    assert read_image(out / "a.jpg").shape == (3, 71, 90)
    with pytest.raises(UserError, match="no alpha"):
        apply(run, ApplyJob(input=photos / "c.png", out=tmp_path / "two", file_format="jpg", **CPU), quiet=True)
    (tmp_path / "text.txt").write_text("no picture")
    with pytest.raises(UserError, match="neither a picture nor a video"):
        apply(run, ApplyJob(input=tmp_path / "text.txt", out=tmp_path / "three", **CPU), quiet=True)


def test_sixteen_bit_colour_survives(run: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = np.random.default_rng(4).integers(0, 65536, (40, 30, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "x.png"), pixels[..., ::-1])
    out = apply(run, ApplyJob(input=tmp_path / "x.png", out=tmp_path / "out", **CPU), quiet=True)
    expected, _ = restorer(load_system(run), None, "cpu", "fp32")(
        np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    found = cv2.imread(str(out / "x.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, expected.transpose(1, 2, 0))


def test_multispectral_tiff_keeps_its_place_on_earth(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    config, batch = Pix2Pix.tiny()
    torch.manual_seed(0)

    class Same:
        def batch(self, step: int) -> dict[str, torch.Tensor]:
            return batch

    fit(Pix2Pix(replace(config, steps=1)), Same(), Run(log_every=1, sample_every=0, **CPU), tmp_path / "run",
        quiet=True)
    (tmp_path / "scenes").mkdir()
    bands = np.random.default_rng(5).integers(0, 255, (4, 60, 50)).astype(np.uint8)
    tags = [(33550, 12, 3, (30.0, 30.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 3e5, 9e6, 0.0), True)]
    tifffile.imwrite(tmp_path / "scenes" / "s.tif", bands, photometric="minisblack", planarconfig="separate",
                     extratags=tags, metadata=None)
    np.save(tmp_path / "scenes" / "t.npy", bands.astype(np.float32) / 255)
    out = apply(tmp_path / "run", ApplyJob(input=tmp_path / "scenes", out=tmp_path / "out", **CPU), quiet=True)
    with tifffile.TiffFile(out / "s.tif") as tiff:
        assert tuple(tiff.pages[0].tags[33550].value) == (30.0, 30.0, 0.0)
        assert tuple(tiff.pages[0].tags[33922].value) == (0.0, 0.0, 0.0, 3e5, 9e6, 0.0)
    assert read_image(out / "s.tif").shape == (3, 60, 50) and read_image(out / "s.tif").dtype == np.uint8
    floats = np.load(out / "t.npy")
    assert floats.dtype == np.float32
    assert np.abs(floats - read_image(out / "s.tif") / 255).max() < 0.51 / 255
    assert read_image(out / "masks" / "s.png").shape == (1, 60, 50)


def test_a_video_frame_by_frame(run: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "film.mp4"), "w") as sink:
        stream = sink.add_stream("libx264", rate=5, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for level in (40, 120, 200):
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 48, 3), level, np.uint8), format="rgb24")))
        sink.mux(stream.encode(None))
    film = apply(run, ApplyJob(input=tmp_path / "film.mp4", out=tmp_path / "out", **CPU), quiet=True)
    work = restorer(load_system(run), None, "cpu", "fp32")
    with av.open(str(film)) as source:
        frames = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
        assert source.streams.video[0].average_rate == 5
    assert len(frames) == 3
    for frame, level in zip(frames, (40, 120, 200), strict=True):
        expected = work(np.full((3, 32, 48), level, np.uint8))[0]
        assert abs(float(frame.mean()) - float(expected.mean())) < 6
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    with pytest.raises(UserError, match="cannot be read"):
        apply(run, ApplyJob(input=tmp_path / "broken.mp4", out=tmp_path / "out", **CPU), quiet=True)


# ------------------------------------------------------------------------------------------------ figures


def test_pairs_are_measured_like_saved_files(run: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "c.png").unlink()
    damage_folder("noise", Noise(), DamageJob(input=photos, out=tmp_path / "pairs", count=2), quiet=True)
    out, findings = judge_into(Pairs(Pairs.Config(data=tmp_path / "pairs", **CPU)), [run], command="migaki x",
                               quiet=True)
    figures = findings.figures
    assert findings.baseline["psnr"] == figures["psnr_before"] and findings.baseline_name == "the input itself"
    restored = apply(run, ApplyJob(input=tmp_path / "pairs" / "input", out=tmp_path / "out", **CPU), quiet=True)
    values = []
    for name in ("a_00", "a_01", "b_00", "b_01"):
        pair = [torch.from_numpy(read_image(folder / f"{name}.png"))[None].double()
                for folder in (restored, tmp_path / "pairs" / "target")]
        values.append(float(psnr(*pair, peak=255)))
    assert figures["psnr"] == pytest.approx(np.mean(values), abs=1e-6) and figures["num_images"] == 4
    assert {"ssim_y", "psnr_y_before", "spectral_angle"} <= set(figures)
    record = json.loads((out / "evaluation.json").read_text())
    assert record["figures"]["psnr"] == figures["psnr"]
    assert len((out / "images.csv").read_text().splitlines()) == 5
    html = (out / "evaluation.html").read_text()
    assert html.count('class="pair"') == 4 and (out / "sheet.png").exists() and "migaki x" in html
    _, fewer = judge_into(Pairs(Pairs.Config(data=tmp_path / "pairs", exclude=("a_00", "b_01"), **CPU)), [run],
                          tmp_path / "f", quiet=True)
    assert fewer.figures["psnr"] == pytest.approx(np.mean(values[1:3]), abs=1e-6)


def test_pairs_that_do_not_fit_are_reported(run: Path, photos: Path, tmp_path: Path) -> None:
    damage_folder("noise", Noise(), DamageJob(input=photos, out=tmp_path / "pairs"), quiet=True)
    with pytest.raises(UserError, match="no pair has that name"):
        judge_into(Pairs(Pairs.Config(data=tmp_path / "pairs", exclude=("z",), **CPU)), [run], quiet=True)
    Image.new("RGB", (30, 30)).save(tmp_path / "pairs" / "target" / "a.png")
    with pytest.raises(UserError, match="targets of that size"):
        judge_into(Pairs(Pairs.Config(data=tmp_path / "pairs", **CPU)), [run], quiet=True)
    Image.new("RGB", (30, 30)).save(tmp_path / "pairs" / "input" / "lonely.png")
    (tmp_path / "pairs" / "input" / "metadata.jsonl").unlink()
    with pytest.raises(UserError, match="one name"):
        judge_into(Pairs(Pairs.Config(data=tmp_path / "pairs", **CPU)), [run], quiet=True)


def test_the_commands_in_order(run: Path, photos: Path, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    pairs, out = str(tmp_path / "pairs"), str(tmp_path / "out")
    words = ["--input", str(photos), "--out", pairs, "--count", "2", "--density", "5", "9"]
    assert main(["simulate", "rain", *words]) == 0
    assert ImageFolder(tmp_path / "pairs" / "input").rows[0]["density"] <= 9
    device = ["--device", "cpu", "--precision", "fp32"]
    assert main(["apply", str(run), "--input", pairs + "/input", "--out", out, *device]) == 0
    assert main(["evaluate", str(run), "--data", pairs, "--exclude", "a_00", "b_00", *device]) == 0
    assert "psnr_y " in capsys.readouterr().out and (run / "evaluation" / "evaluation.html").exists()
    assert main(["simulate", "--help"]) == 0
    assert "clouds" in capsys.readouterr().out
    assert main(["apply", str(run), "--input", str(tmp_path / "nowhere"), "--out", out]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
