"""Style: one small network learns the manner of four drawn patterns, mixes them, and paints by a map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from migaki.changes.stylise import Stylise, open_network
from migaki.core.errors import UserError
from migaki.core.files import atomic_write, make_folder, read_json
from migaki.core.fit import Run
from migaki.core.log import read_rows
from migaki.data.style_pictures import read_style
from migaki.judges.style import Style as StyleJudge
from migaki.lab.chain import Phase, Step
from migaki.lab.demo import Demo
from migaki.lab.steps import call_step, change_step, judge_step, train_step
from migaki.lab.study import Plan
from migaki.lab.study_report import StudyReport
from migaki.report.figures import training_curves
from migaki.report.page import Number
from migaki.report.sheets import image_png, sheet
from migaki.report.tables import Table
from migaki.stages.apply import ApplyJob
from migaki.studies.parts.style_pictures import PATTERNS, draw_scenes, draw_styles
from migaki.systems.style_network import StyleNetwork

NAMES = tuple(PATTERNS)
_LAYERS = ("size_3", "size_7", "size_15", "size_23")
_SIDE, _JUDGED = 192, 128  # px of what is painted, and of what is judged
_OTHER = "random=7"  # filters that took no part in the training


class StyleDemo(Demo):
    """The defaults take under four minutes on two cores."""

    title = "One network, four styles"
    subtitle = "migaki drew landscapes and four patterns, trained one small network to paint landscapes in the " \
               "manner of each pattern, and let it mix them. The loss sees random filters, not a file of weights."
    measures = ()
    folder = Path("demo-style")

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """How large the demo is."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "seed steps count style_weight"}

        seed: int = 0  # of all random draws
        steps: int = 400  # updates of the network
        count: int = 4  # landscapes that the network did not see
        style_weight: float = 10.0  # r: weight of the style over that of the content

        def __post_init__(self) -> None:
            if min(self.count, self.steps) < 1 or self.style_weight < 0:
                raise UserError("migaki demo style: --count and --steps must be at least 1, --style-weight 0 or more")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: draw, train, paint in every style, judge each; no arms."""
        config = StyleNetwork.Config(steps=self.config.steps, patch=64, style_size=128, loss_network="random",
                                     style_layers=_LAYERS, content_layers=("size_23",), zoom=(1.0, 1.5),
                                     style_weight=self.config.style_weight, smooth_weight=0.05, learning_rate=3e-3,
                                     kind="covariance", grain=2, recolour=False)
        run = Run(seed=self.config.seed, sample_every=0, checkpoint_every=100, log_every=10)
        painted = tuple(change_step("stylise", Stylise.Config(run=out / "run", style=name), ApplyJob(
            input=out / "unseen", out=out / "painted" / name), quiet) for name in NAMES)
        judged = tuple(judge_step(StyleJudge(StyleJudge.Config(
            before=out / "unseen", after=out / "painted" / name, to=out / "styles" / f"{name}.png", size=_JUDGED,
            networks=("random", _OTHER))), (), out / "judged" / name, quiet=quiet) for name in NAMES)
        return Plan(arms=(), phases=(
            Phase(title="draw landscapes and patterns", steps=self._drawn(out)),
            Phase(title="train one network for all patterns", steps=(train_step(
                "style_network", StyleNetwork.Data(data=out / "scenes", styles=out / "styles"), config, run,
                out / "run", quiet),)),
            Phase(title="paint landscapes that it did not see", steps=painted),
            Phase(title="judge", steps=judged)))

    def _drawn(self, out: Path) -> tuple[Step, ...]:
        seed, count = self.config.seed, self.config.count
        return (
            call_step(f"draw 64 landscapes of 96 px, seed {seed}", lambda: draw_scenes(out / "scenes", 64, 96, seed),
                      out / "scenes" / "dataset.json", []),
            call_step(f"draw {count} landscapes of {_SIDE} px, seed {seed + 1}",
                      lambda: draw_scenes(out / "unseen", count, _SIDE, seed + 1), out / "unseen" / "dataset.json", []),
            call_step(f"draw the patterns {', '.join(NAMES)} of {_SIDE} px, seed {seed}",
                      lambda: draw_styles(out / "styles", _SIDE, seed), out / "styles" / "dataset.json", []))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: pictures first, then figures, and what they are figures of."""
        out = report.out
        figures = {name: read_json(out / "judged" / name / "style.json")["figures"] for name in NAMES}
        size = (out / "run" / "model.safetensors").stat().st_size / 1e6
        left = float(np.mean([one["style_structure_random_7"] for one in figures.values()]))
        report.numbers([
            Number("of the way to the patterns", f"{1 - left:.0%}", "by products of features about their means, mean "
                   "of four styles, in filters that took no part; mean colours do not count, nor does the eye"),
            Number("size of the network", f"{size:.1f} MB", "all four styles; each further one adds "
                   f"{_bytes_of_a_style(out / 'run') / 1024:.1f} kB"),
            report.time_card()])
        report.section("Four styles")
        report.figure("styles", _grid(out, self.config.count), "Above the patterns whose style is taken, below "
                      "landscapes that the network did not see, painted in each.")
        report.section("Mixtures and maps")
        report.figure("mixtures", _mixtures(out), "From one style to another in steps of a quarter: the weights of the "
                      "styles are an input of the network.")
        report.figure("map", _by_map(out), "Painted by a map of weights: another style in each quarter, and nothing in "
                      "the middle, where every pixel kept its bits.")
        report.section("How near, how far")
        report.table("distances", _table(figures))
        report.figure("training", training_curves(read_rows(out / "run" / "metrics.jsonl"),
                                                  keys=["net/style", "net/content"], smooth=3),
                      "Distance from the style (1 at the start) and from the content while the network learned.",
                      is_chart=True)
        report.section("What the numbers are numbers of", is_folded=True)
        networks = read_json(out / "judged" / NAMES[0] / "style.json")["networks"]
        report.text(_PROTOCOL.format(steps=self.config.steps, judged=_JUDGED, loss=networks["random"],
                                     other=networks[_OTHER]))


