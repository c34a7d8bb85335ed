"""`descend`: the one place where a gradient step is taken."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from migaki.core.system import _fuse, descend, num_parameters, step_if


def pair() -> tuple[nn.Linear, nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(0)
    first, second = nn.Linear(3, 3), nn.Linear(3, 1)
    return first, second, torch.optim.SGD(first.parameters(), lr=1.0)


def test_it_is_a_plain_step_of_the_optimiser() -> None:
    first, second, optimizer = pair()
    x = torch.randn(4, 3)
    before = first.weight.detach().clone()
    (expected,) = torch.autograd.grad(second(first(x)).sum(), first.weight)
    assert descend(second(first(x)).sum(), optimizer) == 0
    torch.testing.assert_close(first.weight, before - expected)


def test_only_its_own_parameters_get_gradients() -> None:
    first, second, optimizer = pair()
    before = second.weight.detach().clone()
    descend(second(first(torch.randn(4, 3))).sum(), optimizer)
    assert torch.equal(second.weight, before)
    assert all(p.grad is None for p in [*first.parameters(), *second.parameters()])


@pytest.mark.parametrize("max_norm", [0.01, 1.0, 1e6])
def test_clipping(max_norm: float) -> None:
    first, second, optimizer = pair()
    x = torch.randn(4, 3)
    before = nn.utils.parameters_to_vector(first.parameters()).detach().clone()
    gradient = nn.utils.parameters_to_vector(
        torch.autograd.grad(second(first(x)).sum(), list(first.parameters()))).detach()
    descend(second(first(x)).sum(), optimizer, max_norm)
    moved = before - nn.utils.parameters_to_vector(first.parameters())
    expected = gradient * min(1.0, max_norm / gradient.norm().item())
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_not_taken(poison: float) -> None:
    first, second, _ = pair()
    optimizer = torch.optim.Adam(first.parameters(), lr=0.1)
    descend(second(first(torch.randn(4, 3))).sum(), optimizer)
    before = [p.detach().clone() for p in first.parameters()]
    moments = optimizer.state[first.weight]["exp_avg"].clone()
    assert descend(second(first(torch.full((4, 3), poison))).sum(), optimizer) == 1
    assert all(torch.equal(p, b) for p, b in zip(first.parameters(), before, strict=True))
    assert torch.equal(optimizer.state[first.weight]["exp_avg"], moments)
    assert descend(second(first(torch.randn(4, 3))).sum(), optimizer) == 0


def test_parameters_that_play_no_part_are_no_error() -> None:
    first, second, _ = pair()
    optimizer = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=1.0)
    before = second.weight.detach().clone()
    assert descend(first(torch.randn(2, 3)).sum(), optimizer) == 0 and torch.equal(second.weight, before)


def test_weights_are_read_anew_after_a_step_under_autocast() -> None:
    """Autocast keeps bf16 copies of the weights: stale ones would make every later descent of a round wrong."""
    first, _, optimizer = pair()
    x = torch.randn(4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = first(x)
        descend(before.float().sum(), optimizer)
        after = first(x)
    assert not torch.equal(before, after)


def test_counting() -> None:
    assert num_parameters(nn.Linear(3, 4)) == 16


def state_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [value.clone() for state in optimizer.state.values() for value in state.values()
            if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd", "momentum"])
@pytest.mark.parametrize("at_first", [True, False])
def test_a_device_leaves_out_a_step_without_asking_the_host(kind: str, at_first: bool) -> None:
    """What `descend` does on a GPU, with the fused kernels of the CPU: parameters, moments and counters stay."""
    first, _, _ = pair()
    parameters = list(first.parameters())
    optimizer: torch.optim.Optimizer = {
        "adam": lambda: torch.optim.Adam(parameters, lr=0.1), "adamw": lambda: torch.optim.AdamW(parameters, lr=0.1),
        "sgd": lambda: torch.optim.SGD(parameters, lr=0.1),
        "momentum": lambda: torch.optim.SGD(parameters, lr=0.1, momentum=0.9)}[kind]()
    twin_parameters = [nn.Parameter(p.detach().clone()) for p in parameters]
    twin = type(optimizer)(twin_parameters, lr=0.1, **({"momentum": 0.9} if kind == "momentum" else {}))
    _fuse(optimizer, True)
    assert all(group["fused"] for group in optimizer.param_groups)

    def step(value: float) -> None:
        for number, parameter in enumerate(parameters):
            parameter.grad = torch.full_like(parameter, value + number)
        step_if(optimizer, torch.isfinite(torch.tensor(value)))

    def expected(value: float) -> None:
        for number, parameter in enumerate(twin_parameters):
            parameter.grad = torch.full_like(parameter, value + number)
        twin.step()

    if not at_first:
        step(0.5)
        expected(0.5)
    before, state = [p.detach().clone() for p in parameters], state_of(optimizer)
    step(float("nan"))
    assert all(torch.equal(p, b) for p, b in zip(parameters, before, strict=True))
    if not at_first:
        assert all(torch.equal(a, b) for a, b in zip(state_of(optimizer), state, strict=True))
    for value in (0.3, -2.0):
        step(value)
        expected(value)
    for one, other in zip(parameters, twin_parameters, strict=True):
        torch.testing.assert_close(one, other)
    assert not hasattr(optimizer, "found_inf")


def test_a_state_from_a_gpu_goes_on_unfused_on_a_cpu() -> None:
    first, second, _ = pair()
    optimizer = torch.optim.Adam(first.parameters(), lr=0.1)
    _fuse(optimizer, True)
    descend(second(first(torch.randn(4, 3))).sum(), optimizer)
    assert not any(group["fused"] for group in optimizer.param_groups)
