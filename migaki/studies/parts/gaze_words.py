"""Texts of the gaze study: which data each model saw, and what differs from the paper."""

from __future__ import annotations

from migaki.studies.parts.gaze_recipe import GazeRecipe


def protocol(config: GazeRecipe, photos: int, labelled: int) -> str:
    """Returns which data each model saw, how long each trained, and which checkpoint is judged."""
    eyes = f"the eyes in {config.synthetic}" if config.synthetic else \
        f"{4 * config.count:,} rendered eyes (the small sets: the first {config.count:,} of them)"
    pictures = f"{photos:,} pictures of the stand-in camera" if config.is_stand_in else \
        f"the {photos:,} photographs in {config.photos}"
    if config.synthetic is None and not config.is_stand_in:
        eyes += f", rendered with a head roll of {config.head_roll[0]:g} ± {config.head_roll[1]:g} degrees " \
                f"(--head-roll; by default that of MPIIGaze's photographs) and the gaze prior {config.gaze_prior}"
    words = f"""\
The refiners saw {eyes} and, without labels, {pictures}. Every refiner took {config.rounds} rounds of \
{config.refiner_batch} images; those of the ablations took as many gradient steps. The first CNN trained on synthetic \
eyes was the estimator that preserves labels while the refiners train; it never saw a real eye."""
    if config.is_judged:
        words += f"""\
 Every CNN took {config.cnn_steps} updates of {config.cnn_batch} images with one schedule, whatever it was trained on, \
and was judged by {labelled:,} other pictures with labels.

The stopping rule is the budget: the last checkpoint is judged, none is chosen, and this study chooses nothing by a \
real label. (Some of migaki's own defaults were found with test figures in view: its docs/results.md names them.) \
The column 'saw of real data' names what each arm was shown; only the upper bound was trained on real labels, and each \
picture was judged by the model that had not trained on it."""
    else:
        words += """\
 The stopping rule is the budget: the last checkpoint is taken, none is chosen."""
    if config.is_stand_in:
        words += """

No photographs were given, so a stand-in camera took the pictures: they are renderings too, of other people through a \
modelled camera. What helps here may help less on photographs: give --photos and --data."""
    return words


def adapted_words(config: GazeRecipe) -> str:
    """Returns what the adapted arms do."""
    words = """\
+ AdaBN (Li et al. 2016): the statistics of batch norm are taken from the unlabelled photographs. + prior: also, \
the predictions on the photographs of each side of the face are given the median and spread of the synthetic labels. \
This assumes that people look around as the synthetic eyes do. It is knowledge about the use and no label of an image. \
Both are applied to the finished models of the arms above."""
    return words + _TAUGHT if config.self_training else words


_TAUGHT = """

+ self-training: a CNN with AdaBN and prior predicts the gaze of the photographs. A new CNN is trained on the \
synthetic eyes and on the photographs with these predictions, half and half, as long as all others. 'Held to labels': \
the refiner's estimator is such a CNN, and its prediction for a refined eye must equal the label (--hold label), not \
its prediction before refining. The refiner may then correct errors of the renderer, and the gaze model is trained on \
its pictures only. Both arms depend on the prior through these predictions."""


def differs(config: GazeRecipe) -> str:
    """Returns what differs from the paper."""
    renderer = "the eyes are your own" if config.synthetic else (
        f"the renderer is ours ({'from the assets of UnityEyes' if config.assets else 'the built-in eye'}), and "
        f"the large set has {4 * config.count:,} eyes instead of 1.2 million")
    cnn = "the paper's network" if config.net == "paper" else "a small residual network with augmentation"
    return f"""\
The paper's figures stand beside ours and differ in several ways. The paper judged on MPIIGaze's 15 people and learned \
from 214,000 unlabelled photographs; here the pictures are those of your folders. If they show one person of MPIIGaze, \
errors are far lower, so compare within a column. Also, {renderer}; the CNN is {cnn}; our refiner adds a \
label-consistency term with an estimator to the self-regularisation; and training took minutes."""
