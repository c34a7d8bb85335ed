"""Weak segmentation: what each rung brings, from the gradient of a classifier to rounds of a segmenter.

    migaki study weak_segmentation --out DIR                            # scenes of digits, drawn
    migaki study weak_segmentation --data TAGGED --test MASKED --out DIR    # photographs of one's own

After Shimoda and Yanai, ECCV 2016, tables 1 and 2, whose figures on VOC 2012 stand beside ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_labels import list_key
from migaki.data.sets.mask_classes import match_mask_classes
from migaki.data.sets.overlap import require_others
from migaki.judges.weak_masks import WeakMasks
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import judge_step, simulate_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.ops.paint import paint_mask
from migaki.report.sheets import sheet
from migaki.simulate.digit_scenes import DigitScenes
from migaki.stages.simulate import SimulateJob
from migaki.systems.segmenter import Segmenter
from migaki.systems.weak_segmenter import WeakSegmenter

MAPS = (("gradient", "gradient"), ("gradient_crf", "gradient, CRF"), ("guided", "guided gradient"),
        ("layer", "one layer"), ("difference", "difference of classes"), ("layers", "all layers"),
        ("scales", "all sizes (DCSM)"), ("scales_crf", "DCSM, CRF"))
"""Slug and name; a slug is the rung's name, with `_crf` after the CRF."""

PUBLISHED: dict[str, float | str] = {"gradient_crf": 33.8, "scales": 40.5, "scales_crf": 44.1}
"""Shimoda and Yanai, VOC 2012 val, mean IoU in per cent from image labels."""

_PROTOCOL = """\
The classifier and the segmenters saw the tags of the training images and no mask. Each threshold was chosen by Otsu's \
rule on the maps of training images; "at the oracle's threshold" is the best of a sweep on the true masks of the test, \
which nobody has. The classes of a test image are those that the classifier recognises. The supervised bound is a \
segmenter of the same width that learned the true masks of {bound}. Background everywhere is what an empty mask \
reaches."""

_SHOWN = 8


