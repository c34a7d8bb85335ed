"""psi and the self-regularisation term, against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from migaki.losses.self_regularisation import FEATURE_MAPS, Psi, lowpass, self_regularisation

ONE_MAP = sorted(set(FEATURE_MAPS) - {"lowpass"})


def differences(images: np.ndarray) -> np.ndarray:
    batch, channels, height, width = images.shape
    out = np.zeros((batch, 2 * channels, height - 1, width - 1))
    for c in range(channels):
        for y in range(height - 1):
            for x in range(width - 1):
                out[:, c, y, x] = images[:, c, y, x + 1] - images[:, c, y, x]
                out[:, channels + c, y, x] = images[:, c, y + 1, x] - images[:, c, y, x]
    return out


def by_hand(psi: str, images: np.ndarray) -> np.ndarray:
    if psi == "identity":
        return images
    if psi == "channel_mean":
        return np.stack([sum(image) / images.shape[1] for image in images])[:, None]
    return differences(images)


def halved(images: np.ndarray) -> np.ndarray:
    """Weights 1 2 1 across and down, the border repeated, then means of cells of 2x2; cut cells hold what they have."""
    height, width = images.shape[2:]
    smooth = np.zeros_like(images)
    for y in range(height):
        for x in range(width):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    weight = (2 - abs(dy)) * (2 - abs(dx)) / 16
                    smooth[..., y, x] += weight * images[..., min(max(y + dy, 0), height - 1),
                                                         min(max(x + dx, 0), width - 1)]
    return np.stack([np.stack([smooth[..., y : y + 2, x : x + 2].mean((2, 3)) for x in range(0, width, 2)], -1)
                     for y in range(0, height, 2)], -2)


@pytest.mark.parametrize("psi", ONE_MAP)
@pytest.mark.parametrize("channels", [1, 3])
def test_psi_against_numpy(psi: Psi, channels: int) -> None:
    random = np.random.default_rng(0)
    refined, synthetic = (random.uniform(-1, 1, (2, channels, 5, 7)) for _ in range(2))
    made = FEATURE_MAPS[psi](torch.from_numpy(refined))
    assert isinstance(made, torch.Tensor)
    np.testing.assert_allclose(made.numpy(), by_hand(psi, refined), atol=1e-12)
    found = self_regularisation(torch.from_numpy(refined), torch.from_numpy(synthetic), FEATURE_MAPS[psi])
    expected = np.abs(by_hand(psi, refined) - by_hand(psi, synthetic)).mean()
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", [(16, 24), (11, 14), (8, 8)])
def test_lowpass_against_numpy(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    refined, synthetic = (random.uniform(-1, 1, (2, 3, *size)) for _ in range(2))
    wanted, terms = [], []
    level, other = refined, synthetic
    for _ in range(3):
        level, other = halved(level), halved(other)
        if min(level.shape[2:]) < 2:
            break
        wanted += [level, differences(level)]
        terms += [np.abs(level - other).mean(), np.abs(differences(level) - differences(other)).mean()]
    found = lowpass(torch.from_numpy(refined))
    assert len(found) == len(wanted) == (6 if size != (8, 8) else 4)
    for one, twin in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.numpy(), twin, atol=1e-12)
    term = self_regularisation(torch.from_numpy(refined), torch.from_numpy(synthetic), lowpass)
    assert term.item() == pytest.approx(np.mean(terms), rel=1e-5)  # each map counts alike, whatever its size


def test_lowpass_lets_grain_and_sharpness_go_and_holds_places() -> None:
    torch.manual_seed(0)
    square = torch.full((1, 1, 48, 48), -0.5)
    square[..., 12:36, 12:36] = 0.5
    grain = square + 0.1 * torch.randn_like(square)
    y, x = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    board = square + 0.1 * torch.cos(math.pi * (x + y))
    soft = torch.nn.functional.avg_pool2d(square, 3, 1, 1, count_include_pad=False)
    moved = square.roll(2, 3)
    holds = {psi: [self_regularisation(other, square, FEATURE_MAPS[psi]).item()
                   for other in (moved, grain, board, soft)] for psi in ("identity", "lowpass")}
    ratio = {psi: [away / found[0] for away in found[1:]] for psi, found in holds.items()}
    assert ratio["identity"][0] > 0.9 and ratio["lowpass"][0] < 0.7  # grain against a square that moves by 2 px
    assert ratio["lowpass"][1] < 0.02 and ratio["lowpass"][2] < 0.3 and holds["lowpass"][0] > 0.02


def test_what_each_psi_leaves_free() -> None:
    image = torch.rand(2, 3, 6, 6) * 0.5
    brighter, recoloured = image + 0.3, image + torch.tensor([0.2, -0.1, -0.1]).view(1, 3, 1, 1)
    term = {psi: [self_regularisation(other, image, FEATURE_MAPS[psi]).item() for other in (brighter, recoloured)]
            for psi in FEATURE_MAPS}
    assert term["identity"] == pytest.approx([0.3, 0.4 / 3], abs=1e-6)
    assert term["channel_mean"] == pytest.approx([0.3, 0.0], abs=1e-6)
    assert term["gradients"] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert term["lowpass"] == pytest.approx([0.15, 0.2 / 3], abs=1e-6)  # half of its maps are differences


def test_lowpass_is_exact_under_bf16() -> None:
    images = torch.rand(2, 3, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = lowpass(images)
    assert all(map(torch.equal, found, lowpass(images)))


def test_zero_only_for_the_same_image_and_blind_to_sign() -> None:
    image, other = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4)
    assert self_regularisation(image, image).item() == 0
    assert self_regularisation(image, other) == self_regularisation(other, image) > 0
