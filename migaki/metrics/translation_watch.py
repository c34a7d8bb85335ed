"""Warnings of unpaired translation (CUT, CycleGAN), derived from the logged means, each with a remedy."""

from __future__ import annotations

from collections.abc import Mapping

from migaki.metrics.watchmen import layout_warnings

_MOVED = {"percent": 5.0, "px": 1.0, "deg": 1.0, "std": 0.2}  # mean drift above which a warning is given


def translation_warnings(means: Mapping[str, float], holds: str, *, is_layout_known: bool) -> list[str]:
    """Warn of an identity, collapse, a discriminator that has won, labels that drift, and sets that differ in layout.

    `holds` names the option whose weight ties the output to the input.
    """
    said = layout_warnings(means) if is_layout_known else []
    if means["refiner/change"] < 0.004:
        said.append(f"the translator is the identity (mean change under 0.2 % of the range): lower {holds} or train "
                    "longer")
    if means["refiner/diversity"] < 0.3:
        said.append("the translator has collapsed (its images vary under 0.3 times as much as the synthetic ones): "
                    f"raise {holds} or lower --learning-rate")
    if min(means["discriminator/accuracy_refined"], means["discriminator/accuracy_real"]) > 0.97:
        said.append("the discriminator has won (over 97 % of the patches judged rightly on both sides), its gradient "
                    "says little: lower --discriminator-features or raise --batch-size")
    for unit, most in _MOVED.items():
        if means.get(f"drift/{unit}", 0.0) > most:
            said.append(f"labels drift by more than {most:g} {unit}: the translator may move or repaint what they say: "
                        "raise --consistency")
    return said
