"""Every weight and sign of every update: the loss of each descent is the sum written out in `update_twins`."""

from __future__ import annotations

import dataclasses
import importlib
import typing
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from prepared_systems import prepared
from torch import Tensor
from update_twins import RATES, TWINS

from migaki.core.batch import Batch
from migaki.core.discovery import find_class, names_in
from migaki.core.system import System

SYSTEMS = sorted(names_in("systems", "System"))

# All chance off and every term on, with weights that are no round numbers.
PLAIN: dict[str, dict[str, Any]] = {
    "adapted_classifier": {"handwriting": 0.0, "alignment": 0.37, "information": 0.23, "centroids": 0.41,
                           "confident": 0.83, "threshold": 0.34, "label_smoothing": 0.07, "first": 0.2},
    "camera_refiner": {"statistics": 0.71, "adversarial": 0.37, "keep": 0.29, "r1": 0.17},
    "classifier": {"augment": False, "label_smoothing": 0.13},
    "colourisation": {"patch": 32, "grid": 10},
    "cut": {"history": 0, "nce": 0.87, "nce_identity": 0.43, "consistency": 1.31, "shortcut": False},
    "cyclegan": {"history": 0, "cycle": 3.7, "identity": 0.9, "consistency": 1.31, "shortcut": False},
    "deep3d": {"mirror": False, "first": -1},
    "depth": {"augment": False, "share": 0.37, "matching_weight": 0.47},
    "deep_detail": {"ssim_weight": 0.31, "patch": 16},
    "detector": {"augment": False, "geometry_weight": 0.83, "keypoint_weight": 1.7},
    "forgery_detector": {"mask_weight": 0.83, "kind_weight": 0.37, "ratio_weight": 0.59, "explore": 0.23},
    "gaze": {"augment": False, "equalise": False},
    "hourglass": {"max_turn": 0.0, "max_scale": 0.0, "max_shift": 0.0, "heat_weight": 0.27, "sigma": 0.8},
    "keypoints": {"augment": False, "max_turn": 0.0, "max_scale": 0.0, "max_shift": 0.0, "heat_weight": 0.27,
                  "sigma": 0.8},
    "landmarks": {"augment": False, "equalise": False},
    "patch": {"smooth": 0.43},
    "pix2pix": {"l1": 7.3},
    "regressor": {"augment": False},
    "segmenter": {"augment": False, "dice_weight": 0.61, "gradient_weight": 0.47},
    "simgan": {"augment": False, "instance_noise": 0.0, "history": 0, "noise_channels": 1, "variety": 0.6,
               "lambda_reg": 0.73, "consistency": 1.31, "r1": 0.21, "refiner_pretraining": 0,
               "discriminator_pretraining": 0, "match": False, "layout": "eyes", "psi": "identity",
               "discriminator_width": 0.4, "statistics": 0.57},
    "pretext": {"temperature": 0.37}, "sdmp": {"temperature": 0.37, "source": 0.43, "between": 0.71},
    "simclr": {"temperature": 0.37}, "copy_detector": {"entropy": 0.83, "temperature": 0.37},
    "semi_supervised": {"unlabelled": 0.73, "threshold": 0.34},
    "super_resolution": {}, "texture": {"label_smoothing": 0.13, "dropout": 0.0},
    "style_network": {"style_weight": 1.3, "smooth_weight": 0.7},
    "any_style": {"style_weight": 1.3, "smooth_weight": 0.7},
    "nerf": {"coarse": 0.37}, "voxel_block": {"keep_code": 0.23}, "block_field": {"keep_map": 0.23},
    "raw_field": {"clear": 0.23, "smooth_density": 0.0041, "smooth_colour": 0.0029, "faint": 0.01, "floor": 0.07},
    "voxel_field": {"own_colour": 0.37, "clear": 0.23, "spread": 0.31, "smooth_density": 0.0041,
                    "smooth_colour": 0.0029, "faint": 0.01},
    "weak_segmenter": {"augment": False, "dice_weight": 0.61, "classifier_share": 0.1},
}
# Other branches of an update.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "adapted_classifier": [{"threshold": 0.0}, {"open_set": True, "max_entropy": 1.0, "min_margin": 0.0017}],
    "camera_refiner": [{"match": False}, {"jpeg": False}, {"channels": 1}],
    "classifier": [{"label_smoothing": 0.0}, {"several": True}],
    "colourisation": [{"objective": "regression"}],
    "cut": [{"flip": False}, {"nce_identity": 0.0}, {"patches": 5}, {"levels": 0}, {"shortcut": True},
            {"doubling": "repeat"}],
    "cyclegan": [{"identity": 0.0}, {"levels": 0}, {"shortcut": True}],
    "deep3d": [{"first": 2}], "depth": [{"share": 1.0}],
    "deep_detail": [{"loss": "l1"}, {"rung": "direct"}, {"rung": "resnet"}, {"rung": "neg_mapping"},
                    {"block": "gated_mlp"}],
    "detector": [{"num_keypoints": 0}],
    "forgery_detector": [{"adversarial": False}, {"kinds": ("gradient", "none")}, {"jpeg": (0.0, 0.0)}],
    "gaze": [{"net": "paper"}, {"drift_scale": 1.7}, {"mirror_side": 0}, {"mirror_side": 1}, {"equalise": True}],
    "hourglass": [{"stride": 2}],
    "keypoints": [{"stride": 2}, {"stacks": 2}],
    "landmarks": [{"equalise": True}],
    "patch": [{"outline": "square"}, {"channels": 1}],
    "pix2pix": [{"blend": True}, {"blend": True, "unveil": True}],
    "regressor": [{"circular": ()}, {"columns": ("number",), "circular": (), "units": ()}],
    "segmenter": [{"target": "depth"}],
    "simgan": [{"hold": "label"}, {"variety": 0.0}, {"refiner_pretraining": 9}, {"discriminator_pretraining": 9},
               {"match": True}, {"match": True, "hold": "label"}, {"layout": "scales"}, {"psi": "lowpass"},
               {"psi": "backbone", "layout": "scales", "match": True}, {"r1_every": 1}, {"r1_every": 5},
               {"statistics": 0.0}],
    "pretext": [{"task": task} for task in ("context", "colour", "inpainting", "cpc")],
    "sdmp": [{"static": True}, *({"mixture": kind} for kind in ("mixup", "cutmix", "resizemix"))],
    "simclr": [{"recipe": "large"}], "copy_detector": [{"crop": (0.9, 1.0)}],
    "semi_supervised": [{"method": "pseudo"}, {"method": "none"}, {"method": "freematch"}, {"encoder_rate": 0.0}],
    "style_network": [{"shortcut": False}, {"freeze": True}, {"kind": "gram", "grain": 2, "recolour": True}],
    "any_style": [{"kind": "gram", "grain": 0, "recolour": True}],
    "super_resolution": [{"loss": "l2"}, {"residual": False}, {"scale": 3, "residual": True}],
    "texture": [{"label_smoothing": 0.0}, {"pooling": "mean", "hidden": 0}],
    "voxel_block": [{"activation": "sigmoid"}], "block_field": [{"parents": (1, 2, 2)}],
    "nerf": [{"more": 0}, {"layers": 3, "background": (0.2, 0.5, 0.9)}],
    "raw_field": [{"activation": "sigmoid"}, {"activation": "linear"}, {"shutters": (1.0, 0.01)}],
    "voxel_field": [{"activation": "sigmoid"}, {"activation": "exponential"}, {"background": (0.2, 0.5, 0.9)}],
    "weak_segmenter": [{"classifier_share": 0.5}],
}
# The numbers of a Config that are no weights of a loss: rates, sizes, shares, thresholds, strengths of chance.
NO_WEIGHTS = {
    "alignment": (), "all": ("learning_rate", "weight_decay", "max_norm", "dropout", "beta1", "ema", "validate",
                                "backbone_rate"),
    "adapted_classifier": ("handwriting", "threshold", "first", "max_entropy", "min_margin"),
    "classifier": ("handwriting",),
    "detector": ("min_score", "max_scale", "max_shift"), "segmenter": ("max_scale", "max_shift"),
    "depth": ("max_scale", "max_shift"),
    "colourisation": ("temperature",), "cut": ("temperature",), "deep_detail": ("vivid", "eps"),
    "gaze": ("light", "drift_scale"),
    "forgery_detector": ("forger_rate", "own", "colour_match"),
    "hourglass": ("sigma", "max_turn", "max_scale", "max_shift"), "landmarks": ("light",),
    "keypoints": ("sigma", "max_turn", "max_scale", "max_shift", "light"), "patch": ("share",),
    "regressor": ("light", "max_shift"),
    "style_network": ("flat", "own"), "any_style": ("flat", "own", "vivid"),
    "simgan": ("variety", "discriminator_width", "instance_noise", "discriminator_rate"),
    "simclr": ("mirrored", "temperature"), "semi_supervised": ("mirrored", "threshold", "encoder_rate"),
    "pretext": ("mirrored", "temperature", "gap", "jitter", "single"), "sdmp": ("mirrored", "temperature"),
    "copy_detector": ("temperature", "mixing"),
    "nerf": ("near", "far", "last_rate"),
    "raw_field": ("near", "far", "faint", "opaque", "alpha", "keep", "last_rate", "density_rate", "view_rate", "floor"),
    # The field's own weights have their tests as those of voxel_field, which a block's step is: test_block_field.
    "voxel_block": ("near", "far", "faint", "opaque", "alpha", "keep", "last_rate", "density_rate", "view_rate",
                    "own_colour", "clear", "spread", "smooth_density", "smooth_colour", "reach", "inner", "code_rate",
                    "code_begin"),
    "block_field": ("near", "far", "faint", "opaque", "alpha", "keep", "last_rate", "overlap", "inner", "block_rate",
                    "power"),
    "voxel_field": ("near", "far", "faint", "opaque", "alpha", "keep", "last_rate", "density_rate", "view_rate"),
    "weak_segmenter": ("max_scale", "max_shift", "classifier_share", "sharpness", "easy", "crf_place", "crf_colour",
                       "crf_weight", "crf_smooth", "crf_smooth_weight"),
}
WEIGHTS: dict[str, tuple[str, ...]] = {
    "adapted_classifier": ("alignment", "information", "centroids", "confident", "label_smoothing"),
    "camera_refiner": ("statistics", "adversarial", "keep", "r1"),
    "classifier": ("label_smoothing",), "deep_detail": ("ssim_weight",), "hourglass": ("heat_weight",),
    "forgery_detector": ("mask_weight", "kind_weight", "ratio_weight", "explore"),
    "keypoints": ("heat_weight",), "detector": ("geometry_weight", "keypoint_weight"),
    "segmenter": ("dice_weight", "gradient_weight"), "depth": ("share", "matching_weight"),
    "style_network": ("style_weight", "smooth_weight"), "any_style": ("style_weight", "smooth_weight"),
    "pix2pix": ("l1",), "simgan": ("lambda_reg", "consistency", "r1", "statistics"),
    "cut": ("nce", "nce_identity", "consistency"), "cyclegan": ("cycle", "identity", "consistency"),
    "weak_segmenter": ("dice_weight",), "semi_supervised": ("unlabelled",), "copy_detector": ("entropy",),
    "patch": ("smooth",), "texture": ("label_smoothing",), "sdmp": ("source", "between"),
    "raw_field": ("clear", "smooth_density", "smooth_colour"),
    "voxel_block": ("keep_code",), "block_field": ("keep_map",),
    "nerf": ("coarse",), "voxel_field": ("own_colour", "clear", "spread", "smooth_density", "smooth_colour"),
}
OTHER_BRANCH: dict[str, dict[str, Any]] = {"gradient_weight": {"target": "depth"}}  # in which a weight counts
STEP = 3
# Stages that follow each other, each with an optimiser and a cycle of its own; a field that descends elsewhere.
STAGED = ("weak_segmenter", "voxel_block")


