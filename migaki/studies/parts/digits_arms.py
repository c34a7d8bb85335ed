"""The arms of the digits study: the options of each line of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from migaki.systems.adapted_classifier import AdaptedClassifier
from migaki.systems.classifier import Classifier

Pictures = Literal["plain", "framed", "refined", "kept", "target"]
"""The labelled pictures: as they came, framed, framed and refined, framed and refined with the labels held; the
target's own, framed, which is an upper bound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DigitsArm:
    """One line of the table, the same both ways."""

    slug: str
    name: str
    pictures: Pictures
    photos: bool  # whether the unlabelled pictures of the target are shown to the classifier
    config: Classifier.Config | AdaptedClassifier.Config

    @property
    def is_side(self) -> bool:
        """Returns whether the arm is secondary and has fewer seeds."""
        return (self.pictures in ("refined", "kept", "target") or (self.pictures == "plain" and self.photos)
                or self.is_long)

    @property
    def is_long(self) -> bool:
        """Returns whether the arm has a larger budget than the others."""
        return self.slug in ("augmented_long", "long")

    @property
    def is_bound(self) -> bool:
        """Returns whether the arm is trained on labels of the target, as an upper bound for the others."""
        return self.pictures == "target"

    @property
    def saw(self) -> str:
        """Returns what the arm saw of the target, in words."""
        if self.is_bound:
            return "its labels"
        return "no label" if self.photos or self.pictures in ("refined", "kept") else "nothing"


def digits_arms(steps: int, batch_size: int, features: int, size: int, plain_size: int) -> list[DigitsArm]:
    """Returns all arms in the order of the table. Both directions have the same arms with equal networks and, unless
    noted, equal budgets."""

    def source(augment: bool, side: int = size, times: int = 1) -> Classifier.Config:
        return Classifier.Config(channels=1, height=side, width=side, num_classes=10, steps=times * steps,
                                 features=features, batch_size=batch_size, augment=augment,
                                 handwriting=float(augment))

    def adapted(terms: tuple[float, float, float], side: int = size, times: int = 1) -> AdaptedClassifier.Config:
        """`terms`: weights of alignment, of both of SHOT's terms, of self-training; `times` multiplies the steps."""
        alignment, shot, confident = terms
        return AdaptedClassifier.Config(
            channels=1, height=side, width=side, num_classes=10, steps=times * steps, features=features,
            batch_size=batch_size, alignment=alignment, information=shot, centroids=shot, confident=confident)

    align, shot, own = WEIGHTS
    return [
        DigitsArm(slug="source", name="source only, pictures as they come", pictures="plain", photos=False,
                  config=source(False, plain_size)),
        DigitsArm(slug="framed", name="+ framed: one box, upright", pictures="framed", photos=False,
                  config=source(False)),
        DigitsArm(slug="augmented", name="+ augmentation: other hands and pens", pictures="framed", photos=False,
                  config=source(True)),
        DigitsArm(slug="adabn", name="+ AdaBN", pictures="framed", photos=True, config=source(True)),
        DigitsArm(slug="refined", name="+ refiner", pictures="refined", photos=True, config=source(True)),
        DigitsArm(slug="kept", name="+ refiner with task consistency", pictures="kept", photos=True,
                  config=source(True)),
        DigitsArm(slug="aligned", name="... + feature alignment", pictures="kept", photos=True,
                  config=adapted((align, 0.0, 0.0))),
        DigitsArm(slug="shot", name="... + information maximisation, centroids", pictures="kept", photos=True,
                  config=adapted((align, shot, 0.0))),
        DigitsArm(slug="all", name="... + self-training", pictures="kept", photos=True,
                  config=adapted((align, shot, own))),
        DigitsArm(slug="lean", name="framed, information, centroids, self-training; no refiner", pictures="framed",
                  photos=True, config=adapted((0.0, shot, own))),
        DigitsArm(slug="long", name="framed, the same three, three times the steps", pictures="framed", photos=True,
                  config=adapted((0.0, shot, own), times=3)),
        DigitsArm(slug="augmented_long", name="framed and augmented, three times the steps; nothing of the target",
                  pictures="framed", photos=False, config=source(True, times=3)),
        DigitsArm(slug="lean_plain", name="no framing either, pictures as they come", pictures="plain", photos=True,
                  config=adapted((0.0, shot, own), plain_size)),
        DigitsArm(slug="target", name="upper bound: trained on the target's labels, framed and augmented",
                  pictures="target", photos=False, config=source(True)),
    ]


WEIGHTS = (0.1, 0.1, 1.0)
"""Weights of alignment, information maximisation and centroids, self-training; chosen without target labels."""

PUBLISHED = {  # target accuracy in per cent: MNIST to USPS, USPS to MNIST
    "source only (CyCADA's network)": (81.8, 49.4),
    "DANN": (88.4, 95.7),
    "ADDA": (89.4, 90.1),
    "UNIT": (95.97, 93.58),
    "PixelDA": (95.9, None),
    "CyCADA": (95.6, 96.5),
    "SBADA-GAN": (97.6, 95.0),
    "SHOT": (98.0, 98.4),
}
"""As the papers print them."""
