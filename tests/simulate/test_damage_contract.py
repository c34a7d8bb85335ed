"""What every damage promises, over all that exist."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from migaki.core.config import from_dict, to_dict
from migaki.core.damage import Damage, check_range, log_uniform, uniform
from migaki.core.discovery import find_class, names_in
from migaki.core.errors import UserError
from migaki.core.seeds import generator

NAMES = sorted(names_in("simulate", "Damage"))


def images(count: int = 3, channels: int = 3, height: int = 40, width: int = 56) -> torch.Tensor:
    return torch.rand((count, channels, height, width), generator=torch.Generator().manual_seed(5))


def test_all_are_found() -> None:
    assert {"rain", "noise", "jpeg", "clouds", "blur", "grey"} <= set(NAMES)


@pytest.fixture(params=NAMES)
def operator(request: pytest.FixtureRequest) -> Damage:
    return find_class("simulate", request.param, Damage)()


def test_shapes_and_range(operator: Damage) -> None:
    damaged, parameters = operator.damage(images(), torch.arange(3))
    assert damaged.dtype == torch.float32 and len(damaged) == 3
    assert damaged.min() >= 0 and damaged.max() <= 1
    assert parameters and all(len(value) == 3 and torch.isfinite(value.float()).all() for value in parameters.values())


def test_same_seed_same_bits_in_any_batch(operator: Damage) -> None:
    clean, seeds = images(), torch.tensor([7, -1, 2**62])
    together, parameters = operator.damage(clean, seeds)
    for i in (2, 0, 1):
        alone, values = operator.damage(clean[i:i + 1], seeds[i:i + 1])
        assert torch.equal(alone[0], together[i])
        assert all(torch.equal(values[key][0], parameters[key][i]) for key in parameters)
    backwards, _ = operator.damage(clean.flip(0), seeds.flip(0))
    assert torch.equal(backwards.flip(0), together)


def test_leaves_the_clean_image_and_the_global_generator_alone(operator: Damage) -> None:
    clean = images()
    copy, state = clean.clone(), torch.get_rng_state()
    operator.damage(clean, torch.arange(3))
    assert torch.equal(clean, copy) and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("grey", "blur")])
def test_another_seed_is_another_damage(name: str) -> None:
    clean = images(1).expand(2, -1, -1, -1)
    damaged, _ = find_class("simulate", name, Damage)().damage(clean, torch.tensor([1, 2]))
    assert not torch.equal(damaged[0], damaged[1])


def test_config_survives_json(operator: Damage) -> None:
    config = operator.config
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config
    assert type(config).__slots__ is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, dataclasses.fields(config)[0].name, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_makes_the_same_damage(operator: Damage) -> None:
    on_cpu, _ = operator.damage(images(), torch.arange(3))
    on_gpu, parameters = operator.damage(images().cuda(), torch.arange(3))
    assert on_gpu.is_cuda and all(value.is_cuda for value in parameters.values())
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=2e-3, rtol=0)
    again, _ = operator.damage(images().cuda(), torch.arange(3))
    assert torch.equal(on_gpu, again)


@pytest.mark.parametrize(("clean", "seeds"), [
    (torch.zeros(3, 8, 8), torch.arange(3)),
    (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.arange(1)),
    (torch.zeros(0, 3, 8, 8), torch.arange(0)),
    (torch.zeros(2, 3, 8, 8), torch.arange(3)),
    (torch.zeros(2, 3, 8, 8), torch.zeros(2)),
])
def test_wrong_input_is_said(operator: Damage, clean: torch.Tensor, seeds: torch.Tensor) -> None:
    with pytest.raises(UserError, match="damage: expected"):
        operator.damage(clean, seeds)


@pytest.mark.parametrize("name", ["rain", "noise", "clouds"])
@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), channels=st.integers(1, 5),
       seed=st.integers(-2**63, 2**63 - 1))
def test_any_size_and_seed(name: str, height: int, width: int, channels: int, seed: int) -> None:
    clean = images(1, channels, height, width)
    damaged, _ = find_class("simulate", name, Damage)().damage(clean, torch.tensor([seed]))
    assert damaged.shape == clean.shape and torch.isfinite(damaged).all()


def test_draws_stay_within_bounds() -> None:
    draw = generator(1)
    plain = [uniform(draw, (-2, 3)) for _ in range(2000)]
    logs = [log_uniform(draw, (0.1, 10)) for _ in range(2000)]
    assert min(plain) >= -2 and max(plain) <= 3 and abs(sum(plain) / 2000 - 0.5) < 0.1
    assert min(logs) >= 0.1 and max(logs) <= 10 and abs(sum(x < 1 for x in logs) / 2000 - 0.5) < 0.05
    assert uniform(draw, (4, 4)) == 4


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (-1.0, 0.5), (0.0, 2.0), (float("nan"), 1.0)])
def test_check_range_refuses(bounds: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="here: expected"):
        check_range("here", bounds, 0, 1)