@dataclass
class Descent:
    """What one call of `descend` was given."""

    name: str
    loss: Tensor
    max_norm: float
    rates: list[float]
    gradient: Tensor


def build(name: str, **changes: Any) -> tuple[System, Batch]:
    """A tiny system whose weights and buffers are no round numbers, and a batch with whatever its update may read."""
    cls = find_class("systems", name, System)
    config, batch = cls.tiny()
    config = replace(config, steps=20, **{**PLAIN[name], **changes})
    torch.manual_seed(1)
    system = cls(config).eval()
    return system, prepared(name, system, batch)


def slope(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """The gradient of a loss by all that an optimiser moves, as one vector."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


def descents(monkeypatch: pytest.MonkeyPatch, system: System, batch: Batch, step: int = STEP) -> list[Descent]:
    """What `update` gives to `descend`; nothing is moved."""
    names = {id(optimizer): name for name, optimizer in system.optimizers.items()}
    found: list[Descent] = []

    def noted(loss: Tensor, optimizer: torch.optim.Optimizer, max_norm: float = 0.0) -> Tensor:
        rates = [group["lr"] for group in optimizer.param_groups]
        found.append(Descent(names[id(optimizer)], loss.detach().clone(), max_norm, rates, slope(loss, optimizer)))
        return torch.zeros(())

    module = importlib.import_module(type(system).__module__)
    with monkeypatch.context() as patch:
        patch.setattr(module, "descend", noted)
        torch.manual_seed(5)
        system.update({key: value.clone() for key, value in batch.items()}, step)
    return found


def expected(name: str, system: System, batch: Batch, step: int = STEP) -> list[tuple[str, Any]]:
    chunk = {key: value[:4] for key, value in batch.items()} if name == "simgan" else batch
    if name == "simgan":
        chunk |= {"image": batch["image"], "real": batch["real"]}
    return TWINS[name](system, chunk, step)


CASES = [(name, changes) for name in SYSTEMS for changes in ({}, *VARIANTS[name])]


@pytest.mark.parametrize(("name", "changes"), CASES, ids=[f"{name}-{changes}" for name, changes in CASES])
def test_the_loss_of_every_descent_is_the_sum_written_out(name: str, changes: dict[str, Any],
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = build(name, **changes)
    twin = expected(name, system, batch)
    found = descents(monkeypatch, system, batch)
    assert [one.name for one in found] == [optimizer for optimizer, _ in twin]
    for one, (optimizer, terms) in zip(found, twin, strict=True):
        total = sum((weight * value for _, weight, value in terms), torch.zeros(()))
        torch.testing.assert_close(one.loss, total.detach(), rtol=2e-5, atol=1e-6)
        gradient = slope(total, system.optimizers[optimizer])
        torch.testing.assert_close(one.gradient, gradient, rtol=1e-3, atol=2e-4 * float(gradient.abs().max()))
        assert all(abs(float(value.detach())) > 1e-3 for _, weight, value in terms if weight), terms  # all are felt


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in WEIGHTS.items() for field in fields])
def test_twice_the_weight_adds_exactly_its_term(name: str, field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other: dict[str, Any] = OTHER_BRANCH.get(field, {})
    system, batch = build(name, **other)
    weight = getattr(system.config, field)
    twin = dict(expected(name, system, batch))
    before = {one.name: one.loss for one in descents(monkeypatch, system, batch)}
    doubled, _ = build(name, **{**other, field: 2 * weight})
    after = {one.name: one.loss for one in descents(monkeypatch, doubled, batch)}
    felt = []
    for optimizer, terms in twin.items():
        share = [(share, value.detach()) for term, share, value in terms if term == field]
        added = sum((share * value for share, value in share), torch.zeros(()))
        if field == "label_smoothing" and share:  # what is spread is taken from the label
            added = added - weight * next(value.detach() for term, _, value in terms if term == "label")
        torch.testing.assert_close(after[optimizer] - before[optimizer], added, rtol=1e-4, atol=2e-5)
        felt += [optimizer] if share else []
    assert len(felt) == 1


@pytest.mark.parametrize("name", SYSTEMS)
def test_no_number_of_a_configuration_is_forgotten(name: str) -> None:
    """A new float is a weight, and then it has a test above, or it is named as none."""
    config = find_class("systems", name, System).Config
    types = typing.get_type_hints(config)  # each class by the names of its own module
    floats = {field.name for field in dataclasses.fields(config) if types[field.name] in (float, float | None)}
    known = {*NO_WEIGHTS["all"], *NO_WEIGHTS.get(name, ()), *WEIGHTS.get(name, ())}
    assert floats <= known, floats - known
    assert set(WEIGHTS.get(name, ())) <= floats


def test_photographs_make_opinions_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the terms on them can tell one picture from another."""
    system, batch = build("adapted_classifier")
    labels = system.predict({"image": batch["real"]})["logits"].argmax(1)
    assert len(labels.unique()) == 3 and labels.tolist() != system.predict(
        {"image": batch["real"] + 1})["logits"].argmax(1).tolist()


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_descent_is_clipped_as_configured_at_the_rate_of_its_step(name: str,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = build(name, max_norm=3.7, learning_rate=0.017)
    for step in (0, 1, 3, 9, 10, 12, 19):
        found = descents(monkeypatch, system, batch, step)
        assert {one.name for one in found} == set(system.optimizers) or name in STAGED
        for one in found:
            assert one.max_norm == 3.7
            wanted = RATES[name][one.name](0.017, step, 20)
            assert one.rates == pytest.approx([wanted] * len(one.rates))


def test_the_paper_of_deep_detail_divides_its_rate_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = build("deep_detail", optimizer="sgd", learning_rate=0.1)
    system.config = replace(system.config, steps=210)
    for step, rate in ((0, 0.1), (99, 0.1), (100, 0.01), (199, 0.01), (200, 0.001)):
        assert descents(monkeypatch, system, batch, step)[0].rates == [pytest.approx(rate)]


def test_the_ramp_of_the_terms_on_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing for a share of the steps, full at twice that."""
    for step, ramp in ((0, 0.0), (3, 0.0), (4, 0.25), (6, 0.75), (7, 1.0), (15, 1.0)):
        system, batch = build("adapted_classifier")
        twin = dict(expected("adapted_classifier", system, batch, step))["net"]
        found = descents(monkeypatch, system, batch, step)[0].loss
        torch.testing.assert_close(found, sum(weight * value.detach() for _, weight, value in twin), rtol=2e-5, atol=0)
        assert next(weight for term, weight, _ in twin if term == "confident") == pytest.approx(ramp * 0.83)


@pytest.mark.parametrize(("consistency", "lambda_factor", "consistency_factor"), [(1.31, 1.0, 3.0), (0.0, 3.0, 0.0)])
def test_steering_turns_the_weight_that_holds_the_labels(consistency: float, lambda_factor: float,
                                                         consistency_factor: float,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = build("simgan", max_drift="1std", consistency=consistency)
    assert system.steering is not None
    monkeypatch.setattr(system.steering, "weight", lambda: torch.tensor(3.0))
    terms = dict(expected("simgan", system, batch))["refiner"]
    factors = {"lambda_reg": lambda_factor, "consistency": consistency_factor}
    total = sum(factors.get(term, 1.0) * weight * value.detach() for term, weight, value in terms)
    torch.testing.assert_close(descents(monkeypatch, system, batch)[0].loss, total, rtol=2e-5, atol=0)


@pytest.mark.parametrize(("step", "level"), [(0, 0.4), (10, 0.2), (19, 0.02)])
def test_the_noise_on_what_the_discriminator_sees_falls_to_nothing(step: int, level: float,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = build("simgan", instance_noise=0.4, r1=0.0, variety=0.0, shortcut=True)
    seen: list[Tensor] = []
    system.discriminator.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    descents(monkeypatch, system, batch, step)
    fooled, shown, photos = seen
    spread = (photos - (batch["real"] * 2 - 1)).std()
    assert float(spread) == pytest.approx(level, rel=0.1)
    for pictures, synthetic in ((fooled, batch["image"][:4]), (shown, batch["image"][4:])):
        clean = system.refine(synthetic * 2 - 1, torch.zeros(4, 1, 12, 16)).detach()
        assert float((pictures - clean).std()) > 0.8 * level


def test_the_hourglass_turns_and_crops_within_its_bounds_and_learns_the_moved_joints(
        monkeypatch: pytest.MonkeyPatch) -> None:
    from migaki.systems import hourglass as module

    bounds: list[tuple[float, ...]] = []

    def moved(images: Tensor, points: Tensor, *given: float) -> tuple[Tensor, Tensor]:
        bounds.append(given)
        return images.flip(3), points + 1.5

    monkeypatch.setattr(module.landmarks, "turn_and_crop", moved)
    for changes in ({"max_turn": 18.0}, {"max_scale": 0.2}, {"max_shift": 0.07}):
        system, batch = build("hourglass", **changes)
        found = descents(monkeypatch, system, batch)[0]
        shifted = batch | {"image": batch["image"].flip(3), "joints": batch["joints"] + 1.5}
        twin = sum(weight * value.detach() for _, weight, value in expected("hourglass", system, shifted)[0][1])
        torch.testing.assert_close(found.loss, twin, rtol=2e-5, atol=0)
    assert bounds == [(pytest.approx(0.1 * torch.pi), 0.0, 0.0), (0.0, 0.2, 0.0), (0.0, 0.0, 0.07)]


def test_the_layout_is_taken_from_the_first_rounds_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = build("simgan")
    for step, seen in ((0, 8), (49, 16), (50, 16), (300, 16)):
        descents(monkeypatch, system, batch, step)
        assert int(system.layout.counts[0]) == seen


def test_the_average_of_deep_detail_holds_its_statistics_too() -> None:
    system, batch = build("deep_detail", ema=0.9)
    system.train()
    mean = {key: value.clone() for key, value in system.average.state_dict().items()}
    for step in range(4):
        system.update(batch, step)
        d = min(0.9, (1 + step) / (10 + step))
        for key, value in system.net.state_dict().items():
            mean[key] = d * mean[key] + (1 - d) * value if value.is_floating_point() else value.clone()
    assert any("running_mean" in key for key in mean)
    for key, value in system.average.state_dict().items():
        torch.testing.assert_close(value, mean[key])
    (restored,) = system.predict({"image": batch["image"]}).values()
    torch.testing.assert_close(restored, system._restored(system.average, batch["image"]).clamp(0, 1))
