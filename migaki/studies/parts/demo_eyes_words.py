"""Texts of the demo on eyes: which data each model saw."""

from __future__ import annotations


def protocol(*, is_stand_in: bool, is_judged: bool, **counts: int) -> str:
    """Returns the text that says which data were used for what; `counts` are the demo's options of these names."""
    if is_stand_in:
        return _STAND_IN.format(ways=_WAYS, **counts)
    return _LABELLED_REAL.format(ways=_WAYS) if is_judged else _UNLABELLED_REAL


_WAYS = """\
Three other arms use the unlabelled pictures without refining. AdaBN (Li et al. 2016) takes the batch-norm \
statistics from them. The prior gives a model's predictions on them the median and spread of the synthetic \
labels: it assumes that people look around as the renderer does. In self-training a new model learns from the \
synthetic eyes and from the adapted model's predictions on the pictures."""

_STAND_IN = """\
No photographs were given, so the pictures come from a stand-in for a dim near-infrared camera of an eye tracker. \
They are renderings too, of other people (skins 12 to 19 instead of 0 to 11, more lashes, irises and skin bright, \
harder light) through a modelled camera (automatic exposure, vignette, tone curve, blur, noise, sharpening, JPEG). By \
construction the two sets differ in looks only, which a refiner can change. What helps here may help less on your \
photos: try `migaki demo eyes --photos DIR`.

The refiner saw {count} rendered eyes and {photos} of the stand-in's pictures without labels; the first model \
trained on the rendered eyes was the estimator that preserves labels. The gaze models were judged on {test} other \
pictures. The upper bound was trained on the labels of {labelled} more, which no other arm saw. Every gaze model took \
{steps} steps of 64 images, without augmentation or equalisation, as in the paper; runs of one arm differ only in \
their seed. \
{ways}"""

_LABELLED_REAL = """\
Your folder has gaze labels. The refiner saw the first half of it, in the folder's order, without labels. The labels \
of the second half were used only to judge the gaze models. There is no upper bound, since none of your labels \
trained a model. The histograms of all pictures, rendered or real, were equalised. {ways}"""

_UNLABELLED_REAL = """\
The refiner saw all your photos; none has a label. The histograms of all pictures, rendered or real, were \
equalised, so that the refiner need not learn your exposure. Each photo should show one eye, cropped as the rendered \
ones are: the eye's corners a quarter of the width from the left and right edge."""
