"""The copy detector: mirrored copies are found, where thumbnails fail; its views and pooling."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import message

from migaki.core.fit import Run
from migaki.judges.copies import Copies
from migaki.nets.camera import jpeg_tables
from migaki.nets.descriptor import generalised_mean
from migaki.nets.encoder_backbone import EncoderBackbone, encoder_of
from migaki.ops.pair_views import PairViews, altered_views
from migaki.stages.evaluate import run_judge
from migaki.stages.train import train
from migaki.systems.copy_detector import CopyDetector
from migaki.systems.simclr import SimCLR

QUICK = Run(device="cpu", precision="fp32", sample_every=0)


def pictures(count: int, seed: int) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8)).resize((24, 24), Image.Resampling.BICUBIC)
            for _ in range(count)]


def write(folder: Path, made: list[Image.Image], rows: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    for number, picture in enumerate(made):
        picture.save(folder / f"{number}.png")
    (folder / "metadata.jsonl").write_text("".join(
        json.dumps({"file_name": f"{number}.png", **row}) + "\n" for number, row in enumerate(rows)))
    return folder


def test_it_finds_what_thumbnails_do_not(tmp_path: Path) -> None:
    known, decoys = pictures(20, 1), pictures(6, 2)
    altered = [picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for picture in known]
    references = write(tmp_path / "references", known, [{}] * 20)
    queries = write(tmp_path / "queries", [*altered, *decoys], [
        {"reference": f"{k}.png", "operators": ["mirrored"]} for k in range(20)]
        + [{"reference": None}] * 6)
    others = write(tmp_path / "others", pictures(128, 3), [{}] * 128)
    config = CopyDetector.Config(steps=150, batch_size=32, features=8, size=32, learning_rate=5e-3, entropy=0.3,
                                 temperature=0.1, crop=(0.7, 1.0), views="usual", mixing=0.0)
    train(CopyDetector, CopyDetector.Data(data=(others,)), config, QUICK, tmp_path / "run", quiet=True)
    found = run_judge(Copies(Copies.Config(references=references, data=queries, background=others, device="cpu")),
                      [tmp_path / "run"], quiet=True)
    free = found.figures["without_training"]
    assert found.figures["micro_ap"] > free["thumbnails of 8 px"]["micro_ap"] + 0.15
    assert found.figures["micro_ap"] > free["the network untrained"]["micro_ap"] + 0.15
    # A mirrored picture has the colours that it had: what needs no training finds all of them, and the page says so.
    assert found.baseline_name == "colour histogram" and found.baseline["micro_ap"] == pytest.approx(1)
    assert found.figures["micro_ap_mirrored"] == pytest.approx(found.figures["micro_ap"])  # all copies are mirrored


def test_each_alteration_happens_about_as_often_as_it_says() -> None:
    nothing = PairViews(crop=(1.0, 1.0), mirrored=0.0, jitter=0.0, grey=0.0)
    torch.manual_seed(0)
    images = torch.rand(300, 3, 24, 24)
    seen = altered_views(images, nothing, jpeg_tables())
    assert seen.shape == images.shape and seen.min() >= 0 and seen.max() <= 1 and seen.isfinite().all()
    covered = ((seen - 0.5).abs() < 1e-6).all(1).flatten(1).sum(1) > 4
    assert 0.15 < covered.float().mean() < 0.4
    torch.manual_seed(0)
    torch.rand(300, 3, 24, 24)
    torch.testing.assert_close(altered_views(images, nothing, jpeg_tables()), seen)


def test_the_generalised_mean_lies_between_mean_and_maximum() -> None:
    maps = torch.rand(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) + 0.1
    torch.testing.assert_close(generalised_mean(maps, torch.tensor([1.0])), maps.mean((2, 3)))
    torch.testing.assert_close(generalised_mean(maps, torch.tensor([60.0])), maps.amax((2, 3)), rtol=0.1, atol=0)
    cubed = (maps**3).sum((2, 3)) / 30
    torch.testing.assert_close(generalised_mean(maps, torch.tensor([3.0])), cubed ** (1 / 3))


@pytest.mark.parametrize(("options", "word"), [
    ({"temperature": 0.0}, "--temperature"), ({"crop": (0.9, 0.1)}, "--crop"), ({"height": 8}, "at least 16 px"),
    ({"entropy": -1.0}, "--entropy"), ({"size": 0}, "--size 0"), ({"mixing": 3.0}, "--mixing 3")])
def test_options_that_make_no_sense(options: dict[str, Any], word: str) -> None:
    assert word in message(lambda: CopyDetector(CopyDetector.Config(**{
        "channels": 3, "height": 32, "width": 32, **options})))


def test_fewer_pictures_than_a_batch(tmp_path: Path) -> None:
    few = write(tmp_path / "few", pictures(5, 0), [{}] * 5)
    data, config = CopyDetector.Data(data=(few,)), CopyDetector.Config()
    assert "--batch-size" in message(lambda: CopyDetector.open(data, config, 0))


def test_mixed_views_match_both_of_their_pictures_and_neighbours_say_nothing() -> None:
    config, _ = CopyDetector.tiny()
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    plain = CopyDetector(replace(config, mixing=0.0))
    plain.wide = replace(plain.wide, onto=0.0, patched=0.0)
    views, match, ignored = plain._pairs(images)
    same = torch.arange(8).repeat(2)
    torch.testing.assert_close(match, (same[:, None] == same) & ~torch.eye(16, dtype=torch.bool))
    assert views.shape == (16, 3, 16, 16) and not ignored.any()
    mixing = CopyDetector(replace(config, mixing=1.0))
    mixing.wide = plain.wide
    _, match, ignored = mixing._pairs(images)  # every view shows i and i - 4
    assert match[1].nonzero()[:, 0].tolist() == [5, 9, 13] and not ignored.any()
    plain.wide = replace(plain.wide, patched=1.0)  # every view has the picture before it on it
    _, match, ignored = plain._pairs(images)
    assert match[3].nonzero()[:, 0].tolist() == [11] and ignored[3].nonzero()[:, 0].tolist() == [2, 4, 10, 12]


def test_a_run_of_an_encoder_is_where_training_starts(tmp_path: Path) -> None:
    """The weights of the run are those of the detector before its first update, and frozen ones stay them."""
    folder = write(tmp_path / "set", pictures(8, 0), [{}] * 8)
    encoder = SimCLR.Config(steps=1, batch_size=4, features=8, inside=8, projected=6)
    train(SimCLR, SimCLR.Data(data=(folder,)), encoder, QUICK, tmp_path / "simclr", quiet=True)
    wanted = {name: value for name, value in encoder_of(tmp_path / "simclr").state_dict().items() if "num_" not in name}
    data = CopyDetector.Data(data=(folder,), pretrained=tmp_path / "simclr")
    config, source = CopyDetector.open(data, CopyDetector.Config(steps=2, batch_size=4, size=8, backbone_rate=0.0), 0)
    torch.manual_seed(1)
    system = CopyDetector(config)
    system.prepare(data)
    for step in range(2):
        backbone = system.train().net.backbone
        assert isinstance(backbone, EncoderBackbone)
        now = backbone.encoder.state_dict()
        assert all(torch.equal(now[name], value) for name, value in wanted.items())
        system.update(source.batch(step), step)
