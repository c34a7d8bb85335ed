"""The contrastive loss against the paper's pseudocode in loops; alignment, uniformity and rank on known cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from migaki.losses.contrastive import alignment, effective_rank, nearest_entropy, nt_xent, shared_nce, uniformity


def twin(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    """Algorithm 1 of Chen et al., with views 2 k - 1 and 2 k as neighbours."""
    z = [row for pair in zip(first, second, strict=True) for row in pair]
    count = len(z)
    s = [[float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))) for b in z] for a in z]

    def term(i: int, j: int) -> float:
        below = sum(math.exp(s[i][k] / temperature) for k in range(count) if k != i)
        return -math.log(math.exp(s[i][j] / temperature) / below)

    return sum(term(2 * k, 2 * k + 1) + term(2 * k + 1, 2 * k) for k in range(count // 2)) / count


@pytest.mark.parametrize("temperature", [0.2, 0.5, 1.3])
def test_against_loops(temperature: float) -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 5, 7))
    loss = nt_xent(torch.from_numpy(first), torch.from_numpy(second), temperature)
    assert float(loss) == pytest.approx(twin(first, second, temperature), rel=1e-5)


def test_without_information_it_is_the_logarithm_of_all_rivals() -> None:
    same = torch.ones(6, 4)
    assert float(nt_xent(same, same, 0.5)) == pytest.approx(math.log(11), rel=1e-6)


def test_it_is_float32_under_autocast() -> None:
    values = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nt_xent(values, values.flip(1), 0.1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, nt_xent(values, values.flip(1), 0.1))


def test_alignment_uniformity_and_rank() -> None:
    axes = torch.eye(4)
    assert float(alignment(axes, 3 * axes)) == 0 and float(alignment(axes, -axes)) == pytest.approx(4)
    assert float(uniformity(torch.ones(5, 3))) == 0
    assert float(uniformity(axes)) == pytest.approx(-4)  # all pairs are the root of 2 apart
    assert float(effective_rank(torch.outer(torch.arange(6.0), torch.ones(3)))) == pytest.approx(1, abs=1e-4)
    square = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert float(effective_rank(square)) == pytest.approx(2, abs=1e-4)


def test_the_entropy_by_hand() -> None:
    """Two views each of three pictures: the nearest of another picture, at least 0.001 away."""
    values = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0.6, 0.8], [0.6, 0.8], [0, 1]])
    group = torch.tensor([0, 1, 0, 2, 2, 1])
    near = [math.sqrt(0.8), math.sqrt(0.4), math.sqrt(0.8), math.sqrt(0.4), math.sqrt(0.4), math.sqrt(0.4)]
    assert float(nearest_entropy(values, group)) == pytest.approx(-sum(map(math.log, near)) / 6, rel=1e-5)
    same = torch.tensor([[1.0, 0], [1.0, 0]])
    assert float(nearest_entropy(same, torch.tensor([0, 1]))) == pytest.approx(-math.log(1e-3))


def test_two_keys_are_found_by_their_shares() -> None:
    """Query i finds key i and key N - 1 - i, written out in loops; float32 under autocast."""
    random = np.random.default_rng(1)
    queries, keys = random.normal(size=(2, 5, 7))
    own = random.uniform(size=5)
    q, k = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (queries, keys))
    total = 0.0
    for i in range(5):
        p = np.exp(k @ q[i] / 0.3) / np.exp(k @ q[i] / 0.3).sum()
        total -= own[i] * math.log(p[i]) + (1 - own[i]) * math.log(p[4 - i])
    given = [torch.from_numpy(part).float() for part in (queries, keys, own)]
    assert float(shared_nce(*given, 0.3)) == pytest.approx(total / 5, rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(shared_nce(*given, 0.3)) == pytest.approx(total / 5, rel=1e-5)
