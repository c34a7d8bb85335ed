"""Methods by name, the maps that ask no model, and pictures painted with maps."""

from __future__ import annotations

import pytest
import torch
from toy_nets import Pooled, pictures, ready

from migaki.ops import attribution, attribution_layers
from migaki.ops.attribution_patterns import estimate_patterns, pattern_attribution
from migaki.ops.explaining import FREE, METHODS, Settings, centre_map, explain, random_map, with_rivals
from migaki.ops.overlay import overlay, scaled_map

TARGETS, SEEDS = torch.tensor([0, 3, 1]), torch.tensor([5, 6, 7])


@pytest.mark.parametrize("method", [*METHODS, *FREE])
def test_every_method_makes_a_map_in_the_size_of_the_images(method: str) -> None:
    model, images = ready(Pooled()), pictures()
    patterns = estimate_patterns(model, [images])
    found = explain(method, model, images, TARGETS, SEEDS, Settings(samples=2, steps=2), patterns)
    assert found.shape == (3, 12, 10) and found.dtype == torch.float32 and found.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        again = explain(method, model, images.clone(), TARGETS, SEEDS, Settings(samples=2, steps=2), patterns)
    assert torch.allclose(found, again, atol=1e-6)


def test_names_stand_for_their_functions() -> None:
    model, images, settings = ready(Pooled()), pictures(), Settings(samples=2, steps=3, layers=("first",), rivals=1)
    patterns = estimate_patterns(model, [images])

    def found(method: str) -> torch.Tensor:
        return explain(method, model, images, TARGETS, SEEDS, settings, patterns)

    gradient = attribution.gradient(model, images, TARGETS)
    assert torch.equal(found("gradient"), gradient.abs().amax(1))
    assert torch.equal(found("gradient_x_input"), (gradient * images).sum(1))
    assert torch.equal(found("integrated_gradients"), attribution.integrated_gradients(
        model, images, TARGETS, steps=3).sum(1))
    assert torch.equal(found("occlusion"), attribution.occlusion(model, images, TARGETS, 2, 1))
    assert torch.equal(found("grad_cam"), attribution_layers.grad_cam(model, images, TARGETS, "first"))
    assert torch.equal(found("pattern_attribution"), pattern_attribution(model, images, TARGETS, patterns).sum(1))
    both = with_rivals(model, images, TARGETS, 1)
    assert torch.equal(found("dcsm"), attribution_layers.dcsm(model, images, both, ("first",))[:, 0])


def test_rivals_are_the_highest_other_classes() -> None:
    model, images = ready(Pooled()), pictures()
    found, scores = with_rivals(model, images, TARGETS, 3), model(images)
    for row, target in enumerate(TARGETS.tolist()):
        order = [place for place in scores[row].argsort(descending=True).tolist() if place != target]
        assert found[row].tolist() == [target, *order]
    for rivals in (0, 4):
        with pytest.raises(ValueError, match="rivals must be 1 to 3"):
            with_rivals(model, images, TARGETS, rivals)


def test_maps_that_ask_no_model() -> None:
    images = pictures()
    maps = random_map(images, SEEDS)
    assert torch.equal(maps[1:2], random_map(images[1:2], SEEDS[1:2])) and not torch.equal(maps[0], maps[1])
    bell = centre_map(torch.zeros(2, 1, 9, 13))[1]
    assert bell.argmax() == 4 * 13 + 6 and bell[4, 6] == 1
    assert torch.allclose(bell, bell.flip(0)) and torch.allclose(bell, bell.flip(1))
    assert bell[4, 9].item() == pytest.approx(torch.exp(torch.tensor(-0.5)).item(), abs=1e-3)  # a quarter of the side


def test_what_is_refused() -> None:
    model, images = ready(Pooled()), pictures()
    for method, settings, message in (("magic", Settings(), "is no method"), ("pattern_net", Settings(), "patterns"),
                                      ("cam", Settings(layers=("first", "second")), "one layer"),
                                      ("occlusion", Settings(patch=500), "choose a smaller patch")):
        with pytest.raises(ValueError, match=message):
            explain(method, model, images, TARGETS, SEEDS, settings)


def test_overlays_are_red_for_and_blue_against() -> None:
    maps = torch.zeros(1, 20, 20)
    maps[0, :5], maps[0, 15:] = 2.0, -1.0
    painted = overlay(torch.full((1, 3, 20, 20), 0.5), maps)[0]
    assert painted.shape == (3, 20, 20) and painted.min() >= 0 and painted.max() <= 1
    assert painted[0, 0, 0] > painted[2, 0, 0] + 0.4 and painted[2, 19, 0] > painted[0, 19, 0] + 0.2
    assert painted[0, 10, 10] == painted[2, 10, 10]
    assert torch.equal(overlay(torch.full((1, 1, 20, 20), 0.5), maps)[0], painted)
    assert torch.equal(scaled_map(torch.zeros(1, 4, 4)), torch.zeros(1, 4, 4))
    assert set(scaled_map(maps)[0, :, 0].tolist()) == {-0.5, 0.0, 1.0}
    single = torch.zeros(1, 100, 100)
    single[0, 0, 0], single[0, 1:] = 1000.0, 1.0
    assert scaled_map(single)[0, 5, 5] == 1  # one pixel does not decide the scale
