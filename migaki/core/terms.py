"""What the terms of metrics.jsonl mean, in words. A name is `network/term`; the words belong to the term."""

from __future__ import annotations

from typing import Final

WORDS: Final = {
    "loss": "what the optimiser makes smaller",
    "skipped": "the share of steps left out because a gradient was not finite; 0 is right",
    "accuracy": "the share that is told right",
    "error_deg": "degrees between what the model reads and the label, on training images",
    "error_px": "pixels between what the model reads and the label, on training images",
    "psnr": "peak signal-to-noise ratio of the output against the clean picture, in dB",
    "psnr_damaged": "the same of the input: what doing nothing costs",
    "psnr_bicubic": "the same of bicubic enlargement: what costs nothing",
    "ab_error": "distance in colour (a and b of Lab) from the true picture",
    "ab_grey": "the same of a grey picture: what costs nothing",
    "adversarial": "how well the discriminator tells the output from real pictures; 0 would be a perfect disguise",
    "self_regularisation": "how far refined pictures are from their renderings (eq. 4, without its weight)",
    "change": "mean absolute change of a value, on a scale from -1 to 1",
    "diversity": "the spread of the outputs over that of the inputs; far below 1 they all look alike",
    "variety": "mean difference of two outputs of one input with other noise, as a share of the range",
    "label_drift": "how far an estimator's reading moves when a picture is refined, in the label's unit",
    "accuracy_real": "the share of real pictures that the discriminator tells for real",
    "accuracy_refined": "the share of refined pictures that the discriminator finds out; half of both is a draw",
    "accuracy_made": "the share of made pictures that the discriminator finds out; half of both is a draw",
    "age": "steps since the pictures in the history were made, on average",
    "fullness": "the share of the history of refined pictures that is filled",
    "gap": "distance between the layouts of the two sets: framing and scale, not looks",
    "confident": "cross-entropy of the photographs whose class is taken for certain",
    "sure": "the share of photographs whose class is taken for certain",
    "information": "how sure and how varied the readings of photographs are, in nats",
    "centroids_agree": "the share of photographs whose class two ways of reading agree on",
}


def meaning(name: str) -> str:
    """Returns what a term means; empty where nobody has said it."""
    return WORDS.get(name.rpartition("/")[2], "")
