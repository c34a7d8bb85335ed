"""Gaze from synthetic eyes, before and after refining, tested on real ones: SimGAN's Tables 2 and 3, Figure 7."""

from __future__ import annotations

from pathlib import Path

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.data.sets.gaze_labels import require_gaze
from migaki.data.sets.overlap import require_others
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.studies.parts.gaze_page import compose_gaze
from migaki.studies.parts.gaze_plan import GazePlan
from migaki.studies.parts.gaze_recipe import ERROR, SHARE, GazeRecipe

FEWEST_PHOTOS = 64


class GazeStudy(Study):
    """Gaze models from synthetic eyes, raw and refined, tested on real labelled ones, by refiner and CNN seeds.

    `--photos DIR --data DIR` are your own folders (or MPIIGaze's); `--synthetic DIR` replaces rendering. Without
    `--data` the study gives distances and label drift but no errors; without `--photos` it uses a stand-in camera.
    Source: Shrivastava et al., CVPR 2017, section 3.1.
    """

    title = "Gaze from synthetic eyes"
    subtitle = "Rendered eyes with known gaze, given the look of unlabelled photographs; gaze models trained on " \
               "them, and judged on labelled photographs that only the upper bound was trained on."
    factors = ("refiner", "CNN")
    measures = (ERROR, SHARE)
    Config = GazeRecipe

    config: GazeRecipe

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: render, photograph, estimate, refine, measure looks, train, adapt, bound, evaluate."""
        _check(self.config)
        phases, arms = GazePlan(self.config, out, quiet).complete()
        return Plan(phases=phases, arms=arms)

    def compose(self, report: StudyReport) -> None:
        """Compose the page, see gaze_page.py."""
        compose_gaze(report, self.config)


def _check(config: GazeRecipe) -> None:
    """Raises UserError, before any step runs, if a folder lacks what the study needs."""
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
