"""The demo on eyes in words: who saw what."""

from __future__ import annotations


def protocol(*, is_stand_in: bool, is_judged: bool, **counts: int) -> str:
    """What was used for what; `counts` are the demo's options of these names."""
    if is_stand_in:
        return _STAND_IN.format(ways=_WAYS, **counts)
    return _LABELLED_REAL.format(ways=_WAYS) if is_judged else _UNLABELLED_REAL


_WAYS = """\
Three rivals use the unlabelled pictures without refining. AdaBN (Li et al. 2016) takes the statistics of the \
network's normalisation from them. The prior gives a model's readings of them the middle and spread of the synthetic \
labels: it presumes that people look about as the renderer supposes. In self-training a new model learns from the \
synthetic eyes and from what the model so adapted reads off the pictures."""

_STAND_IN = """\
No photograph was at hand, so a stand-in for a dim near-infrared camera took the pictures, such as eye trackers have: \
they are renderings too, of other people (skins 12 to 19 instead of 0 to 11, more lashes, irises and skin bright, \
harder light) through a modelled camera (automatic exposure, vignette, tone curve, blur, noise, sharpening, JPEG). The \
gap is one of looks by construction, which is what a refiner can close; what helps here may help less on your photos: \
try `migaki demo eyes --photos DIR`.

The refiner saw {count} rendered eyes and {photos} of the stand-in's pictures without labels; the first model \
trained on the rendered eyes held their labels. The gaze models were judged by {test} other pictures. The upper \
bound was trained on the labels of {labelled} more, which no other arm saw. Every gaze model took {steps} steps of \
64 images, without augmentation or equalisation, as in the paper; runs of one arm differ in their seed alone. \
{ways}"""

_LABELLED_REAL = """\
Your folder has gaze labels. The first half of it, in its own order, went to the refiner without them; the labels of \
the second half judged the gaze models and did nothing else. There is no upper bound, since no label of yours trained \
a model. All pictures, the rendered ones too, had their histograms equalised. {ways}"""

_UNLABELLED_REAL = """\
All your photos went to the refiner; none has a label. All pictures, the rendered ones too, had their histograms \
equalised, so that the refiner need not learn your exposure. The photos should be patches of one eye each, cropped as \
the rendered ones are: the eye's corners a quarter of the width from the left and right edge."""
