"""The demo on eyes: render, photograph, refine, train gaze models on everything, and compare them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.importers.photos import Photos
from migaki.lab.chain import Leg, Step, apply_step, evaluate_step, import_step, run_chain, simulate_step, train_step
from migaki.lab.demo_page import Story, write_page
from migaki.lab.demo_results import Arm
from migaki.simulate.eyes import EyeSimulator
from migaki.simulate.stand_in_camera import StandInCamera
from migaki.stages.apply import ApplyJob
from migaki.stages.evaluate import EvaluateJob
from migaki.stages.simulate import SimulateJob
from migaki.studies.gaze_steps import adapt_step
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

SKINS = tuple(range(12))  # of the simulator's twenty; the stand-in camera's people have the others
FEWEST_PHOTOS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class EyesDemo:
    """How large the demo is. The defaults take less than six minutes on two cores."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "out real seed seeds count steps refiner_steps"}
    NAMES: ClassVar[dict[str, str]] = {
        "real": "photos",
        "photos": "num_photos",
        "labelled": "num_labelled",
        "test": "num_test",
    }

    out: Path = Path("demo")  # everything goes there; what is there already is not made again
    real: Path | None = None  # a folder of your own photographs of eyes; without it a stand-in camera
    seed: int = 0  # of everything; runs of an arm take seed, seed + 1, ...
    seeds: int = 2  # runs of each arm
    count: int = 6000  # rendered eyes
    photos: int = 1500  # unlabelled pictures for the refiner
    labelled: int = 4000  # labelled pictures for the upper bound
    test: int = 1000  # labelled pictures that judge
    refiner_steps: int = 500  # rounds of Algorithm 1
    steps: int = 700  # updates of each gaze model, of 64 images

    def __post_init__(self) -> None:
        for name in ("seeds", "count", "photos", "labelled", "test", "refiner_steps", "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"migaki demo: --{name.replace('_', '-')} must be at least 1")


def demo_eyes(options: EyesDemo, *, quiet: bool = False) -> Path:
    """Walk the whole road in `options.out`, or what is left of it; returns the path of report.html."""
    judged = options.real is None or _has_gaze(options.real)
    arms = _arms(options, judged)
    first = tuple(_train(options, (options.out / "synthetic",), _run(options, "synthetic", k), k, quiet)
                  for k in range(options.seeds if judged else 1))
    legs = [_render(options, quiet), Leg(title="train gaze models on them, the first to hold labels", steps=first),
            _photograph(options, judged, quiet), _polish(options, quiet),
            Leg(title="refine the rendered eyes", steps=(_refine(options, quiet),))]
    if judged:
        legs += [
            _label(options, quiet),
            Leg(title="train the other gaze models",
                steps=tuple(step for arm in arms if arm.slug != "synthetic" for k in range(options.seeds)
                            for step in _make(options, arm, k, quiet))),
            Leg(title="judge the gaze models",
                steps=tuple(_judge(options, arm, k, quiet) for arm in arms for k in range(options.seeds))),
        ]
    timings = run_chain(legs, options.out, last="write the report", quiet=quiet)
    return write_page(options.out, _story(options, judged), arms, options.seeds, timings)


def _has_gaze(real: Path) -> bool:
    """Whether the user's folder has gaze labels; UserError if it is not a folder of enough pictures."""
    folder = ImageFolder(real, size=(36, 60), channels=1)
    if len(folder) < FEWEST_PHOTOS:
        raise UserError(f"{real}: holds {len(folder)} pictures, too few to learn a look from: give at least "
                        f"{FEWEST_PHOTOS}")
    if "gaze" not in folder.labels:
        return False
    folder.require("gaze")
    return True


def _arms(options: EyesDemo, judged: bool) -> list[Arm]:
    if not judged:
        return []
    out = options.out
    arms = [
        Arm(name="synthetic", slug="synthetic", data=(out / "synthetic",)),
        Arm(name="synthetic + AdaBN", slug="synthetic_adabn", data=(out / "synthetic",)),
        Arm(name="synthetic + AdaBN, prior", slug="synthetic_prior", data=(out / "synthetic",)),
        Arm(name="synthetic + self-training", slug="self", data=(out / "synthetic",)),
        Arm(name="refined", slug="refined", data=(out / "refined",)),
        Arm(name="refined + AdaBN, prior", slug="refined_prior", data=(out / "refined",)),
    ]
    # The user's own labels all judge: a part of them would be too small a teacher, and its people would be known.
    return arms if options.real else [*arms, Arm(name="real labels (upper bound)", slug="labelled",
                                                 data=(out / "labelled",))]


def _render(options: EyesDemo, quiet: bool) -> Leg:
    # The user's photographs are equalised, which is how gaze data sets are published; so are then the renderings.
    # The stand-in's people look about more widely: what is in doubt there is looks, and gaze should be plain to see.
    config = EyeSimulator.Config(mask=False, equalise=True) if options.real else EyeSimulator.Config(
        mask=False, identities=SKINS, gaze_prior="wide")
    job = SimulateJob(out=options.out / "synthetic", count=options.count, seed=options.seed)
    return Leg(title="render eyes", steps=(simulate_step("eyes", config, job, quiet, options.count / 1000),))


def _photograph(options: EyesDemo, judged: bool, quiet: bool) -> Leg:
    out = options.out / "photos"
    if options.real is not None:
        config = Photos.Config(labelled=False, equalise=True, half="first" if judged else "all", limit=options.photos)
        return Leg(title="read your photos", steps=(import_step("photos", options.real, out, config, quiet, 3),))
    job = SimulateJob(out=out, count=options.photos, seed=options.seed + 1000)
    return Leg(title="take photos with the stand-in camera",
               steps=(simulate_step("stand_in_camera", _camera(labelled=False), job, quiet, options.photos / 500),))


def _camera(*, labelled: bool) -> StandInCamera.Config:
    return replace(StandInCamera.Config.infrared(), labelled=labelled, gaze_prior="wide")


def _label(options: EyesDemo, quiet: bool) -> Leg:
    """Labelled pictures: to judge by, and for the upper bound."""
    out = options.out
    if options.real is not None:
        config = Photos.Config(equalise=True, half="second", limit=options.test)
        return Leg(title="read your labelled photos",
                   steps=(import_step("photos", options.real, out / "test", config, quiet, 3),))
    # Other seeds, other pictures: none stands in two parts.
    parts = (("test", options.test, 2000), ("labelled", options.labelled, 3000))
    return Leg(title="take labelled photos with the stand-in camera", steps=tuple(
        simulate_step("stand_in_camera", _camera(labelled=True),
                      SimulateJob(out=out / name, count=count, seed=options.seed + shift), quiet, count / 500)
        for name, count, shift in parts))


def _polish(options: EyesDemo, quiet: bool) -> Leg:
    out = options.out
    # A short run: the learning rate is twice the default, and the averaged refiner must follow sooner.
    config = SimGAN.Config(steps=options.refiner_steps, batch_size=32, history=1600, discriminator_pretraining=30,
                           lambda_reg=0.3, learning_rate=4e-4, scale=2, ema=0.98)
    run = Run(seed=options.seed, sample_every=max(1, options.refiner_steps // 4))
    data = SimGAN.Data(synthetic=out / "synthetic", real=out / "photos", estimator=_estimator(options))
    return Leg(title="train the refiner", steps=(
        train_step("simgan", data, config, run, out / "refiner", quiet, 5 + options.refiner_steps / 12),))


def _refine(options: EyesDemo, quiet: bool) -> Step:
    out = options.out
    return apply_step(out / "refiner", ApplyJob(input=out / "synthetic", out=out / "refined"), quiet,
                      options.count / 1000)


def _make(options: EyesDemo, arm: Arm, number: int, quiet: bool) -> list[Step]:
    """The steps to one gaze model. What only adapts another arm's model does not train it again."""
    out, run = options.out, _run(options, arm.slug, number)
    photos, (base, _, way) = out / "photos", arm.slug.partition("_")
    if way:
        return [adapt_step(_run(options, base, number), arm.data[0], photos, run,
                           "AdaBN" if way == "adabn" else "AdaBN and prior", match_prior=way == "prior")]
    if arm.slug != "self":
        return [_train(options, arm.data, run, number, quiet)]
    read = out / f"photos_read_{number}"
    teacher = _run(options, "synthetic_prior", number)
    return [apply_step(teacher, ApplyJob(input=photos, out=read), quiet, 2),
            _train(options, (*arm.data, read), run, number, quiet)]


def _estimator(options: EyesDemo) -> Path:
    """The first model trained on synthetic eyes: its reading of an image must not move while that is refined."""
    return _run(options, "synthetic", 0)


def _run(options: EyesDemo, slug: str, number: int) -> Path:
    return options.out / f"gaze_{slug}_{number}"


def _train(options: EyesDemo, data: tuple[Path, ...], out: Path, number: int, quiet: bool) -> Step:
    # Narrower than the default and in smaller batches, so that all arms fit into minutes; the same for every arm.
    # Augmentation and equalisation bridge much of a gap of looks by themselves: with a stand-in, whose gap is nothing
    # else, they would leave nothing to show. Your own photographs get all there is.
    all_there_is = options.real is not None
    config = Gaze.Config(steps=options.steps, features=16, batch_size=64, augment=all_there_is, equalise=all_there_is)
    run = Run(seed=options.seed + number, sample_every=0)
    return train_step("gaze", Gaze.Data(data=data), config, run, out, quiet, 3 + options.steps / 30)


def _judge(options: EyesDemo, arm: Arm, number: int, quiet: bool) -> Step:
    return evaluate_step(_run(options, arm.slug, number), EvaluateJob(data=options.out / "test"), quiet,
                         2)


def _story(options: EyesDemo, judged: bool) -> Story:
    base = Story(
        title="Eyes, from rendered to refined", photos="photos", task="gaze", unit="°",
        measure_name="mean error in degrees",
        subtitle="migaki rendered eyes with known gaze, learned from unlabelled pictures how a camera makes eyes "
                 "look, gave the rendered eyes that look, and trained gaze models on the result.",
        protocol="")
    if options.real is None:
        return replace(base, photos="the stand-in camera's pictures", protocol=_STAND_IN.format(o=options, ways=_WAYS))
    if judged:
        return replace(base, photos="your photos", protocol=_LABELLED_REAL.format(ways=_WAYS))
    return replace(base, photos="your photos", protocol=_UNLABELLED_REAL, no_table=_NO_TABLE)


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
try `migaki demo --photos DIR`.

The refiner saw {o.count} rendered eyes and {o.photos} of the stand-in's pictures without labels; the first model \
trained on the rendered eyes held their labels. The gaze models were judged by {o.test} other pictures. The upper \
bound was trained on the labels of {o.labelled} more, which no other arm saw. Every gaze model took {o.steps} steps of \
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

_NO_TABLE = """\
There is no table of errors: your photos have no gaze labels (columns gaze_pitch and gaze_yaw in metadata.jsonl), and \
without labels an error cannot be measured. The distances below say whether the refined eyes look like your photos, \
not whether a model trained on them sees better."""
