"""Gaze from synthetic eyes, before and after refining, judged on real ones: SimGAN's Tables 2 and 3, Figure 7."""

from __future__ import annotations

from pathlib import Path

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.data.sets.gaze_labels import require_gaze
from migaki.data.sets.overlap import require_others
from migaki.lab.arms import Measure
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.studies.gaze_page import tell_gaze
from migaki.studies.gaze_recipe import GazeRecipe
from migaki.studies.gaze_road import GazeRoad

FEWEST_PHOTOS = 64


class GazeStudy(Study):
    """Gaze models from synthetic eyes, raw and refined, judged on real labelled ones, by refiner and CNN seeds.

    `--photos DIR --data DIR` are yours (or MPIIGaze's), `--synthetic DIR` takes the place of rendering. Without
    `--data` there are distances and drift of labels, no errors; without `--photos` a stand-in camera takes them.
    Source: Shrivastava et al., CVPR 2017, section 3.1.
    """

    title = "Gaze from synthetic eyes"
    subtitle = "Rendered eyes with known gaze, given the look of unlabelled photographs; gaze models trained on " \
               "them, and judged by labelled photographs that no arm but the upper bound was trained on."
    factors = ("refiner", "CNN")
    measures = (Measure(key="mean_deg", name="mean error, deg"),
                Measure(key="within_7_deg", name="within 7 deg, %", scale=100, higher_is_better=True))
    Config = GazeRecipe

    config: GazeRecipe

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Render, photograph, estimate, refine, measure looks, train, adapt, bound, judge."""
        _check(self.config)
        legs, arms = GazeRoad(self.config, out, quiet).walk()
        return Plan(legs=legs, arms=arms)

    def tell(self, report: StudyReport) -> None:
        """See gaze_page.py."""
        tell_gaze(report, self.config)


def _check(config: GazeRecipe) -> None:
    """UserError for folders that lack what the study needs, before anything is made."""
    if config.photos is not None and len(ImageFolder(config.photos)) < FEWEST_PHOTOS:
        raise UserError(f"{config.photos}: holds {len(ImageFolder(config.photos))} pictures, too few to learn a look "
                        f"from: give at least {FEWEST_PHOTOS}")
    for path in (config.labelled, config.synthetic):
        if path is not None:
            require_gaze(ImageFolder(path))
    if config.labelled is not None and config.photos is not None:
        labelled = ImageFolder(config.labelled)
        if len(labelled) < 2 * config.folds:
            raise UserError(f"{config.labelled}: {len(labelled)} labelled pictures cannot be cut into {config.folds} "
                            "folds: give more, or lower --folds")
        require_others(labelled, ImageFolder(config.photos), "--photos")