_PROTOCOL = """\
The network saw 64 drawn landscapes and one picture of each pattern in {steps} steps of 4 patches of 64 px. Distances \
are squared distances of Gram matrices, each channel in deviations of the style, each layer in units of the distance \
that the landscape had before; structure leaves out the means. The shorter side of all pictures is {judged} px.

Filters of the loss: {loss}. Other filters: {other}. Low loss is no proof of style: look at the pictures.

Johnson, Alahi, Fei-Fei, ECCV 2016; Dumoulin, Shlens, Kudlur, ICLR 2017; random filters after Ustyuzhaninov et al. 2016.
"""


def _table(figures: dict[str, dict[str, Any]]) -> Table:
    keys = {"distance from the style": "style_gram_random", "in other filters": "style_gram_random_7",
            "of its structure": "style_structure_random_7", "from the content": "content_random",
            "colours from content (Lab)": "colours_from_content", "colours from style (Lab)": "colours_from_style"}
    rows = [[name, *(f"{figures[name][key]:.3f}" for key in keys.values())] for name in NAMES]
    return Table(["style", *keys], rows, "1 = as far from the style as the landscape was; structure: in other filters, "
                 "without mean colours; content: 0 = unchanged. Colours: 1-Wasserstein distances between histograms, "
                 "units of CIE Lab.")


def _scene(out: Path, number: int) -> Tensor:
    return read_style(out / "unseen" / f"scene_{number:03d}.png")


def _painted(out: Path, weights: Tensor, number: int = 0) -> Tensor:
    net, _, _ = open_network(out / "run")
    with torch.no_grad():
        made: Tensor = net(_scene(out, number), weights)
    return made


def _grid(out: Path, count: int) -> bytes:
    rows = [("patterns", torch.cat([torch.ones(1, 3, _SIDE, _SIDE), *(
        read_style(out / "styles" / f"{name}.png") for name in NAMES)]))]
    for number in range(min(count, 4)):
        rows.append((f"{number + 1}", torch.cat(
            [_scene(out, number), *(_painted(out, one[None], number) for one in torch.eye(len(NAMES)))])))
    return sheet(rows, min_side=192)


def _mixtures(out: Path) -> bytes:
    rows, shares = [], torch.linspace(0, 1, 5)
    for one, two in ((0, 3), (1, 2)):
        made = []
        for share in shares:
            weights = torch.zeros(1, len(NAMES))
            weights[0, one], weights[0, two] = 1 - share, share
            made.append(_painted(out, weights))
        rows.append((f"from {NAMES[one]} to {NAMES[two]}", torch.cat(made)))
    return sheet(rows, min_side=192)


def _by_map(out: Path) -> bytes:
    """Writes the map as a file, as a user would, and paints by it."""
    side = _SIDE
    weights = np.zeros((side, side, len(NAMES)), np.float32)
    for number in range(4):
        row, column = number // 2 * side // 2, number % 2 * side // 2
        weights[row : row + side // 2, column : column + side // 2, number] = 1
    y, x = np.mgrid[0:side, 0:side] - side / 2
    weights[np.hypot(x, y) < side / 5] = 0
    path = make_folder(out / "map") / "weights.npy"
    with atomic_write(path) as file:
        np.save(file, weights)
    change = Stylise(Stylise.Config(run=out / "run", style=str(path)))
    change.open(out / "unseen")
    made = change.change({"image": _scene(out, 0)}, torch.zeros(1, dtype=torch.int64))["image"]
    return image_png(made[0], min_side=384)


def _bytes_of_a_style(run: Path) -> int:
    net, styles, _ = open_network(run)
    return 4 * (net.scales.numel() + net.shifts.numel()) // len(styles)