class WeakSegmentation(Study):
    """Mean IoU of every rung, by seed, on scenes of digits or on a tagged set and a set with masks of one's own."""

    title = "Masks from tags"
    subtitle = "A classifier that saw image labels alone shows where things are; each way to ask it is a row, then " \
               "rounds of a segmenter that learns from the answers."
    factors = ("seed",)
    measures = (
        Measure(key="miou", name="mean IoU, %", scale=100, higher_is_better=True, places=1),
        Measure(key="miou_several", name="mean IoU of images with two or more classes, %", scale=100,
                higher_is_better=True, places=1),
    )

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets and the budget."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "data test masks size count seed seeds steps rounds"}

        data: Path | None = None  # tagged training images (column `labels`); None: scenes of digits are drawn
        test: Path | None = None  # images with masks, to judge on; needs --data
        masks: Path | None = None  # images with masks for the supervised bound; needs --data; None: no bound
        pretrained: Path | None = None  # weights of EfficientNet-Lite0 or SqueezeNet 1.1 for the classifier
        backbone_rate: float = 0.1  # learning rate of the pretrained network as a share of the rest's; 0 = frozen
        classes: tuple[str, ...] = ()  # the classes in the order of the masks' numbers, where masks have no names
        grounds: Path | None = None  # photographs behind the digits; None: clutter
        digits: tuple[int, ...] = (0, 1, 2, 4, 7)  # the classes of the scenes
        size: int = 48  # px, sides of the scenes
        height: int = 0  # px, to which images of --data are brought; 0 = as they are
        width: int = 0  # px; 0 = as they are
        count: int = 1000  # scenes for training
        test_count: int = 100  # scenes to judge on
        seed: int = 0  # the first seed
        seeds: int = 3  # runs; may be raised later, finished ones are kept
        steps: int = 1900  # updates of a run, of classifier and rounds together
        classifier_share: float = 0.7  # of the steps that teach the classifier
        bound_steps: int = 1000  # updates of the supervised bound
        bounds: int = 1  # supervised bounds, of the first seeds
        rounds: int = 2  # segmenters, each of which learns from the one before
        batch_size: int = 16  # images
        features: int = 16  # width of the networks
        candidates: int = 3  # classes of an image whose maps are compared
        flip: bool = False  # mirrored images as well; not for digits

        @classmethod
        def quick(cls) -> WeakSegmentation.Config:
            """One seed of few steps, to see how it goes: the figures mean little."""
            return cls(seeds=1, count=300, test_count=60, steps=240, bound_steps=80, rounds=2)

        def __post_init__(self) -> None:
            if min(self.count, self.test_count, self.seeds, self.rounds, self.bound_steps) < 1:
                raise UserError("migaki study weak_segmentation: --count, --test-count, --seeds, --rounds and "
                                "--bound-steps must be at least 1")
            if (self.data is None) != (self.test is None):
                raise UserError("migaki study weak_segmentation: --data and --test go together: tagged images to learn "
                                "from, and others with masks to judge on")
            if self.data is None and (self.masks is not None or self.pretrained is not None or self.classes):
                raise UserError("migaki study weak_segmentation: --masks, --pretrained and --classes are for --data")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: draw, train on tags, judge every rung, train the bound; one seed after the other."""
        config = self.config
        if config.data is not None and config.test is not None:
            tagged, tested = ImageFolder(config.data), ImageFolder(config.test)
            tagged.require_column(list_key(tagged))
            tested.require("mask")
            require_others(tested, tagged, "--data")
        phases = [] if config.data else [Phase(title="draw scenes", steps=self._scenes(out, quiet))]
        for seed in self._seeds():
            phases.append(Phase(title=f"learn from tags, seed {seed}", steps=(
                self._train(out, seed, quiet), *(self._judge(out, slug, seed, quiet) for slug, _ in self._rows()))))
            if self._bound(out) is not None and seed in self._bound_seeds():
                phases.append(Phase(title=f"supervised bound, seed {seed}", steps=self._supervised(out, seed, quiet)))
        rows = [(slug, name, "tags", self._seeds()) for slug, name in self._rows()]
        if self._bound(out) is not None and self._bound_seeds():
            rows.append(("supervised", "supervised", "masks (upper bound)", self._bound_seeds()))
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=name, slug=slug, saw=saw, trials=tuple(
                Trial(seeds=(seed,), evaluation=out / f"{slug}_{seed}_judged") for seed in seeds))
            for slug, name, saw, seeds in rows))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: the table of rungs, differences, thresholds, and masks on pictures."""
        slugs = list(report.outcomes)
        last = f"round_{self.config.rounds}"
        report.section("Rungs")
        report.compare("rungs", slugs, published=PUBLISHED, source="published, VOC 2012 val, %")
        several = self.measures[1]
        pairs = [("gradient", "scales"), ("gradient_crf", "scales_crf"), ("layer", "difference"),
                 ("difference", "layers"), ("layers", "scales"), ("scales", "scales_crf"), ("scales_crf", "round_1"),
                 ("scales_crf", f"{last}_crf"), ("round_1", last)]
        report.contrasts("differences", pairs[: 8 + (last != "round_1")])
        report.contrasts("differences_several", [("gradient", "scales"), ("gradient_crf", "scales_crf"),
                                                 ("layer", "difference")], measure=several)
        report.section("The threshold")
        report.compare("thresholds", [slug for slug, _ in MAPS], measures=[
            self.measures[0],
            Measure(key="oracle_miou", name="mean IoU at the oracle's threshold, %", scale=100, higher_is_better=True,
                    places=1),
            Measure(key="threshold", name="threshold chosen without masks", places=2),
            Measure(key="oracle_threshold", name="the oracle's", places=2)])
        report.section("Masks on pictures")
        report.figure("masks", sheet(self._pictures(report.out), min_side=96),
                      "The first images of the test, none chosen, of the first seed.")
        report.section("Protocol", is_folded=True)
        report.text(_PROTOCOL.format(bound="the same scenes" if self.config.masks is None else str(self.config.masks)))

    def _seeds(self) -> range:
        return range(self.config.seed, self.config.seed + self.config.seeds)

    def _bound_seeds(self) -> range:
        return self._seeds()[: self.config.bounds]

    def _rows(self) -> list[tuple[str, str]]:
        last = self.config.rounds
        rounds = [(f"round_{number}", f"round {number}") for number in range(1, last + 1)]
        return [*MAPS, *rounds, (f"round_{last}_crf", f"round {last}, CRF")]

    def _data(self, out: Path) -> Path:
        return self.config.data or out / "scenes"

    def _test(self, out: Path) -> Path:
        return self.config.test or out / "scenes_test"

    def _bound(self, out: Path) -> Path | None:
        return self.config.masks if self.config.data is not None else out / "scenes"

    def _scenes(self, out: Path, quiet: bool) -> tuple[Step, ...]:
        config = self.config
        scenes = DigitScenes.Config(size=config.size, classes=config.digits, grounds=config.grounds)
        return tuple(simulate_step("digit_scenes", scenes, SimulateJob(
            out=out / name, count=count, seed=100 * config.seed + number), quiet, cost=count / 60)
            for name, count, number in (("scenes", config.count, 0), ("scenes_test", config.test_count, 1)))

    def _train(self, out: Path, seed: int, quiet: bool) -> Step:
        config = self.config
        weak = WeakSegmenter.Config(
            steps=config.steps, rounds=config.rounds, batch_size=config.batch_size, features=config.features,
            classifier_share=config.classifier_share, candidates=config.candidates, flip=config.flip,
            classes=config.classes, height=config.height, width=config.width, backbone_rate=config.backbone_rate)
        data = WeakSegmenter.Data(data=(self._data(out),), pretrained=config.pretrained)
        return train_step("weak_segmenter", data, weak, Run(seed=seed, sample_every=0), out / f"weak_{seed}", quiet,
                          cost=config.steps * config.batch_size / 200)

    def _judge(self, out: Path, slug: str, seed: int, quiet: bool) -> Step:
        base = WeakMasks.Config(data=self._test(out), prior=self.config.masks)
        base = replace(base, crf=slug.endswith("_crf"))
        rung: Any = slug.removesuffix("_crf")
        if rung.startswith("round_"):
            judged = replace(base, round=int(rung.removeprefix("round_")))
        else:
            judged = replace(base, rung=rung)
        return judge_step(WeakMasks(judged), [out / f"weak_{seed}"], out / f"{slug}_{seed}_judged", quiet=quiet,
                          cost=10)

    def _supervised(self, out: Path, seed: int, quiet: bool) -> tuple[Step, ...]:
        config, folder = self.config, self._bound(out)
        assert folder is not None
        names = ("background", *config.classes) if config.classes else ()
        bound = Segmenter.Config(steps=config.bound_steps, batch_size=config.batch_size, features=config.features,
                                 flip=config.flip, validate=0.0, height=config.height, width=config.width,
                                 num_mask_classes=len(names), backbone_rate=config.backbone_rate)
        run = out / f"supervised_{seed}"
        data = Segmenter.Data(data=(folder,), pretrained=config.pretrained)
        return (train_step("segmenter", data, bound, Run(seed=seed, sample_every=0), run,
                           quiet, cost=config.bound_steps * config.batch_size / 200),
                judge_step(WeakMasks(WeakMasks.Config(data=self._test(out))), [run], out / f"supervised_{seed}_judged",
                           quiet=quiet, cost=5))

    def _pictures(self, out: Path) -> list[tuple[str, Tensor]]:
        """Returns rows of the first test images with the masks of some rungs on them, and the true ones."""
        system = load_system(out / f"weak_{self.config.seed}")
        assert isinstance(system, WeakSegmenter) and system.shape is not None
        folder = ImageFolder(self._test(out), size=system.shape[1:], channels=system.shape[0])
        match_mask_classes(folder, system.config, "the model")
        batch = folder.read(range(min(_SHOWN, len(folder))), ("image", "mask"))
        images = batch["image"]
        shown: dict[str, Any] = {}
        with torch.no_grad():
            asked = system.asked(images, system.recognised(images))
            for name, rung in (("gradient", "gradient"), ("one layer", "layer"), ("DCSM", "scales")):
                shown[name] = system.shares(images, asked, rung)
            (shown["DCSM, CRF"],) = system.refined(images, shown["DCSM"])
            shown["last round"] = system.read(system.nets[-1], images, asked)
        return [("image", images), *((name, paint_mask(images, asked.mask(one))) for name, one in shown.items()),
                ("true", paint_mask(images, batch["mask"]))]
