"""Watchmen: warnings about a refiner's training, derived from its logged means, each with a remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping

from migaki.metrics.drift import Tolerance, unit_name

Means = Mapping[str, float]
"""Mean scalars of an interval, by the names that SimGAN logs."""


def layout_warnings(means: Means) -> list[str]:
    """Warn if the two sets differ too much for a change of appearance."""
    if means.get("layout/gap", 0.0) <= 1.0:
        return []
    return ["synthetic and real images differ in layout (where things are, not how they look), more than a "
            "refiner can mend: match crop, scale and pose of the two sets first"]


def round_warnings(rounds: int, beforehand: int) -> list[str]:
    """Warn if the pre-trainings take all rounds."""
    if rounds > beforehand:
        return []
    return [f"all {rounds} rounds are pre-training, which takes {beforehand}: the two networks never play against each "
            "other: raise --steps"]


def drift_warnings(means: Means, tolerance: Tolerance) -> list[str]:
    """Warn if the drift exceeds its tolerance although the controller had enough time."""
    if means.get(f"drift/{unit_name(tolerance.unit)}", 0.0) <= 1.2 * tolerance.value:
        return []
    return [f"labels drift by more than --max-drift {tolerance}: if this lasts, raise it, raise --consistency or train "
            "longer"]


def looks_warnings(means: Means) -> list[str]:
    """Warn about grain left, drawn or missing, a checkerboard, and pictures that are easier to tell than before.

    Reads what `LooksWatch` logs; what is not logged is not judged.
    """
    said: list[str] = []
    photos, given, refined = (means.get(f"grain/{name}", math.nan) for name in ("photos", "given", "refined"))
    if refined > photos + _GRAIN and given > photos + _GRAIN:
        said.append("the grain of the renderings is left (over twice the photographs' amplitude in the finest band of "
                    "the spectrum): give --psi lowpass, lower --lambda-reg or train longer")
    elif refined > photos + _GRAIN:
        said.append("the refiner draws grain (over twice the photographs' amplitude in the finest band of the "
                    "spectrum): raise --r1 or --lambda-reg, or lower --learning-rate")
    elif refined < photos - _GRAIN:
        said.append("refined pictures are smoother than photographs (under half their amplitude in the finest band of "
                    "the spectrum): give --noise-channels 1 and --psi lowpass, or train longer")
    if means.get("checkerboard/peak", 0.0) > _PEAK:
        said.append("the refiner draws a checkerboard (its change stands out at a period of 2 or 4 px): give --layout "
                    "scales, --scale 1 or raise --lambda-reg")
    if means.get("apart/refined", 0.0) > _FURTHER * means.get("apart/given", math.inf) + _CHANCE:
        said.append("refined pictures are easier to tell from photographs than what they were made from (by a linear "
                    "observer): raise --lambda-reg or --r1, or do without: `migaki apply match`")
    return said


_GRAIN = 2 * math.log(2)  # natural log of the power: twice the amplitude
_PEAK = 6.0  # times the power beside it
_FURTHER, _CHANCE = 1.1, 0.2  # deviations between two sets; that of one set from itself is about 0 +- 0.1


def player_warnings(means: Means, expected_age: float | None) -> list[str]:
    """Warn about a refiner that stays the identity, collapse, a winning discriminator, or a stale buffer.

    `expected_age` is the expected age of the images in the history, in rounds; None without a history.
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
