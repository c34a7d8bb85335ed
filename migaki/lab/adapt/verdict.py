"""What an adaptation has shown, in the sentences that stand first on its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from migaki.lab.adapt import choice
from migaki.lab.adapt.making import BOUND
from migaki.lab.adapt.state import Adaptation
from migaki.lab.arms import Measure, Outcome, difference_by, pairs
from migaki.lab.verdict import verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The sentences; whether the chosen arm is better than plain training, None if nobody can know; and the regret: by
    how much the best arm of all is better than the chosen one."""

    text: str
    helped: bool | None
    regret: float | None


def judge(work: Adaptation, outcomes: Mapping[str, Outcome], measure: Measure) -> Verdict:
    """Returns the verdict, be it good or bad."""
    assert work.chosen is not None
    start, best = outcomes[work.arms[0].slug], outcomes[work.chosen.slug]
    if not work.has_real:
        return Verdict(text=_unproved(work, best), helped=None, regret=None)
    text, helped = _proved(work, start, best, measure)
    regret, more = _regret(work, outcomes, best, measure)
    if BOUND in outcomes:
        more += f" Real labels alone reach {measure.text(outcomes[BOUND].spread(measure))}."
    return Verdict(text=f"{text} {more}", helped=helped, regret=regret)


def _unproved(work: Adaptation, best: Outcome) -> str:
    assert work.chosen is not None
    start = next(one for one in work.scores if one.slug == work.arms[0].slug)
    if work.chosen.slug == start.slug:
        return "Of all arms plain training on the simulated pictures agrees best with itself about the photographs: " \
               "nothing that was tried promises more. Without real labels this cannot be proved: give some with " \
               "--labelled."
    return f"Chosen: '{best.arm.name}'. Its models agree about {work.chosen.agreement:.1%} of the photographs beyond " \
           f"chance, those of plain training about {start.agreement:.1%}. Without real labels this cannot be proved: " \
           "give some with --labelled."


def _proved(work: Adaptation, start: Outcome, best: Outcome, measure: Measure) -> tuple[str, bool | None]:
    assert work.chosen is not None
    if best is start:
        return f"Adapting did not help: of all arms plain training was chosen, with " \
               f"{measure.text(best.spread(measure))} on real photographs.", False
    text = verdict(f"Adapting ('{best.arm.name}')", start, best, measure, ("seed",))
    gap = difference_by(0, pairs(start, best, measure))
    assert gap is not None
    gap = gap.judged(higher_is_better=measure.higher_is_better)
    interval = f" The difference is {gap}." if gap.t_low is not None else ""
    claim = text.split(":")[0]
    return text + interval, None if " seems " in claim else " helped" in claim


def _regret(work: Adaptation, outcomes: Mapping[str, Outcome], best: Outcome, measure: Measure) -> tuple[float, str]:
    """Returns by how much the best arm is better than the chosen one, and that in words."""
    sign = 1 if measure.higher_is_better else -1
    values = {arm.slug: sign * outcomes[arm.slug].spread(measure).mean for arm in work.arms}
    top = max(values, key=lambda slug: values[slug])
    regret = values[top] - values[best.arm.slug]
    blind = choice.by_agreement(work.scores).slug
    blind_text = "and the rule without labels chooses the same" if blind == best.arm.slug else \
        f"and the rule without labels would have chosen '{outcomes[blind].arm.name}' with " \
        f"{measure.text(outcomes[blind].spread(measure))}"
    if not regret:
        return 0.0, f"It is the best of all {len(values)} arms, {blind_text}."
    return regret, f"The best of all {len(values)} arms, known by the test's labels alone, is " \
                   f"'{outcomes[top].arm.name}' with {measure.text(outcomes[top].spread(measure))}; it was not " \
                   f"chosen, {blind_text}."
