"""How cameras are divided into blocks, what is shown of each, and maps of colours: against what is plain to see."""

from __future__ import annotations

import pytest
import torch

from migaki.nets.appearance import Appearance
from migaki.ops.blocks import divided, reaches, shares, tree
from migaki.ops.colour_affine import shown, shown_pictures, undone


def line(count: int, turned: bool = False) -> torch.Tensor:
    """Positions along a straight path of length 12."""
    along = torch.linspace(0, 12, count)
    rest = torch.stack([0.1 * along.sin(), torch.full_like(along, 1.7)], 1)
    return torch.cat([along[:, None], rest], 1)[:, [1, 0, 2] if turned else [0, 1, 2]]


@pytest.mark.parametrize("turned", [False, True])
def test_a_path_is_divided_evenly_and_neighbours_share_half(turned: bool) -> None:
    positions = line(49, turned)
    centres = divided(positions, 3)
    axis = 1 if turned else 0
    torch.testing.assert_close(centres[:, axis], torch.tensor([2.0, 6.0, 10.0]), atol=0.15, rtol=0)
    reach = reaches(positions, centres, 1.5)
    torch.testing.assert_close(reach, torch.full((3,), 3.0), atol=0.3, rtol=0)  # 3/4 of the way to the next
    mixed = divided(positions.flip(0)[torch.randperm(49, generator=torch.Generator().manual_seed(0))], 3)
    torch.testing.assert_close(mixed, centres, atol=0.3, rtol=0)


def test_a_bent_path_is_followed_and_every_place_has_its_group() -> None:
    angle = torch.linspace(0, 1.9 * torch.pi, 60)
    positions = torch.stack([angle.cos(), angle.sin(), 0 * angle], 1)
    centres = divided(positions, 5)
    assert ((centres.norm(dim=1) > 0.8) & (centres.norm(dim=1) < 1)).all()
    assert ((positions[:, None] - centres).norm(dim=-1) <= reaches(positions, centres, 1.0)).any(1).all()
    few = torch.zeros(4, 3)
    with pytest.raises(ValueError, match="1 different positions"):
        divided(few, 2)
    assert divided(few, 1).tolist() == [[0, 0, 0]]


def test_appearances_spread_from_the_root_along_what_is_shared_most() -> None:
    shared = [[9, 4, 1, 0], [4, 9, 5, 0], [1, 5, 9, 3], [0, 0, 3, 9]]
    assert tree(shared, 1) == [1, 1, 1, 2]
    assert tree(shared, 3) == [1, 2, 3, 3]
    with pytest.raises(ValueError, match=r"^2$"):
        tree([[2, 1, 0], [1, 2, 0], [0, 0, 2]], 0)


def test_shares_are_inverse_distances_that_end_at_the_reach() -> None:
    centres, reach = torch.tensor([[0.0, 0, 0], [10, 0, 0], [20, 0, 0]]), torch.tensor([7.5, 7.5, 7.5])
    positions = torch.tensor([[4.0, 0, 0], [5, 0, 0], [2, 0, 0], [0, 0, 0], [-50, 0, 0], [10, 7.4, 0]])
    found = shares(positions, centres, reach, 2.0)
    first, second = (3.5 / 4) ** 2, (1.5 / 6) ** 2
    torch.testing.assert_close(found[0], torch.tensor([first, second, 0]) / (first + second))
    torch.testing.assert_close(found[1:], torch.tensor([[0.5, 0.5, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]]))
    near = shares(torch.tensor([[2.49, 0, 0], [2.51, 0, 0], [5.0, 0, 0]]), centres, reach, 2.0)
    assert (near[0] - near[1]).abs().max() < 1e-4  # where a block begins to count nothing jumps
    sharp = shares(torch.tensor([[4.9, 0, 0]]), centres, reach, 1000.0)
    torch.testing.assert_close(sharp, torch.tensor([[1.0, 0, 0]]))


def test_maps_of_colours_and_their_inverses() -> None:
    draw = torch.Generator().manual_seed(0)
    affine = torch.eye(3, 4) + 0.2 * torch.rand(5, 3, 4, generator=draw)
    colours = torch.rand(5, 3, generator=draw)
    made = shown(affine, colours)
    for one, own, colour in zip(made, affine, colours, strict=True):
        torch.testing.assert_close(one, own[:, :3] @ colour + own[:, 3])
    torch.testing.assert_close(undone(affine, made), colours, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(undone(torch.zeros(1, 3, 4), colours[:1]), colours[:1])  # has no inverse
    assert undone(0.01 * affine, torch.full((5, 3), 9.0)).abs().max() <= 2
    pictures = torch.rand(2, 3, 4, 5, generator=draw)
    torch.testing.assert_close(shown_pictures(affine[0], pictures)[1, :, 2, 3], shown(affine[0], pictures[1, :, 2, 3]))


def test_appearances_are_the_identity_on_average() -> None:
    codes = Appearance(4)
    with torch.no_grad():
        codes.deviation.copy_(torch.rand(4, 3, 4, generator=torch.Generator().manual_seed(0)) + 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps, spread = codes(), codes.spread()
    torch.testing.assert_close(maps.mean(0), torch.eye(3, 4))
    assert maps.dtype == torch.float32 and float(spread.detach()) == pytest.approx(
        float(codes.deviation.detach().var(0, False).mean()))
