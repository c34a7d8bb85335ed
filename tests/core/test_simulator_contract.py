"""What `core.simulator.Simulator` promises, for every simulator there is (in its smallest form)."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any

import numpy as np
import pytest
import torch

from migaki.core.batch import Batch
from migaki.core.config import from_dict, to_dict
from migaki.core.discovery import find_class, names_in
from migaki.core.glossary import glossary
from migaki.core.simulator import Simulator
from migaki.data.sets.labels import batch_rows

SMALL: dict[str, Any] = {"height": 24, "width": 24, "size": 16, "supersample": 1}
every_simulator = pytest.mark.parametrize("name", sorted(names_in("simulate", "Simulator")))


def build(name: str) -> Simulator:
    """The simulator with few pixels."""
    cls = find_class("simulate", name, Simulator)
    known = {field.name: field for field in dataclasses.fields(cls.Config)}
    small = {key: value for key, value in SMALL.items() if key in known and isinstance(known[key].default, int)}
    made: Simulator = cls(cls.Config(**small))  # type: ignore[call-arg]
    return made


def equal(a: Batch, b: Batch) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key].nan_to_num(-9.0), b[key].nan_to_num(-9.0)) for key in a)


def pick(batch: Batch, places: list[int]) -> Batch:
    return {key: value[places] for key, value in batch.items()}


@every_simulator
def test_an_image_does_not_depend_on_its_batch(name: str) -> None:
    simulator = build(name)
    together = simulator.render(5, [0, 1, 2, 3])
    assert equal(simulator.render(5, [2]), pick(together, [2]))
    assert equal(simulator.render(5, [3, 0]), pick(together, [3, 0]))
    assert equal(build(name).render(5, range(4)), together)
    assert not torch.equal(simulator.render(6, [0])["image"], together["image"][:1])
    assert not torch.equal(together["image"][0], together["image"][1])


@every_simulator
def test_it_leaves_the_global_generators_alone(name: str) -> None:
    simulator = build(name)
    before, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    simulator.render(5, [0])
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == legacy).all()  # type: ignore[index]


@every_simulator
def test_keys_shapes_and_ranges(name: str) -> None:
    simulator = build(name)
    batch = simulator.render(1, range(6))
    told = f"{type(simulator).__doc__} {type(simulator).render.__doc__}"
    image = batch["image"]
    assert image.ndim == 4 and image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1
    for key, value in batch.items():
        assert len(value) == 6, key
        assert key in glossary() or re.search(rf"`{key}`", told), f"'{key}' is neither in the glossary nor documented"
        assert not value.is_floating_point() or torch.isfinite(value).all(), key
        if key in glossary() and all(size.isdigit() for size in glossary()[key].shape):
            assert tuple(map(str, value.shape[1:])) == glossary()[key].shape, key
    for key in ("gaze", "optical_gaze", "head_pose", "kappa"):
        if key in batch:
            assert batch[key].abs().max() < math.pi / 2
    for key in ("iris_visible", "eyelid_visible", "joint_visible", "side"):
        if key in batch:
            assert set(batch[key].unique().tolist()) <= {0, 1}
    if "label" in batch:
        assert batch["label"].dtype == torch.int64 and batch["label"].min() >= 0
    if "gaze_vector" in batch:
        torch.testing.assert_close(batch["gaze_vector"].norm(dim=1), torch.ones(6), atol=1e-4, rtol=0)


@every_simulator
def test_labels_can_be_written(name: str) -> None:
    rows = batch_rows({key: value for key, value in build(name).render(1, range(2)).items() if key != "image"})
    plain = [{k: v for k, v in row.items() if not isinstance(v, torch.Tensor)} for row in rows]
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


@every_simulator
def test_config_round_trips(name: str) -> None:
    config = build(name).config
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config
