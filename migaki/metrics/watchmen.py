"""Watchmen: what the logged means of a refiner's training say is going wrong, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from migaki.metrics.drift import NAMES, Tolerance

Means = Mapping[str, float]
"""Mean scalars of an interval, by the names that SimGAN logs."""


def layout_warnings(means: Means) -> list[str]:
    """Two sets too different for a change of looks."""
    if means.get("layout/gap", 0.0) <= 1.0:
        return []
    return ["synthetic and real images differ in layout (where things are, not how they look), more than a "
            "refiner can mend: match crop, scale and pose of the two sets first"]


def drift_warnings(means: Means, tolerance: Tolerance) -> list[str]:
    """A tolerance that is not held although its controller had the time."""
    if means.get(f"drift/{NAMES[tolerance.unit]}", 0.0) <= 1.2 * tolerance.value:
        return []
    return [f"labels drift by more than --max-drift {tolerance}: if this lasts, raise it, raise --consistency or train "
            "longer"]


def player_warnings(means: Means, expected_age: float | None) -> list[str]:
    """Identity, collapse, a discriminator that wins, a stale buffer.

    `expected_age` is how many rounds old the images of the history should be; None without one.
    """
    said: list[str] = []
    if "refiner/adversarial" not in means:
        return said
    if means["refiner/change"] < 0.004:
        said.append("the refiner is the identity (mean change under 0.2 % of the range): lower --lambda-reg or "
                    "train longer")
    if means["refiner/diversity"] < 0.3:
        said.append("the refiner has collapsed (its images vary under 0.3 times as much as the synthetic ones): "
                    "raise --lambda-reg or lower --learning-rate")
    accuracy = min(means.get("discriminator/accuracy_refined", 0), means.get("discriminator/accuracy_real", 0))
    if accuracy > 0.97:
        said.append("the discriminator has won (over 97 % of the patches judged rightly on both sides), its "
                    "gradient says little: lower its --discriminator-width, raise --instance-noise or add --r1 1")
    age = means.get("history/age", 0.0)
    if expected_age is not None and math.isfinite(age) and age > 3 * expected_age + 10:
        said.append("the history buffer is not mixing (its images are older than they should be): lower --history")
    return said
