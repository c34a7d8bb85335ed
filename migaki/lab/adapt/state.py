"""The state of an adaptation while it goes on: what was given, decided and made so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from migaki.core.metric import Metric
from migaki.core.trained import load_system
from migaki.lab.adapt.budget import Plan
from migaki.lab.adapt.choice import Scores
from migaki.lab.adapt.options import Options
from migaki.lab.adapt.recipes import Budgeted, Recipe, model_folder
from migaki.lab.adapt.sets import Sets
from migaki.lab.chain import Phase, Timing, run_chain
from migaki.lab.side_by_side import STEP_THREADS

_LETTER = 32  # px: larger pictures are no single characters


@dataclass
class Adaptation:
    """What is known while an adaptation goes on; each phase adds to it."""

    sets: Sets
    options: Options
    out: Path
    quiet: bool = False
    phases: list[Phase] = field(default_factory=list)
    before: int = 0  # phases that made the sets
    timings: list[Timing] = field(default_factory=list)
    left_out: dict[Path, str] = field(default_factory=dict)
    arms: list[Recipe] = field(default_factory=list)  # trained, in their order
    names: dict[str, str] = field(default_factory=dict)  # of all arms, also of those that were left out
    rejected: dict[str, str] = field(default_factory=dict)  # arm -> why it was not trained
    scores: list[Scores] = field(default_factory=list)
    chosen: Scores | None = None
    plan: Plan | None = None
    parallel: int = 1  # steps that run side by side
    announcement: str = ""  # said before the first step

    def go(self, *phases: Phase) -> None:
        """Carry out further phases; what an earlier call has done is not done again."""
        shown = len(self.phases)
        self.phases += [phase for phase in phases if phase.steps]
        self.timings = run_chain(self.phases, self.out, last="", quiet=self.quiet, left_out=self.left_out, shown=shown,
                                 total=max(self.total, len(self.phases)), ahead=self._ahead(),
                                 parallel=self.parallel, threads=STEP_THREADS, first=self.announcement)
        self.announcement = ""

    @property
    def total(self) -> int:
        """How many phases there will be, the report included."""
        allowed = set(self.plan.arms) if self.plan is not None else {"matched", "self", "refined"}
        builds = allowed & {"self", "adapted_matched", "refined", "refined_mixed"}
        return 7 + self.before + sum(map(bool, (
            allowed & {"matched", "matched_plain", "matched_adabn", "mixed", "adapted_matched"}, "self" in allowed,
            allowed & {"refined", "refined_mixed"}, builds, builds, self.has_real)))

    def _ahead(self) -> float:
        """Returns the seconds that later phases will take, as far as they are planned."""
        if self.plan is None:
            return 0.0
        begun = {arm.slug for arm in self.arms}
        return sum(cost for slug, cost in self.plan.costs.items() if slug in self.plan.arms and slug not in begun)

    @property
    def has_real(self) -> bool:
        """Whether there are labelled photographs."""
        return self.sets.real is not None

    @property
    def is_blind(self) -> bool:
        """Whether the arm is chosen without real labels."""
        return not self.has_real or self.options.choose == "agreement"

    @property
    def metric(self) -> Metric:
        """The measure of the task."""
        found = load_system(model_folder(self.out, self.arms[0].slug, 0)).metric()
        assert found is not None
        return found

    def budgeted(self) -> Budgeted:
        """How long models are trained."""
        steps_ = self.plan.steps if self.plan is not None else self.options.steps or 1
        # Grey pictures that are no writing are photographs without colour: light and camera vary, not pen and scanner.
        looks = "photographs" if self.sets.channels == 1 and not self.is_writing else "auto"
        return Budgeted(task=self.sets.task, steps=steps_, seed=self.options.seed, quiet=self.quiet, looks=looks)

    @property
    def is_writing(self) -> bool:
        """Whether the pictures may be single characters: grey and tiny."""
        return self.sets.channels == 1 and max(self.sets.size) <= _LETTER

    def recipe(self, slug: str) -> Recipe:
        """Returns a trained arm."""
        return next(arm for arm in self.arms if arm.slug == slug)
