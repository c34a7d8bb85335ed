"""Recognition of textures from folder to figures: poolings, scales, a user's weights, rows that are kept, mistakes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.trained import load_system
from migaki.nets.published import PublishedNet
from migaki.ops.pooling import mean_sd
from migaki.stages.evaluate import EvaluateJob, evaluate
from migaki.stages.train import train
from migaki.systems.texture import Texture

RUN = Run(device="cpu", precision="fp32", log_every=20, sample_every=0)


def write_stripes(folder: Path, count: int = 12, seed: int = 0) -> Path:
    """Stripes of three directions, in any colours."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :40]
    for name, place in (("across", x), ("down", y), ("slanted", x + y)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            wave = np.sin(2 * np.pi * (place + draw.uniform(0, 9)) / draw.uniform(6, 10))[..., None]
            pixels = 127 + wave * draw.uniform(40, 110, 3) + draw.normal(0, 10, (40, 40, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("set") / "stripes")


def trained(data: Path, out: Path, pretrained: Path | None = None, **more: Any) -> Texture:
    config = Texture.Config(**{"steps": 60, "batch_size": 16, "layer": "size_7", "pooling": "mean_sd", **more})
    train(Texture, Texture.Data(data=(data,), pretrained=pretrained), config, RUN, out, quiet=True)
    system = load_system(out)
    assert isinstance(system, Texture)
    return system


@pytest.mark.parametrize("more", [{}, {"pooling": "gram", "scales": (1.0, 0.5)},
                                  {"network": "gradients", "layer": "cell_4", "pooling": "fisher", "gaussians": 3,
                                   "parts": 8}])
def test_it_learns_and_judges_another_set(more: dict[str, Any], stripes: Path, tmp_path: Path) -> None:
    system = trained(stripes, tmp_path / "run", **more)
    other = write_stripes(tmp_path / "other", 6, seed=1)
    figures = evaluate(tmp_path / "run", EvaluateJob(data=other, device="cpu", precision="fp32"), quiet=True)
    assert figures["accuracy"] > 0.8 and figures["classes"] == ["across", "down", "slanted"]
    assert len(system.rows(torch.rand(2, 3, 40, 40))) == 2


def test_a_row_is_that_of_the_pooling(stripes: Path, tmp_path: Path) -> None:
    system = trained(stripes, tmp_path / "run", steps=2, scales=(1.0, 0.5))
    images = torch.rand(3, 3, 40, 40)
    small = torch.nn.functional.interpolate(images, scale_factor=0.5, mode="bilinear", antialias=True)
    wanted = torch.cat([mean_sd(system.net.maps(x, "size_7")["size_7"]) for x in (images, small)], 1)
    assert torch.equal(system.rows(images), wanted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(system.rows(images), wanted)


def test_rows_are_computed_once_for_each_picture(stripes: Path, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    rows = Texture.rows

    def counted(self: Texture, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return rows(self, images)

    monkeypatch.setattr(Texture, "rows", counted)
    trained(stripes, tmp_path / "run")
    assert sum(seen) == 36


def test_the_run_holds_a_users_weights(stripes: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = PublishedNet("squeezenet1_1", with_head=False)
    names = net.names_in_file()
    safetensors.torch.save_file({names[name]: value for name, value in net.state_dict().items()},
                                tmp_path / "w.safetensors")
    system = trained(stripes, tmp_path / "run", tmp_path / "w.safetensors", layer="fire2", steps=2)
    (tmp_path / "w.safetensors").unlink()
    images = torch.rand(1, 3, 40, 40)
    assert system.config.network == "squeezenet1_1"
    wanted = dict(net.backbone.outputs(images))["fire2"]
    again = load_system(tmp_path / "run")
    assert isinstance(again, Texture) and torch.equal(again.net.maps(images, "fire2")["fire2"], wanted)


@pytest.mark.parametrize("more, message", [
    ({"layer": "fire2"}, "random: has no layer 'fire2'"), ({"network": "alexnet"}, "alexnet: no such file or folder"),
    ({"pooling": "fisher", "parts": 99}, "keeps 99 axes of layers of equal width"),
    ({"pooling": "fisher", "gaussians": 0}, "gaussians, parts and scales are above 0"),
    ({"scales": (0.0,)}, "gaussians, parts and scales are above 0"),
    ({"scales": (0.1,)}, "pictures of 4x4 px are too small"),
])
def test_options_that_do_not_fit(more: dict[str, Any], message: str, stripes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        trained(stripes, tmp_path / "run", **more)


def test_a_set_of_one_class_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lone = write_stripes(tmp_path / "lone", 3)
    (lone / "metadata.jsonl").write_text("".join(
        json.dumps({"file_name": f"down/{number}.png", "label": "down"}) + "\n" for number in range(3)))
    assert main(["train", "texture", "--data", str(lone), "--out", str(tmp_path / "run")]) == 2
    assert "all pictures are of one class, 'down': give at least two" in capsys.readouterr().err


def test_the_page_shows_classes_with_recall_precision_and_pictures(stripes: Path, tmp_path: Path) -> None:
    trained(stripes, tmp_path / "run")
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(stripes), "--out", str(tmp_path / "out"),
                 "--device", "cpu"]) == 0
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "precision, %" in page and "recall, %" in page and page.count("data:image/png") == 2


def test_grey_pictures_are_shown_in_three_channels() -> None:
    config, batch = Texture.tiny()
    grey = Texture(replace(config, channels=1)).eval()
    assert grey.predict({"image": batch["image"][:, :1]})["logits"].shape == (4, 3)
    with pytest.raises(UserError, match="images have 2 channels"):
        Texture(replace(config, channels=2))
