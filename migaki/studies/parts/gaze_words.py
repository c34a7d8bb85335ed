"""The gaze study in words: who saw what, what differs from the paper."""

from __future__ import annotations

from migaki.studies.parts.gaze_recipe import GazeRecipe


def protocol(config: GazeRecipe, photos: int, labelled: int) -> str:
    """Who saw what, how long all trained, which checkpoint is judged."""
    eyes = f"the eyes in {config.synthetic}" if config.synthetic else \
        f"{4 * config.count:,} rendered eyes (the small sets: the first {config.count:,} of them)"
    pictures = f"{photos:,} pictures of the stand-in camera" if config.is_stand_in else \
        f"the {photos:,} photographs in {config.photos}"
    if config.synthetic is None and not config.is_stand_in:
        eyes += f", rendered with a head roll of {config.head_roll[0]:g} ± {config.head_roll[1]:g} degrees " \
                f"(--head-roll; by default that of MPIIGaze's photographs) and the gaze prior {config.gaze_prior}"
    words = f"""\
The refiners saw {eyes} and, without labels, {pictures}. Every refiner took {config.rounds} rounds of \
{config.refiner_batch} images, the ablations' as many gradient steps. The first CNN trained on synthetic eyes held the \
labels while the refiners learned; it never saw a real one."""
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
    """What the adapted arms do."""
    words = """\
+ AdaBN (Li et al. 2016): the statistics of batch norm are taken from the unlabelled photographs. + prior: besides, \
the predictions on the photographs of each side of the face are given the median and spread of the synthetic labels. \
That presumes that people look about as the synthetic eyes do; it is knowledge about the use, and right or wrong with \
it, but no label of an image. Both are done to the finished models of the arms above."""
    return words + _TAUGHT if config.self_training else words


_TAUGHT = """

+ self-training: a CNN with AdaBN and prior reads the photographs, and a new one is trained on the synthetic eyes and \
on these photographs with what was read, half and half, as long as all others. 'Held to labels': the refiner's \
estimator is such a CNN, and what it reads off a refined eye must be the label (--hold label) instead of what it read \
before; so the refiner may move what the renderer got wrong, and the gaze model is trained on its pictures alone. Both \
lean on the prior as far as the labels read do."""


def differs(config: GazeRecipe) -> str:
    """What differs from the paper, plainly."""
    renderer = "the eyes are your own" if config.synthetic else (
        f"the renderer is ours ({'from the assets of UnityEyes' if config.assets else 'the built-in eye'}), and "
        f"the large set has {4 * config.count:,} eyes instead of 1.2 million")
    cnn = "the paper's network" if config.net == "paper" else "a small residual network with augmentation"
    return f"""\
What differs from the paper, whose figures stand beside ours: it was judged on MPIIGaze's 15 people and learned from \
214,000 unlabelled photographs; here the pictures are those of your folders (of MPIIGaze, if they are one person's, \
errors are far lower: compare within a column, not across). Besides, {renderer}; the CNN is {cnn}; our refiner has a \
label-consistency term with an estimator beside the self-regularisation; and all that was trained for minutes."""
