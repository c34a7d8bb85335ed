"""The difference hash: bit by bit, what it withstands, and groups of near-duplicates."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.ops.perceptual import BITS, difference_hash, distances, duplicate_groups


def scene(seed: int, side: int = 160) -> Image.Image:
    grid = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)


def tensor_of(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


def test_bit_by_bit() -> None:
    image = torch.rand((3, 32, 34), generator=torch.Generator().manual_seed(0))
    cells = image.mean(0).reshape(16, 2, 17, 2).mean((1, 3))
    bits = [bool(cells[row, column + 1] > cells[row, column]) for row in range(16) for column in range(16)]
    assert difference_hash(image) == np.packbits(np.array(bits)).tobytes()
    assert len(difference_hash(image)) * 8 == BITS


def test_what_it_withstands_and_what_not() -> None:
    plain = tensor_of(scene(1))
    buffer = io.BytesIO()
    scene(1).save(buffer, "JPEG", quality=30)
    alike = [tensor_of(Image.open(buffer)), tensor_of(scene(1).resize((70, 70))), plain.float() * 0.5 + 20,
             torch.cat((plain, plain[:1]))]
    other = [tensor_of(scene(2)), plain.flip(2), plain.flip(1)]
    hashes = [difference_hash(one) for one in (plain, *alike, *other)]
    bits = distances(hashes)
    assert bits.shape == (8, 8) and (bits[0, 1:5] <= 26).all() and (bits[0, 5:] > 80).all() and (bits == bits.T).all()
    with torch.autocast("cpu", torch.bfloat16):
        assert difference_hash(plain) == hashes[0]


def test_groups() -> None:
    base = np.zeros((5, 256), np.uint8)
    base[1, :10] = 1  # 10 bits from the first
    base[2, :20] = 1  # 10 from the second, 20 from the first
    base[3:] = 1  # far from all; the last two are equal
    hashes = [np.packbits(row).tobytes() for row in base]
    assert duplicate_groups(hashes, 10) == [0, 0, 0, 3, 3]
    assert duplicate_groups(hashes, 9) == [0, 1, 2, 3, 3]
    assert duplicate_groups(hashes, -1) == [0, 1, 2, 3, 4]
    assert duplicate_groups(hashes, 256) == [0] * 5 and duplicate_groups([], 9) == []


@pytest.mark.parametrize("count", [300, 513])
def test_many_are_compared_in_blocks(count: int) -> None:
    rows = np.random.default_rng(0).integers(0, 2, (count, 256), dtype=np.uint8)
    rows[-1] = rows[0]
    rows[-1, 5] ^= 1
    groups = duplicate_groups([np.packbits(row).tobytes() for row in rows], 26)
    assert groups == [*range(count - 1), 0]
