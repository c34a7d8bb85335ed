"""Overlaps of masks and errors of depth against naive twins; their baselines; what is worst and best."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.core.errors import UserError
from migaki.metrics.extremes import Extremes
from migaki.metrics.segmentation import DepthErrors, MaskOverlap, mask_drift

DRAW = torch.Generator().manual_seed(1)


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    """Read and true masks of 4 classes, of which one never occurs; some pixels are to be ignored."""
    truth = torch.randint(0, 3, (5, 6, 7), generator=DRAW).to(torch.uint8)
    truth[0, :2] = 255
    read = torch.where(torch.rand(5, 6, 7, generator=DRAW) < 0.7, truth % 3, torch.randint(0, 3, (5, 6, 7),
                                                                                          generator=DRAW))
    return read.to(torch.uint8), truth


def naive_overlap(read: np.ndarray, truth: np.ndarray, which: int) -> float | None:  # type: ignore[type-arg]
    both = either = 0
    for one, other in zip(read.ravel(), truth.ravel(), strict=True):
        if other != 255:
            both += one == which and other == which
            either += one == which or other == which
    return both / either if either else None


def test_overlap_of_each_class_equals_a_naive_twin() -> None:
    read, truth = masks()
    metric = MaskOverlap(4, ("ground", "cat"))
    metric.update({"mask": read[:2]}, {"mask": truth[:2]})
    metric.update({"mask": read[2:]}, {"mask": truth[2:]})
    figures = metric.compute()
    wanted = [naive_overlap(read.numpy(), truth.numpy(), which) for which in range(4)]
    assert figures["iou"] == [pytest.approx(value) if value is not None else None for value in wanted]
    known = [value for value in wanted if value is not None]
    assert figures["iou"][3] is None and figures["miou"] == pytest.approx(sum(known) / 3)
    there = truth != 255
    assert figures["pixel_accuracy"] == pytest.approx(float((read == truth)[there].float().mean()))
    assert figures["classes"] == ["ground", "cat", "2", "3"] and figures["count"] == 5
    assert sum(map(sum, figures["confusion"])) == int(there.sum())
    each = [naive_overlap(read[0].numpy(), truth[0].numpy(), which) for which in range(4)]
    assert metric.images[0] == pytest.approx(1 - float(np.mean([value for value in each if value is not None])))


def test_the_most_frequent_class_is_the_baseline() -> None:
    truth = torch.tensor([[[0, 0, 0, 1], [0, 2, 255, 255]]])
    metric = MaskOverlap(3)
    metric.update({"mask": truth.clamp_max(2)}, {"mask": truth})
    figures = metric.baseline().figures
    assert figures["miou"] == pytest.approx(4 / 6 / 3) and figures["pixel_accuracy"] == pytest.approx(4 / 6)


def test_masks_that_do_not_fit_are_refused() -> None:
    metric = MaskOverlap(2)
    with pytest.raises(UserError, match="no pixel of a mask has a class"):
        metric.compute()
    with pytest.raises(ValueError, match="masks must be"):
        metric.update({"mask": torch.zeros(1, 2, 3)}, {"mask": torch.zeros(1, 3, 2)})
    with pytest.raises(ValueError, match="outside of 0 to 1"):
        metric.update({"mask": torch.zeros(1, 2, 2)}, {"mask": torch.full((1, 2, 2), 3)})


def test_drift_of_masks_is_the_lost_overlap_of_each_image() -> None:
    read, truth = masks()
    truth = truth % 3
    logits = [torch.nn.functional.one_hot(mask.long(), 4).permute(0, 3, 1, 2).float() for mask in (read, truth)]
    metric = MaskOverlap(4)
    found = metric.drift_between("mask_logits", logits[0], logits[1])
    for n in range(5):
        each = [naive_overlap(read[n].numpy(), truth[n].numpy(), which) for which in range(4)]
        wanted = 1 - float(np.mean([value for value in each if value is not None]))
        assert float(found[n]) == pytest.approx(100 * wanted, abs=1e-3)
    torch.testing.assert_close(metric.drift_error("mask_logits", logits[0], {"mask": truth}), found)
    small = [metric.condensed("mask_logits", one) for one in logits]
    assert small[0].dtype == torch.uint8
    torch.testing.assert_close(metric.drift_between("mask_logits", *small), found)
    assert mask_drift(truth, truth, 4).tolist() == [0] * 5 and metric.drift_unit("mask_logits") == "%"


def test_depth_errors_equal_their_definitions() -> None:
    truth = torch.rand(3, 5, 6, generator=DRAW, dtype=torch.float64) * 3000 + 200
    truth[0, :2], truth[1, 0, 0] = 0, torch.nan
    read = truth.nan_to_num(0) * (1 + torch.randn(3, 5, 6, generator=DRAW) * 0.2) + 5
    metric = DepthErrors()
    metric.update({"depth": read[:1]}, {"depth": truth[:1]})
    metric.update({"depth": read[1:]}, {"depth": truth[1:]})
    figures = metric.compute()
    known = np.flatnonzero((truth > 0).numpy().ravel())
    d, p = truth.numpy().ravel()[known], read.numpy().ravel()[known]
    assert figures["abs_rel"] == pytest.approx(np.mean(np.abs(d - p) / d))
    assert figures["rmse"] == pytest.approx(np.sqrt(np.mean((d - p) ** 2)))
    assert figures["delta_1.25"] == pytest.approx(np.mean(np.maximum(d / p, p / d) < 1.25))
    middle = np.median(d)
    base = metric.baseline().figures
    assert base["abs_rel"] == pytest.approx(np.mean(np.abs(d - middle) / d), rel=0.02)
    assert base["rmse"] == pytest.approx(np.sqrt(np.mean((d - middle) ** 2)), rel=0.02)
    with pytest.raises(UserError, match="no pixel has a measurement"):
        DepthErrors().compute()


def test_drift_of_depth_is_relative() -> None:
    before = torch.tensor([[[100.0, 200], [400, 100]]])
    metric = DepthErrors()
    assert metric.drift_between("depth", before * 1.1, before).tolist() == [pytest.approx(10, abs=1e-3)]
    truth = {"depth": torch.tensor([[[0.0, 100], [400, 0]]])}
    assert metric.drift_error("depth", before, truth).tolist() == [pytest.approx(50)]
    assert metric.drift_unit("depth") == "%"


def test_the_best_and_the_worst_are_kept() -> None:
    errors = [0.3, 0.9, 0.1, 0.9, 0.5]
    kept = Extremes(2)
    for index, error in enumerate(errors):
        kept.add(error, index, f"r{index}", f"t{index}")
    assert [one.index for one in kept.worst] == [1, 3] and [one.index for one in kept.best] == [2, 0]
    assert kept.best[0].read == "r2" and kept.best[0].truth == "t2"
