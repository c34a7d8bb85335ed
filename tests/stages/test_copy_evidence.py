"""What speaks for a copy: the level of doubles, what is kept of a photograph, and doubles in the figures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from migaki.data import local_match
from migaki.report.copy_pairs import framed
from migaki.stages.copy_evidence import Pictured, double_level, doubles_of, unit
from migaki.stages.copy_findings import _judged


def picture(seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (20, 27, 3), np.uint8)
    return Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC)


def test_what_is_usual_is_not_told_by_doubles() -> None:
    """Everything may be there three times: pictures that are alike to the network still lie below the level."""
    draw = np.random.default_rng(0)
    apart = unit(draw.normal(size=(60, 32)).astype(np.float32))
    thrice = unit(np.repeat(apart, 3, 0) + 0.02 * draw.normal(size=(180, 32)).astype(np.float32))
    assert double_level(thrice) == double_level(apart) == 0.95
    alike = unit(1 + 0.2 * apart)
    level = double_level(alike)
    assert level > np.sort(alike @ alike.T, 1)[:, -2].mean()
    assert doubles_of(0, np.array([0, 1, 2, 3, 50]), thrice, 0.95).tolist() == [True, True, True, False, False]


def test_nothing_large_is_kept_of_a_photograph() -> None:
    grey = np.asarray(picture(5).resize((1200, 900)).convert("L"))
    kept = Pictured(grey)
    assert kept.points.size == (900, 1200) and kept.points.places[:, 0].max() > 600
    assert max(kept._grey.shape) == local_match.SIDE
    turned = Pictured(np.ascontiguousarray(grey[:, ::-1]))
    aligned = turned.within(kept)
    assert aligned is not None and aligned.is_mirrored and kept.is_same(turned)
    np.testing.assert_allclose(aligned.matrix, [[-1, 0, 1199], [0, 1, 0]], atol=8)
    assert not kept.is_same(Pictured(np.asarray(picture(6).convert("L"))))
    assert framed(np.zeros((3, 900, 1200), np.float32), [0, 0, 50, 50]).size == (150, 112)


def test_a_double_stands_for_an_original_that_is_not_listed() -> None:
    """Nine doubles of one original may fill all places: the copy is found all the same."""
    draw = np.random.default_rng(0)
    rows = unit(draw.normal(size=(4, 8)).astype(np.float32))[[0, 0, 0, 1, 2]]
    known = SimpleNamespace(names=["first", "again", "once more", "other", "last"], descriptors=rows)
    scores = np.array([[3.0, 2.0], [1.0, 0.5]])
    pairs: Any = SimpleNamespace(index=known, scores=scores, places=np.array([[1, 2], [3, 4]]), level=0.95,
                                 is_copy=np.array([[True, True], [False, False]]))
    pairs.original = lambda query, rank: known.names[pairs.places[query, rank]]
    figures = _judged(pairs, ["first", None])
    assert figures["copies"] == 1 and figures["called_recall"] == figures["called_precision"] == 1
    assert figures["first"] == figures["micro_ap"] == 1
    # By key points the second is the likelier double, although the network finds the first more alike.
    pairs.scores, pairs.is_copy = np.array([[-2.0, 3.0], [1.0, 0.5]]), np.array([[False, True], [False, False]])
    figures = _judged(pairs, ["first", None])
    assert figures["called_recall"] == figures["micro_ap"] == 1
