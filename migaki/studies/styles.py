"""Styles: one network against the optimisation that it imitates, over the weight of the style; painting, time, size.

The optimisation of Gatys et al. runs on the same pictures, at as many evaluations as are asked for. Without folders
of one's own, landscapes and patterns of our own drawing serve.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from migaki.changes.style import Style
from migaki.changes.stylise import open_network
from migaki.core.errors import UserError
from migaki.core.files import atomic_write, make_folder, read_json, write_json
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.data.style_pictures import open_styles, read_style, shorter_side
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import call_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.nets.style_features import StyleFeatures
from migaki.report.sheets import image_png
from migaki.report.tables import Table
from migaki.studies.parts import style_measures
from migaki.studies.parts.style_pictures import draw_scenes, draw_styles
from migaki.systems.style_network import StyleNetwork

_MEASURES = (
    Measure(key="loss", name="content + r style", higher_is_better=False, places=3),
    Measure(key="style_gram", name="style (Gram)", higher_is_better=False, places=3),
    Measure(key="other_style_gram", name="style, other network", higher_is_better=False, places=3),
    Measure(key="style_sliced", name="style (sliced)", higher_is_better=False, places=3),
    Measure(key="content", name="content", higher_is_better=False, places=3),
    Measure(key="colours_from_style", name="colours from style, Lab", higher_is_better=False, places=1),
    Measure(key="regions_right", name="regions right, %", scale=100, higher_is_better=True, places=1),
    Measure(key="other_regions_right", name="regions right, other network, %", scale=100, higher_is_better=True,
            places=1),
)


class StylesStudy(Study):
    """How near a network of one pass comes to optimisation, and what it costs."""

    title = "Styles"
    subtitle = "One network for many styles, beside the optimisation of pixels that it imitates."
    measures = _MEASURES

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Pictures, networks and how much is measured; the defaults take some hours of two cores."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "photos contents styles network other weights seeds steps"}

        photos: Path | None = None  # photographs to train on; none = drawn landscapes
        contents: Path | None = None  # pictures to paint, which training does not see; none = drawn landscapes
        styles: Path | None = None  # pictures whose style is taken; none = drawn patterns
        network: str = "random"  # of the loss
        other: str = "random=7"  # takes no part in training, and judges
        weights: tuple[float, ...] = (1.0, 5.0, 25.0)  # r of one network each
        seed: int = 0  # the first seed
        seeds: int = 2  # networks of each weight
        steps: int = 4000  # updates of each network
        patch: int = 128  # px
        optimised: tuple[int, ...] = (100, 500)  # evaluations of the optimisation
        count: int = 3  # contents
        size: int = 192  # px, shorter side at which everything is painted and judged
        own_steps: int = 400  # updates of a style that is the content itself
        sides: tuple[int, ...] = (256, 512, 1024)  # px, pictures that are timed

        @classmethod
        def quick(cls) -> StylesStudy.Config:
            """One small network and a short optimisation: some minutes of one core."""
            return cls(weights=(5.0,), seeds=1, steps=60, patch=48, optimised=(10,), count=1, size=64, own_steps=20,
                       sides=(128,))

        def __post_init__(self) -> None:
            if min(self.seeds, self.steps, self.count, self.own_steps, *self.optimised, *self.sides) < 1 or (
                    not self.weights or min(self.weights) < 0 or not self.optimised):
                raise UserError("migaki study styles: --seeds, --steps, --count, --own-steps, --optimised and --sides "
                                "are at least 1, --weights 0 or more")
            if self.size < 48:
                raise UserError(f"migaki study styles: --size {self.size}: at least 48 px")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: pictures, then networks and optimisations, then what all of them are worth."""
        config = self.config
        seeds = range(config.seed, config.seed + config.seeds)
        phases = [Phase(title="draw pictures", steps=self._drawn(out))] if self._drawn(out) else []
        trained, judged, own = [], [], []
        for weight in config.weights:
            for seed in seeds:
                run = out / f"network_{weight:g}_{seed}"
                trained.append(self._train(out, run, self._places(out)[2], weight, seed, quiet))
                judged.append(self._judge_network(out, run, weight, seed))
        first = out / f"network_{config.weights[0]:g}_{config.seed}"
        own.append(call_step(f"take content 1 at {config.size} px for a style", lambda: self._own(out),
                             out / "own" / "own.png", [self._places(out)[1]]))
        own.append(self._train(out, out / "network_own", out / "own", config.weights[0], config.seed, quiet, first))
        optimised = [self._optimise(out, out / slug, count, weight) for slug, count, weight in self._optimisations()]
        phases += [Phase(title="train one network for each weight and seed", steps=tuple(trained)),
                   Phase(title="a style of the content itself: a scale and a shift alone", steps=tuple(own)),
                   Phase(title="optimise pixels", steps=tuple(optimised)),
                   Phase(title="judge the networks", steps=tuple(judged))]
        arms = [Arm(name=f"network, r = {weight:g}", slug=f"network_{weight:g}", saw="nothing", trials=tuple(
            Trial(seeds=(seed,), evaluation=out / f"judged_{weight:g}_{seed}") for seed in seeds))
            for weight in config.weights]
        for slug, count, weight in self._optimisations():
            trial = Trial(seeds=(config.seed,), evaluation=out / slug)
            arms.append(Arm(name=f"optimised {count} times, r = {weight:g}", slug=slug, saw="nothing", trials=(trial,)))
        return Plan(phases=tuple(phases), arms=tuple(arms))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: the front, the losses against the optimisation's, the figures of a network, pictures."""
        config, out = self.config, report.out
        report.section("Style against content")
        report.text("Every distance from the style is in units of the content's own: 1 has nothing of the style. The "
                    "content's is 0 for the picture as it was, 1 for the mean of its features.")
        rows = [[outcome.arm.name, *(outcome.spread(measure) if all(measure.key in one for one in outcome.figures)
                                     else None for measure in self.measures)] for outcome in report.outcomes.values()]
        count = len(open_styles(self._places(out)[2])[1])
        before = report[f"network_{config.weights[0]:g}"].figures[0]["colours_before"]
        rows.append(["the content as it was", "r", "1", "1", "1", "0", f"{before:.1f}",
                     *[f"{100 / count:.1f} by chance"] * 2])
        report.table("front", Table(["painter", *(measure.name for measure in self.measures)], rows))
        report.section("One pass against many")
        lines = []
        for weight in config.weights:
            loss = report[f"network_{weight:g}"].spread(_MEASURES[0]).mean
            others = [report[slug].spread(_MEASURES[0]).mean for slug, _, own in self._optimisations() if own == weight]
            lines.append([f"{weight:g}", *(f"{loss / max(1e-9, other):.2f}" for other in others)])
        report.table("relative", Table(["r", *(f"over {count} evaluations" for count in config.optimised)], lines,
                                       "The network's loss over the optimisation's; below 1 the network is nearer."))
        report.section("What a network costs")
        first = read_json(out / f"judged_{config.weights[0]:g}_{config.seed}" / "evaluation.json")["figures"]
        named = {"megabytes": "model, MB", "own_psnr": "the content in its own style, dB",
                 "changed_outside": "values that changed where a map paints nothing",
                 "pieces_right": "share of pieces of the styles right", "other_pieces_right": "in the other network"}
        named |= {f"ms_{side}": f"a picture of {side} px, ms" for side in config.sides}
        report.table("costs", Table(["figure", "value"], [[text, f"{first[name]:.4g}"] for name, text in named.items()],
                                    "Pieces of the styles' own pictures are as large as the regions: their share is "
                                    "the most that regions can reach."))
        for outcome in report.outcomes.values():
            picture = outcome.arm.trials[0].evaluation / "styles.png"
            report.figure(outcome.arm.slug, picture.read_bytes(),
                          f"{outcome.arm.name}: the first content in every style.")
        report.section("What the numbers are numbers of", is_folded=True)
        report.text("\n\n".join(f"{StyleFeatures(name).describe()}; shorter side {config.size} px; Gram matrices of "
                                "channels in deviations of the style." for name in (config.network, config.other)))

    # ------------------------------------------------------------------------------- steps

    def _places(self, out: Path) -> tuple[Path, Path, Path]:
        """The folders of photographs, contents and styles."""
        config = self.config
        return config.photos or out / "photos", config.contents or out / "contents", config.styles or out / "styles"

    def _drawn(self, out: Path) -> tuple[Step, ...]:
        config, (photos, contents, styles) = self.config, self._places(out)
        steps = []
        if config.photos is None:
            steps.append(call_step(f"draw 96 landscapes, seed {config.seed}", lambda: draw_scenes(
                photos, 96, max(96, config.patch), config.seed), photos / "dataset.json", []))
        if config.contents is None:
            steps.append(call_step(f"draw {config.count} landscapes of {config.size} px, seed {config.seed + 1}",
                                   lambda: draw_scenes(contents, config.count, config.size, config.seed + 1),
                                   contents / "dataset.json", []))
        if config.styles is None:
            steps.append(call_step(f"draw patterns of {config.size} px, seed {config.seed}", lambda: draw_styles(
                styles, config.size, config.seed), styles / "dataset.json", []))
        return tuple(steps)

    def _train(self, out: Path, run: Path, styles: Path, weight: float, seed: int, quiet: bool,
               start: Path | None = None) -> Step:
        config = self.config
        system = StyleNetwork.Config(
            steps=config.steps if start is None else config.own_steps, patch=config.patch, style_weight=weight,
            style_size=config.size, loss_network=config.network, freeze=start is not None,
            kind="gram", recolour=False)  # the loss of the optimisation that stands beside it
        data = StyleNetwork.Data(data=self._places(out)[0], styles=styles, start=start)
        return train_step("style_network", data, system, Run(seed=seed, sample_every=0), run, quiet,
                          cost=float(system.steps))

    def _contents(self, out: Path) -> list[Tensor]:
        folder = ImageFolder(self._places(out)[1])
        return [shorter_side(read_style(folder.file(number)), self.config.size)
                for number in range(min(self.config.count, len(folder)))]

    def _styles(self, out: Path) -> list[Tensor]:
        return [read_style(file, self.config.size) for file in open_styles(self._places(out)[2])[1]]

    def _own(self, out: Path) -> None:
        make_folder(out / "own")
        with atomic_write(out / "own" / "own.png") as file:
            file.write(image_png(self._contents(out)[0][0], min_side=1))

    def _judges(self) -> tuple[StyleFeatures, StyleFeatures]:
        return StyleFeatures(self.config.network), StyleFeatures(self.config.other)

    def _optimisations(self) -> list[tuple[str, int, float]]:
        """Slug, evaluations and weight of each optimisation."""
        return [(f"optimised_{count}_{weight:g}", count, weight)
                for count in self.config.optimised for weight in self.config.weights]

    def _optimise(self, out: Path, place: Path, count: int, weight: float) -> Step:
        config = self.config

        def work() -> None:
            judges, styles = self._judges(), self._styles(out)
            settings = Style.Config(to=self._places(out)[2], network=config.network, style_weight=weight, levels=1,
                                    steps=count)
            painter = style_measures.optimiser_of(judges[0], settings, styles, config.seed)
            figures, pictures = style_measures.measure(painter, self._contents(out), styles, judges)
            _write(place, figures | {"loss": style_measures.gatys_loss(figures, weight)}, pictures)

        return call_step(f"optimise {config.count} contents of {config.size} px towards every style, {count} "
                         f"evaluations, r = {weight:g}, {config.network}, judged by {config.other}", work,
                         place / "evaluation.json", list(self._places(out)[1:]), cost=count)

    def _judge_network(self, out: Path, run: Path, weight: float, seed: int) -> Step:
        config, place = self.config, out / f"judged_{weight:g}_{seed}"

        def work() -> None:
            judges, styles, contents = self._judges(), self._styles(out), self._contents(out)
            net, _, context = open_network(run)
            painter = style_measures.painter_of(net, context)
            figures, pictures = style_measures.measure(painter, contents, styles, judges)
            found: dict[str, Any] = dict(figures) | {"loss": style_measures.gatys_loss(figures, weight)}
            for name, judge in zip(("", "other_"), judges, strict=True):
                found |= {name + key: value for key, value in style_measures.quarters_right(
                    net, contents, styles, judge, context).items()}
            found |= style_measures.milliseconds(net, config.sides)
            found["megabytes"] = (run / "model.safetensors").stat().st_size / 1e6
            own, _, reach = open_network(out / "network_own")
            made = style_measures.painter_of(own, reach)(contents[0], len(own.scales) - 1)
            found["own_psnr"] = style_measures.decibels(made, contents[0])
            _write(place, found, pictures)

        return call_step(f"judge the network of r = {weight:g}, seed {seed}, on {config.count} contents of "
                         f"{config.size} px, judged by {config.other}, timed at {config.sides}", work,
                         place / "evaluation.json", [run, out / "network_own", *self._places(out)[1:]], alone=True)


def _write(place: Path, figures: dict[str, Any], pictures: list[Tensor]) -> None:
    """Write the pictures, and last the figures of a trial."""
    make_folder(place)
    with atomic_write(place / "styles.png") as file:
        file.write(image_png(torch.cat(pictures, 3)[0], min_side=1))
    write_json(place / "evaluation.json", {"figures": figures, "costs_nothing": None})
