"""Deep3D: the mixture of shifted copies against a naive twin, its metric, and that it learns a shift."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.errors import UserError
from migaki.metrics.right_view import RightView
from migaki.ops.geometry.views import shifted_mixture
from migaki.systems.deep3d import Deep3d


def test_the_mixture_is_that_of_the_paper() -> None:
    draw = torch.Generator().manual_seed(0)
    left = torch.rand(2, 3, 2, 7, generator=draw)
    shares = torch.rand(2, 4, 2, 7, generator=draw).softmax(1)
    for first in (-2, 0, 3, -6):
        expected = torch.zeros_like(left)
        for x in range(7):
            for k in range(4):
                expected[..., x] += shares[:, k, None, :, x] * left[..., min(max(x + first + k, 0), 6)]
        torch.testing.assert_close(shifted_mixture(left, shares, first), expected)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(shifted_mixture(left, shares, first), shifted_mixture(left.clone(), shares, first))


def test_the_metric_knows_the_best_shift() -> None:
    left = torch.rand(2, 3, 4, 12, generator=torch.Generator().manual_seed(1))
    right = left[..., (torch.arange(12) + 2).clamp_max(11)]
    metric = RightView(range(0, 4))
    metric.update({"right": right + 1 / 255}, {"image": left, "right": right})
    found, base = metric.compute(), metric.baseline()
    assert found["mae"] == pytest.approx(1, abs=1e-4) and found["psnr"] == pytest.approx(48.13, abs=0.01)
    assert base.figures["mae"] == pytest.approx(0, abs=1e-6) and base.figures["mae_copy"] > 20
    assert base.name == "the left view, shifted by 2 px"
    with pytest.raises(ValueError, match="right views must be"):
        metric.update({"right": right[:1]}, {"right": right})


def test_a_shift_is_learned_from_a_folder(tmp_path: Path) -> None:
    rows, draw = [], np.random.default_rng(0)
    for number in range(4):
        wide = draw.integers(0, 255, (16, 26, 3), np.uint8)
        Image.fromarray(wide[:, :24]).save(tmp_path / f"{number}.png")
        Image.fromarray(wide[:, 2:]).save(tmp_path / f"right{number}.png")
        rows.append({"file_name": f"{number}.png", "right_file_name": f"right{number}.png"})
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = replace(Deep3d.tiny()[0], channels=0, height=0, width=0, steps=40, learning_rate=0.02, mirror=False)
    config, source = Deep3d.open(Deep3d.Data(data=tmp_path), asked, seed=0)
    assert (config.channels, config.height, config.width) == (3, 16, 24)
    torch.manual_seed(0)
    system = Deep3d(config).train()
    for step in range(config.steps):
        system.update(source.batch(step), step)
    batch = source.batch(0)
    with torch.no_grad():
        made = system.eval().predict(batch)
    assert (made["right"] - batch["right"]).abs().mean() < 0.3 * (batch["image"] - batch["right"]).abs().mean()
    assert abs(float(made["parallax"].median()) - 2) < 0.3


def test_mirrored_pairs_exchange_their_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirrored right view is a left one: both are given to the loss in exchanged roles."""
    config, batch = Deep3d.tiny()
    system, seen = Deep3d(config), []
    monkeypatch.setattr(torch, "rand", lambda *size, **more: torch.zeros(size))
    monkeypatch.setattr(system, "_shares", lambda left: (seen.append(left), torch.full((4, 4, 16, 24), 0.25))[1])
    monkeypatch.setattr("migaki.systems.deep3d.descend", lambda loss, *rest: torch.zeros(()))
    system.update(batch, 0)
    assert torch.equal(seen[0], batch["right"].flip(3))


@pytest.mark.parametrize("more", [{"disparities": 1}, {"first": 999}, {"levels": 0}, {"height": 0}])
def test_configurations_that_do_not_fit(more: dict[str, int]) -> None:
    with pytest.raises(UserError, match="deep3d: "):
        Deep3d(replace(Deep3d.tiny()[0], **more))  # type: ignore[arg-type]
