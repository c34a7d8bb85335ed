"""Changed materials: does a segmenter that took no part see the new one, and is its word recognised?

    migaki study materials --out DIR                                     # textures drawn from nothing
    migaki study materials --words PICTURES --features efficientnet_lite0 \\
        --pretrained SQUEEZENET.safetensors --out DIR                    # a folder of pictures for each material

Things of one material are changed into each other one. The source's figures (Yanai, Shimoda, Matsuo 2016: mean pixel
accuracy .637, mean IU .630 on photographs of ten materials) stand beside ours, on other data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from migaki.changes.material import Material
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.judges.materials import Materials as MaterialsJudge
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import change_step, judge_step, simulate_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.ops.paint import paint_mask
from migaki.ops.surface_light import Light
from migaki.report.sheets import sheet
from migaki.report.statistics import paired_difference
from migaki.report.tables import Entry, Table
from migaki.simulate.material_scenes import MaterialScenes
from migaki.simulate.texture_painter import KINDS
from migaki.simulate.textures import Textures
from migaki.stages.apply import ApplyJob
from migaki.stages.simulate import SimulateJob
from migaki.studies.parts.materials_steps import JUDGED, STYLE, known_materials, select_step, split_step
from migaki.systems.classifier import Classifier
from migaki.systems.segmenter import Segmenter

_MIOU = Measure(key="miou", name="mean IU, %", scale=100, higher_is_better=True, places=1)
_PIXELS = Measure(key="pixel_accuracy", name="pixel accuracy, %", scale=100, higher_is_better=True, places=1)
_WORD = Measure(key="recognised", name="word recognised, %", scale=100, higher_is_better=True, places=1)
_SHARE = Measure(key="recognised_share", name="share of the word, %", scale=100, higher_is_better=True, places=1)
_EDGES = Measure(key="edges_kept", name="edges kept, correlation", higher_is_better=True, places=2)

_POOLS = {"mean": "mean of the Grams", "apart": "means and covariances apart", "max": "maximum of the Grams",
          "union": "union of the features"}

_PROTOCOL = """\
Pictures of each material were parted, near-duplicates together: every second one lends its style and fills the things \
of the test, the others teach the segmenter (on scenes of things with true masks) and the classifier, which judge. \
Neither of them has seen a changed picture or a picture that lent a style, and neither is the network of the style \
loss. A thing is changed into each material but its own. "Pasted" puts a piece of a picture there without optimising: \
the upper bound. The best single picture is chosen by the judge itself, which flatters it; the random one is the mean \
over the single pictures. Intervals are over target materials."""

_SHOWN = 6


class Materials(Study):
    """Pixel accuracy, mean IU and recognition of every target material: pooled, single pictures, pasted, untouched."""

    title = "Changed materials"
    subtitle = "Regions take the style of another material; models that took no part say what they see."
    factors = ("material",)
    measures = (_PIXELS, _MIOU, _WORD, _SHARE, _EDGES)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The pictures, the ways to change them, and the budget."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "words materials features pretrained pools singles size test_count steps seed"}

        words: Path | None = None  # pictures of materials with labels, such as a folder each; None: drawn textures
        materials: tuple[str, ...] = ()  # which of them; none = all
        features: str = "random"  # network of the style loss: see `migaki apply material --help`
        pretrained: Path | None = None  # weights under the judges, of another network than --features
        grounds: Path | None = None  # photographs behind the things; None: clutter
        pools: tuple[str, ...] = ("mean", "apart", "max", "union")  # ways; apart: --loss covariance, pooled by mean
        singles: int = 3  # pictures whose style is taken alone
        most: int = 6  # pictures that are pooled
        cluster: int = 0  # of a material's pictures, from which those are taken; 1 = the largest, 0 = all
        light: Light = "style"  # see `migaki apply material --help`
        size: int = 96  # px, sides of the scenes
        side: int = 128  # px, longer side of the pictures that lend their style
        texture_count: int = 100  # drawn textures, without --words
        train_count: int = 600  # scenes that teach the segmenter
        test_count: int = 25  # scenes that are changed, of all materials together
        steps: int = 150  # of each change
        segmenter_steps: int = 800  # updates
        classifier_steps: int = 400  # updates
        content_weight: float = 0.03  # of each change
        seed: int = 0  # of scenes, trainings and changes

        @classmethod
        def quick(cls) -> Materials.Config:
            """Few scenes and short trainings, to see how it goes: the figures mean little."""
            return cls(materials=(), pools=("mean", "union"), singles=2, size=64, side=64, texture_count=60,
                       train_count=150, test_count=5, steps=40, segmenter_steps=120, classifier_steps=80)

        def __post_init__(self) -> None:
            name = "migaki study materials"
            strange = [pool for pool in self.pools if pool not in _POOLS]
            if strange or len(set(self.pools)) < len(self.pools) or not self.pools:
                raise UserError(f"{name}: --pools {' '.join(self.pools)}: give mean, apart, max, union, each once")
            least = min(self.test_count, self.train_count, self.steps, self.segmenter_steps, self.classifier_steps)
            if self.singles < 2 or self.cluster < 0 or least < 1:
                raise UserError(f"{name}: --singles is at least 2, --cluster at least 0; counts and steps at "
                                "least 1")
            if self.words is None and (self.texture_count < 40 or set(self.materials) - set(KINDS)):
                raise UserError(f"{name}: --texture-count is at least 40, and drawn materials are {', '.join(KINDS)}")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: part the pictures, draw scenes, teach the judges; then change and judge by material."""
        config = self.config
        materials = config.materials or tuple(KINDS)
        if config.words is not None:
            materials = known_materials(ImageFolder(config.words), config.materials)
        words = config.words or out / "textures"
        phases = [Phase(title="pictures and scenes", steps=self._sets(out, words, materials, quiet)),
                  Phase(title="teach the judges", steps=self._judges(out, quiet))]
        trials: dict[str, list[Trial]] = {slug: [] for slug, _, _ in self._ways()}
        for number, material in enumerate(materials):
            steps: list[Step] = [select_step(out / "scenes_test", material, self._test(out, number))]
            for slug, _, change in self._ways():
                made, judged = out / f"{slug}_{number}", out / f"{slug}_{number}_judged"
                steps += [self._change(out, material, number, change, made, quiet),
                          self._judge(out, material, number, made, judged, quiet)]
                trials[slug].append(Trial(seeds=(number,), evaluation=judged))
            phases.append(Phase(title=f"change into {material}", steps=tuple(steps)))
        self._materials = materials
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=name, slug=slug, saw="photographs, no label" if config.words else "nothing",
                trials=tuple(trials[slug])) for slug, name, _ in self._ways()))

    def _ways(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Slug, name, and what the change has of its own."""
        ways: list[tuple[str, str, dict[str, Any]]] = [("paste", "pasted (upper bound)", {"how": "paste"})]
        ways += [(pool, _POOLS[pool], {"pool": "mean", "loss": "covariance"} if pool == "apart" else {"pool": pool})
                 for pool in self.config.pools]
        return ways + [(f"single_{number}", f"single picture {number}", {"only": number})
                       for number in range(1, self.config.singles + 1)]

    def _sets(self, out: Path, words: Path, materials: Sequence[str], quiet: bool) -> tuple[Step, ...]:
        config = self.config
        drawn = [] if config.words else [simulate_step("textures", Textures.Config(size=2 * config.size), SimulateJob(
            out=words, count=config.texture_count, seed=config.seed), quiet)]
        kinds = () if tuple(materials) == tuple(KINDS) and not config.words else tuple(materials)
        scenes = [simulate_step("material_scenes", MaterialScenes.Config(
            size=config.size, textures=out / "parted" / part, grounds=config.grounds), SimulateJob(
                out=out / name, count=count, seed=config.seed + 1), quiet)
            for part, name, count in ((JUDGED, "scenes", config.train_count), (STYLE, "scenes_test",
                                                                              config.test_count))]
        return (*drawn, split_step(words, kinds, out / "parted"), *scenes)

    def _judges(self, out: Path, quiet: bool) -> tuple[Step, ...]:
        config, run = self.config, Run(seed=self.config.seed, sample_every=0)
        segmenter = train_step(
            "segmenter", Segmenter.Data(data=(out / "scenes",), pretrained=config.pretrained),
            Segmenter.Config(steps=config.segmenter_steps, validate=0.0), run, out / "segmenter", quiet)
        classifier = train_step(
            "classifier", Classifier.Data(data=(out / "parted" / JUDGED,), pretrained=config.pretrained),
            Classifier.Config(steps=config.classifier_steps, batch_size=16, height=config.size, width=config.size),
            run, out / "classifier", quiet)
        return segmenter, classifier

    def _test(self, out: Path, number: int) -> Path:
        return out / f"test_{number}"

    def _change(self, out: Path, material: str, number: int, own: dict[str, Any], made: Path, quiet: bool) -> Step:
        config = self.config
        change = Material.Config(
            to=material, words=out / "parted" / STYLE, features=config.features, steps=config.steps, most=config.most,
            side=config.side, light=config.light, content_weight=config.content_weight, cluster=config.cluster,
            empty="keep", pages=0, **own)
        return change_step("material", change, ApplyJob(input=self._test(out, number), out=made, seed=config.seed),
                           quiet, cost=config.test_count * config.steps / 60)

    def _judge(self, out: Path, material: str, number: int, made: Path, judged: Path, quiet: bool) -> Step:
        judge = MaterialsJudge(MaterialsJudge.Config(
            data=made, untouched=self._test(out, number), segmenter=out / "segmenter", recogniser=out / "classifier",
            to=material))
        return judge_step(judge, out=judged, quiet=quiet, cost=5)

    def compose(self, report: StudyReport) -> None:
        """Compose the page: ways, materials, pooled against single pictures, and pictures."""
        slugs = list(report.outcomes)
        report.section("Ways to change a material")
        report.compare("ways", slugs, caption="Means over target materials. The lower bound is the same pictures "
                       "before the change. The source: pixel accuracy 63.7 %, mean IU 63.0 %, other data.")
        report.section("Target materials")
        report.table("materials", self._by_material(report))
        report.section("Pooled against single pictures")
        report.table("pooling", self._pooled(report))
        report.section("Pictures and masks")
        report.figure("pairs", sheet(self._pictures(report.out), min_side=96),
                      "Things of each target material, none chosen: before, the region, and each way.")
        report.section("Protocol", is_folded=True)
        report.text(_PROTOCOL)

    def _by_material(self, report: StudyReport) -> Table:
        pool = self.config.pools[0]
        rows: list[list[Entry]] = []
        for number, material in enumerate(self._materials):
            figures, upper = report[pool].figures[number], report["paste"].figures[number]
            rows.append([material, *(100 * figures[key] for key in ("pixel_accuracy", "miou", "recognised")),
                         100 * upper["pixel_accuracy"], 100 * upper["miou"], 100 * upper["recognised"],
                         figures["changed_outside"]])
        return Table(["target", "pixel accuracy, %", "mean IU, %", "recognised, %", "pasted: accuracy, %",
                      "pasted: mean IU, %", "pasted: recognised, %", "px changed outside"], rows,
                     f"By the {_POOLS[pool]}.")

    def _pooled(self, report: StudyReport) -> Table:
        """Each pooling against the best and the mean of the single pictures, paired by material."""
        singles = np.array([report[f"single_{number}"].values(_SHARE) for number in range(1, self.config.singles + 1)])
        rows: list[list[Entry]] = []
        for pool in self.config.pools:
            values = report[pool].values(_SHARE)
            rows.append([_POOLS[pool], float(np.mean(values)), paired_difference(singles.max(0).tolist(), values),
                         paired_difference(singles.mean(0).tolist(), values)])
        rows.append(["best single picture", float(singles.max(0).mean()), None,
                     paired_difference(singles.mean(0).tolist(), singles.max(0).tolist())])
        rows.append(["random single picture", float(singles.mean()), None, None])
        return Table(["", "share of the word, %", "minus the best single", "minus a random single"], rows,
                     "Paired by target material; in brackets 95 % intervals (t).")

    def _pictures(self, out: Path) -> list[tuple[str, torch.Tensor]]:
        """Rows of pictures: before, region, and each way, the first ones of each material."""
        tests = [ImageFolder(self._test(out, number)) for number in range(len(self._materials))]
        each = max(1, _SHOWN // len(tests))
        # Targets share most scenes: each shows others.
        shown = [[(number * each + place) % len(folder) for place in range(min(each, len(folder)))]
                 for number, folder in enumerate(tests)]
        before = [folder.read(rows, ("image", "mask")) for folder, rows in zip(tests, shown, strict=True)]
        images = torch.cat([batch["image"] for batch in before])
        rows = [("before", images), ("region", paint_mask(images, torch.cat([batch["mask"] for batch in before])))]
        for slug, name, _ in self._ways():
            folders = [ImageFolder(out / f"{slug}_{number}") for number in range(len(self._materials))]
            rows.append((name, torch.cat([folder.read(places, ("image",))["image"]
                                          for folder, places in zip(folders, shown, strict=True)])))
        return rows
