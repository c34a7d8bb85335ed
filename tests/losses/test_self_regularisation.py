"""psi and the self-regularisation term, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.losses.self_regularisation import FEATURE_MAPS, Psi, self_regularisation


def by_hand(psi: str, images: np.ndarray) -> np.ndarray:
    batch, channels, height, width = images.shape
    if psi == "identity":
        return images
    if psi == "channel_mean":
        return np.stack([sum(image) / channels for image in images])[:, None]
    out = np.zeros((batch, 2 * channels, height - 1, width - 1))
    for c in range(channels):
        for y in range(height - 1):
            for x in range(width - 1):
                out[:, c, y, x] = images[:, c, y, x + 1] - images[:, c, y, x]
                out[:, channels + c, y, x] = images[:, c, y + 1, x] - images[:, c, y, x]
    return out


@pytest.mark.parametrize("psi", FEATURE_MAPS)
@pytest.mark.parametrize("channels", [1, 3])
def test_psi_against_numpy(psi: Psi, channels: int) -> None:
    random = np.random.default_rng(0)
    refined, synthetic = (random.uniform(-1, 1, (2, channels, 5, 7)) for _ in range(2))
    np.testing.assert_allclose(FEATURE_MAPS[psi](torch.from_numpy(refined)).numpy(), by_hand(psi, refined), atol=1e-12)
    found = self_regularisation(torch.from_numpy(refined), torch.from_numpy(synthetic), FEATURE_MAPS[psi])
    expected = np.abs(by_hand(psi, refined) - by_hand(psi, synthetic)).mean()
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_what_each_psi_leaves_free() -> None:
    image = torch.rand(2, 3, 6, 6) * 0.5
    brighter, recoloured = image + 0.3, image + torch.tensor([0.2, -0.1, -0.1]).view(1, 3, 1, 1)
    term = {psi: [self_regularisation(other, image, FEATURE_MAPS[psi]).item() for other in (brighter, recoloured)]
            for psi in FEATURE_MAPS}
    assert term["identity"] == pytest.approx([0.3, 0.4 / 3], abs=1e-6)
    assert term["channel_mean"] == pytest.approx([0.3, 0.0], abs=1e-6)
    assert term["gradients"] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_zero_only_for_the_same_image_and_blind_to_sign() -> None:
    image, other = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4)
    assert self_regularisation(image, image).item() == 0
    assert self_regularisation(image, other) == self_regularisation(other, image) > 0
