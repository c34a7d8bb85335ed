"""Any style: a network that reads the style of a picture, on pictures that it never saw, beside the slower ways.

The rivals are the optimisation of pixels (Gatys et al.), and a network that has learned these very styles. Without
folders of one's own, landscapes and patterns of our own drawing serve: the network learns on stripes, dots and grain of
many colours, and is asked for chequers, cracks and the four patterns of the demo.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from migaki.changes.style import Style
from migaki.changes.stylise import open_network
from migaki.core.errors import UserError
from migaki.core.files import atomic_write, make_folder, write_json
from migaki.core.fit import Run
from migaki.core.seeds import fold
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
from migaki.simulate.texture_painter import paint_texture
from migaki.studies.parts import style_measures
from migaki.studies.parts.style_pictures import draw_scenes, draw_styles
from migaki.systems.any_style import AnyStyle
from migaki.systems.style_network import StyleNetwork

_KNOWN: Final = ("dotted", "grained", "striped")
_HELD: Final = ("chequered", "cracked")
_SIDE: Final = 160  # px of a drawn style


class AnyStylesStudy(Study):
    """How well a network paints in styles that it never saw."""

    title = "Any style"
    subtitle = "One network that reads the style of a picture, on pictures that took no part in its training."
    measures = (
        Measure(key="style_structure", name="structure of the style", higher_is_better=False, places=3),
        Measure(key="style_gram", name="style (Gram)", higher_is_better=False, places=3),
        Measure(key="other_style_structure", name="structure, other network", higher_is_better=False, places=3),
        Measure(key="content", name="content", higher_is_better=False, places=3),
        Measure(key="colours_from_style", name="colours from style, Lab", higher_is_better=False, places=1),
        Measure(key="own_psnr", name="its own content as style, dB", higher_is_better=True, places=1),
    )

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Pictures, networks and how much is measured; the defaults take some hours of one core."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "photos contents styles unseen network other seeds steps"}

        photos: Path | None = None  # photographs to train on; none = drawn landscapes
        contents: Path | None = None  # pictures to paint, which training does not see; none = drawn landscapes
        styles: Path | None = None  # pictures whose styles are learned; none = drawn stripes, dots and grain
        unseen: Path | None = None  # pictures whose styles are asked for; none = drawn patterns of other kinds
        network: str = "random"  # of the loss; it reads the styles as well
        other: str = "random=7"  # takes no part in training, and judges
        style_weight: float = 4.0  # r of the networks and of the optimisation
        seed: int = 0  # the first seed
        seeds: int = 2  # networks
        steps: int = 12000  # updates of each network
        patch: int = 96  # px
        num_styles: int = 150  # drawn ones
        optimised: tuple[int, ...] = (100,)  # evaluations of the optimisation
        count: int = 3  # contents
        size: int = 160  # px, shorter side at which everything is painted and judged

        @classmethod
        def quick(cls) -> AnyStylesStudy.Config:
            """One small network and a short optimisation: some minutes of one core."""
            return cls(seeds=1, steps=150, patch=48, num_styles=30, optimised=(10,), count=1, size=64)

        def __post_init__(self) -> None:
            if min(self.seeds, self.steps, self.count, self.num_styles, *self.optimised) < 1 or not self.optimised:
                raise UserError("migaki study any_styles: --seeds, --steps, --count, --num-styles and --optimised are "
                                "at least 1")
            if min(self.size, self.patch) < 32 or self.style_weight < 0:
                raise UserError("migaki study any_styles: --size and --patch are at least 32 px, --style-weight 0 or "
                                "more")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: pictures, the networks, the optimisations, and what all of them are worth."""
        config = self.config
        seeds = range(config.seed, config.seed + config.seeds)
        trained = [self._train(out, kind, seed, quiet) for kind in ("any", "own") for seed in seeds]
        judged = [self._judge(out, name, seed) for name in ("any", "seen", "own") for seed in seeds]
        optimised = [self._optimise(out, count) for count in config.optimised]
        drawn = self._drawn(out)
        phases = ([Phase(title="draw pictures", steps=drawn)] if drawn else []) + [
            Phase(title="train networks of any style, and rivals of the styles asked for", steps=tuple(trained)),
            Phase(title="optimise pixels", steps=tuple(optimised)), Phase(title="judge", steps=tuple(judged))]
        names = {"any": "any style, never seen", "seen": "any style, seen in training",
                 "own": "a network that learned these styles"}
        arms = [Arm(name=name, slug=slug, saw="nothing", trials=tuple(
            Trial(seeds=(seed,), evaluation=out / f"{slug}_{seed}") for seed in seeds)) for slug, name in names.items()]
        arms += [Arm(name=f"optimised {count} times", slug=f"optimised_{count}", saw="nothing", trials=(
            Trial(seeds=(config.seed,), evaluation=out / f"optimised_{count}"),)) for count in config.optimised]
        return Plan(phases=tuple(phases), arms=tuple(arms))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: the table, then the first content in every style."""
        report.section("Styles that were never seen")
        report.text("Distances from the style are in units of the content's own: the picture as it was, which costs "
                    "nothing, has 1 of each style, 0 of content, and infinitely many dB. Structure leaves out mean "
                    "colours. The styles of the second row are four of those that the network learned from.")
        rows = [[outcome.arm.name, *(outcome.spread(measure) if all(measure.key in one for one in outcome.figures)
                                     else None for measure in self.measures)] for outcome in report.outcomes.values()]
        report.table("ways", Table(["painter", *(measure.name for measure in self.measures)], rows))
        for outcome in report.outcomes.values():
            report.figure(outcome.arm.slug, (outcome.arm.trials[0].evaluation / "styles.png").read_bytes(),
                          f"{outcome.arm.name}: above the styles, below the first content in each.")
        report.section("What the numbers are numbers of", is_folded=True)
        report.text("\n\n".join(f"{StyleFeatures(name).describe()}; shorter side {self.config.size} px." for name in (
            self.config.network, self.config.other)))

    # ------------------------------------------------------------------------------- steps

    def _place(self, out: Path, name: str) -> Path:
        given: Path | None = getattr(self.config, name)
        return given or out / name

    def _drawn(self, out: Path) -> tuple[Step, ...]:
        config, steps = self.config, []
        if config.photos is None:
            steps.append(call_step(f"draw 96 landscapes, seed {config.seed}", lambda: draw_scenes(
                out / "photos", 96, max(96, config.patch), config.seed), out / "photos" / "dataset.json", []))
        if config.contents is None:
            steps.append(call_step(f"draw {config.count} landscapes of {config.size} px, seed {config.seed + 1}",
                                   lambda: draw_scenes(out / "contents", config.count, config.size, config.seed + 1),
                                   out / "contents" / "dataset.json", []))
        if config.styles is None:
            steps.append(call_step(f"draw {config.num_styles} textures, seed {config.seed}", lambda: draw_textures(
                out / "styles", _KNOWN, config.num_styles, config.seed), out / "styles" / "dataset.json", []))
        if config.unseen is None:
            steps.append(call_step(f"draw patterns of other kinds, seed {config.seed + 1}", lambda: draw_unseen(
                out / "unseen", config.seed + 1), out / "unseen" / "dataset.json", []))
        return tuple(steps)

    def _train(self, out: Path, kind: str, seed: int, quiet: bool) -> Step:
        config, run = self.config, Run(seed=seed, sample_every=0)
        same: dict[str, Any] = {"steps": config.steps, "patch": config.patch, "style_size": _SIDE, "grain": 2,
                                "style_weight": config.style_weight, "smooth_weight": 0.1, "kind": "covariance",
                                "loss_network": config.network}
        photos, place = self._place(out, "photos"), out / f"network_{kind}_{seed}"
        if kind == "own":
            return train_step("style_network", StyleNetwork.Data(data=photos, styles=self._place(out, "unseen")),
                              StyleNetwork.Config(**same), run, place, quiet, cost=float(config.steps))
        return train_step("any_style", AnyStyle.Data(data=photos, styles=self._place(out, "styles")), AnyStyle.Config(
            **same, style_zoom=(1.0, 1.5)), run, place, quiet, cost=1.5 * config.steps)

    def _contents(self, out: Path) -> list[Tensor]:
        folder = ImageFolder(self._place(out, "contents"))
        return [shorter_side(read_style(folder.file(number)), self.config.size)
                for number in range(min(self.config.count, len(folder)))]

    def _asked(self, out: Path, name: str) -> Path:
        """The folder of styles that a painter is asked for; of those seen in training four, evenly spaced."""
        if name != "seen":
            return self._place(out, "unseen")
        folder, place = ImageFolder(self._place(out, "styles")), out / "seen"
        if not place.exists():
            for number in np.linspace(0, len(folder) - 1, min(4, len(folder))).round().astype(int).tolist():
                _save(read_style(folder.file(number))[0].permute(1, 2, 0).numpy(), place / f"style_{number:04d}.png")
        return place

    def _judges(self) -> tuple[StyleFeatures, StyleFeatures]:
        return StyleFeatures(self.config.network), StyleFeatures(self.config.other)

    def _judge(self, out: Path, name: str, seed: int) -> Step:
        place, run = out / f"{name}_{seed}", out / f"network_{'own' if name == 'own' else 'any'}_{seed}"

        def work() -> None:
            asked, contents = self._asked(out, name), self._contents(out)
            net, _, context = open_network(run, None if name == "own" else asked)
            figures = self._measured(place, style_measures.painter_of(net, context), contents, asked)
            if name != "own":
                own = [style_measures.decibels(self._in_its_own(run, out, number, content), content)
                       for number, content in enumerate(contents)]
                figures["own_psnr"] = float(np.mean(own))
            write_json(place / "evaluation.json", {"figures": figures, "costs_nothing": None})

        return call_step(f"judge {run.name} on {'four styles of its training' if name == 'seen' else 'unseen styles'}, "
                         f"{self.config.count} contents of {self.config.size} px, by {self.config.other} too", work,
                         place / "evaluation.json", [run, self._place(out, "unseen"), self._place(out, "contents")])

    def _in_its_own(self, run: Path, out: Path, number: int, content: Tensor) -> Tensor:
        """A content painted with itself as the style."""
        folder = ImageFolder(self._place(out, "contents"))
        net, _, context = open_network(run, Path(str(folder.file(number))))
        return style_measures.painter_of(net, context)(content, 0)

    def _optimise(self, out: Path, count: int) -> Step:
        config, place = self.config, out / f"optimised_{count}"

        def work() -> None:
            asked, judge = self._place(out, "unseen"), StyleFeatures(config.network)
            settings = Style.Config(to=asked, network=config.network, style_weight=config.style_weight, levels=1,
                                    steps=count, kind="covariance", smooth_weight=0.1)
            painter = style_measures.optimiser_of(judge, settings, self._styles(asked), config.seed)
            figures = self._measured(place, painter, self._contents(out), asked)
            write_json(place / "evaluation.json", {"figures": figures, "costs_nothing": None})

        return call_step(f"optimise {config.count} contents of {config.size} px towards every unseen style, {count} "
                         f"evaluations, r = {config.style_weight:g}", work, place / "evaluation.json",
                         [self._place(out, "unseen"), self._place(out, "contents")], cost=count)

    def _styles(self, folder: Path) -> list[Tensor]:
        return [read_style(file, min(self.config.size, _SIDE)) for file in open_styles(folder)[1]]

    def _measured(self, place: Path, painter: style_measures.Painter, contents: list[Tensor],
                  asked: Path) -> dict[str, float]:
        """The figures of a painter; its first pictures are written below the styles."""
        styles = self._styles(asked)
        figures, pictures = style_measures.measure(painter, contents, styles, self._judges())
        squares = [torch.cat([_square(one) for one in row], 3) for row in (styles, pictures)]
        make_folder(place)
        with atomic_write(place / "styles.png") as file:
            file.write(image_png(torch.cat(squares, 2)[0], min_side=1))
        return figures


def draw_textures(folder: Path, kinds: tuple[str, ...], count: int, seed: int) -> None:
    """Write `count` textures of 160 px of these kinds, in turn, each in colours of its own."""
    for number in range(count):
        kind = kinds[number % len(kinds)]
        picture = paint_texture(kind, np.random.default_rng(fold(seed, number)), _SIDE)
        _save(picture, folder / f"{kind}_{number:04d}.png")
    write_json(folder / "dataset.json", {"drawn": "textures", "kinds": list(kinds), "count": count, "seed": seed})


def draw_unseen(folder: Path, seed: int) -> None:
    """Write one texture of each kind that is held out, and the patterns of the demo."""
    for number, kind in enumerate(_HELD):
        _save(paint_texture(kind, np.random.default_rng(fold(seed, number)), _SIDE), folder / f"{kind}.png")
    draw_styles(folder, _SIDE, seed)


def _square(picture: Tensor, side: int = 160) -> Tensor:
    """The middle of a picture, `side` px or what it has, as that many px."""
    scaled = shorter_side(picture, side)
    top, left = (scaled.shape[2] - side) // 2, (scaled.shape[3] - side) // 2
    return scaled[..., top : top + side, left : left + side]


def _save(picture: Any, path: Path) -> None:
    make_folder(path.parent)
    with atomic_write(path) as file:
        Image.fromarray((np.asarray(picture) * 255).round().astype(np.uint8)).save(file, "PNG")
