"""The gaze model's labels: they turn with the picture and are mirrored with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from migaki.ops import augment
from migaki.ops import gaze as directions
from migaki.systems import gaze as module
from migaki.systems.gaze import Gaze, photograph


def blobs(places: Tensor, height: int, width: int) -> Tensor:
    """Pictures (B, 1, H, W) of a soft dot at each place (B, 2) px."""
    x = torch.arange(width) - places[:, 0].view(-1, 1, 1)
    y = torch.arange(height).view(-1, 1) - places[:, 1].view(-1, 1, 1)
    return torch.exp(-(x.square() + y.square()) / 18)[:, None]


def centroids(pictures: Tensor) -> Tensor:
    """Where the dots (B, 1, H, W) are: (B, 2) px."""
    weight = pictures[:, 0] * (pictures[:, 0] > 0.2)
    total = weight.sum((1, 2))
    x, y = torch.arange(pictures.shape[3]), torch.arange(pictures.shape[2]).view(-1, 1)
    return torch.stack([(weight * x).sum((1, 2)) / total, (weight * y).sum((1, 2)) / total], 1)


def angle_of(vectors: Tensor) -> Tensor:
    return torch.atan2(vectors[:, 1], vectors[:, 0])


def test_the_angle_that_is_reported_is_the_one_by_which_pictures_turn() -> None:
    middle, arm = torch.tensor([63.5, 47.5]), torch.tensor([[30.0, 0.0]]).expand(40, 2)
    turned, angle = augment.affine_and_turn(blobs(middle + arm, 96, 128), 0.0, 0.0, 0.6)
    found = angle_of(centroids(turned) - middle)
    assert angle.abs().max() > 0.4
    torch.testing.assert_close(found, angle, atol=5e-3, rtol=0)


def test_a_rolled_gaze_is_the_turned_vector() -> None:
    angles, roll = (torch.rand(50, 2, dtype=torch.float64) - 0.5) * 1.4, torch.rand(50, dtype=torch.float64) - 0.5
    before, after = directions.to_vector(angles), directions.to_vector(directions.roll(angles, roll))
    torch.testing.assert_close(after[:, 2], before[:, 2])
    torch.testing.assert_close(after[:, :2].norm(dim=1), before[:, :2].norm(dim=1))
    gained = angle_of(after) - angle_of(before)
    torch.testing.assert_close(torch.cos(gained), roll.cos())
    torch.testing.assert_close(torch.sin(gained), roll.sin())
    torch.testing.assert_close(directions.roll(directions.roll(angles, roll), -roll), angles)


def test_the_label_turns_with_the_patch() -> None:
    """A dot in the middle and one where the gaze points: after the augmentation the label points at it as before."""
    truth = (torch.rand(64, 2, generator=torch.Generator().manual_seed(1)) - 0.5) * 1.2
    aim = torch.nn.functional.normalize(directions.to_vector(truth)[:, :2], dim=1)
    middle = torch.tensor([63.5, 47.5]).expand(64, 2)
    patches = torch.cat([blobs(middle, 96, 128), blobs(middle + 28 * aim, 96, 128)], dim=1)
    seen, label = photograph(patches, truth, 0.0)
    arrow = centroids(seen[:, 1:]) - centroids(seen[:, :1])
    moved = directions.to_vector(label)[:, :2]
    away = angle_of(arrow) - angle_of(moved)
    assert torch.atan2(away.sin(), away.cos()).abs().max() < 0.012
    degrees = torch.rad2deg(directions.angle_between(directions.to_vector(label), directions.to_vector(truth)))
    assert degrees.max() > 0.5  # labels that stay would be wrong by so much


def test_training_learns_the_turned_label(monkeypatch: pytest.MonkeyPatch) -> None:
    config, batch = Gaze.tiny()
    torch.manual_seed(0)
    system = Gaze(replace(config, augment=True))
    seen: list[Tensor] = []

    def turned(images: Tensor, truth: Tensor, light: float) -> tuple[Tensor, Tensor]:
        return images, truth + 0.3

    monkeypatch.setattr(module, "photograph", turned)
    monkeypatch.setattr(module, "descend", lambda loss, *_: seen.append(loss.detach()) or torch.zeros(()))
    system.eval().update(batch, 0)
    out = system._output(batch["image"])
    expected = (out - (batch["gaze"] + 0.3) / 0.12).square().sum(1).add(1e-4).sqrt().mean()
    torch.testing.assert_close(seen[0], expected.detach())


@pytest.mark.parametrize("side", [0, 1])
def test_a_mirrored_side_is_flipped_with_its_label_in_training_and_back_in_predictions(side: int) -> None:
    config, batch = Gaze.tiny()
    torch.manual_seed(0)
    system = Gaze(replace(config, mirror_side=side, augment=False)).eval()
    system.scale[:] = torch.tensor([[1.5, 0.7], [0.8, 1.2], [1.0, 1.0]])
    system.offset[:] = torch.tensor([[0.1, -0.2], [0.05, 0.3], [0.0, 0.0]])
    sides = torch.tensor([side, 1 - side, side, 1 - side])
    whole = batch | {"side": sides}
    flip = sides == side
    assert torch.equal(system._oriented(whole)[flip], batch["image"][flip].flip(3))
    assert torch.equal(system._oriented(whole)[~flip], batch["image"][~flip])
    torch.testing.assert_close(system._truth(whole)[flip], batch["gaze"][flip] * torch.tensor([1.0, -1.0]))
    assert torch.equal(system._truth(whole)[~flip], batch["gaze"][~flip])
    # A patch and its mirror image, told as the two sides, are read as mirror images by a model without statistics.
    system.scale[:], system.offset[:] = 1, 0
    read = system.predict(whole)["gaze"]
    other = system.predict({"image": batch["image"].flip(3), "side": 1 - sides})["gaze"]
    torch.testing.assert_close(read, other * torch.tensor([1.0, -1.0]))
