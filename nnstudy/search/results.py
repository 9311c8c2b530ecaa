"""What came of a stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from nnstudy.search.confirmation.outcome import confirmation_of
from nnstudy.search.confirmation.taken_look import taken_look
from nnstudy.search.confirmation.words import markdown
from nnstudy.search.distributions import describe
from nnstudy.search.endings import ending_of
from nnstudy.search.plan import Plan
from nnstudy.search.ranges.borders import Border, borders
from nnstudy.search.timing.comparison import concluded
from nnstudy.search.timing.words import markdown as timing_table
from nnstudy.search.update_ratios import ratio_line
from nnstudy.search.verdict_counts import verdict_counts

STATES = ("complete", "pruned", "diverged", "failed")


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """Returns the best complete trial, or None."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return None
    return study.best_trial


def borders_of(plan: Plan, trials: Sequence[FrozenTrial]) -> list[Border]:
    """Returns the edges that a stage's good values crowd.

    A confirmation searches none, and a comparison by time has the values that it was given.
    """
    if plan.kind != "search" or plan.scaled:
        return []
    return borders(trials, plan.direction, plan.parsed_limits())


def stage_story(plan: Plan, study: optuna.Study, what_mattered: str = "") -> str:
    """Returns what came of a stage, as Markdown for its run.

    Args:
        plan: The stage.
        study: The stage's Optuna study.
        what_mattered: A line on which parameters mattered, or nothing.
    """
    if plan.kind == "confirm" and (confirmation := confirmation_of(plan, study)):
        look = taken_look(study)
        return "\n\n".join([markdown(confirmation), *([f"{look.sentence()}."] if look else [])])
    trials = study.get_trials(deepcopy=False)
    endings = Counter(ending_of(trial) for trial in trials if trial.state.is_finished())
    counted = ", ".join(f"{endings[state]} {state}" for state in STATES if endings[state])
    lines = [
        f"Stage **{plan.stage}** of study **{plan.study}**: {sum(endings.values())} of"
        f" {plan.trials} trials finished ({counted or 'none yet'}).{_mean(plan)}"
    ]
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    sign = 1 if plan.direction == "minimize" else -1
    ranked = sorted(complete, key=lambda trial: sign * (trial.value or 0.0))
    if ranked:
        names = sorted({name for trial in ranked[:5] for name in trial.params})
        lines += ["", f"| trial | {plan.metric} | {' | '.join(names)} |"]
        lines += ["|" + " --- |" * (len(names) + 2)]
        lines += [
            f"| {t.number} | {t.value:.5g} | "
            + " | ".join(_shown(t.params.get(name)) for name in names)
            + " |"
            for t in ranked[:5]
        ]
    if timed := concluded(plan, trials):
        lines += ["", timing_table(timed)]
    if any(entry.is_changed for entry in plan.parsed_ranges().ranges):
        lines += ["", *_ranges_table(plan)]
    if what_mattered:
        lines += ["", f"{what_mattered[0].upper()}{what_mattered[1:]}."]
    if ratios := ratio_line(trials, ranked[0] if ranked else None):
        lines += ["", ratios]
    if found := borders_of(plan, trials):
        lines += ["", "The best values lie at the border of what was searched:", ""]
        lines += [f"- {border}" for border in found]
    counts = verdict_counts(trials)
    if counts:
        lines += ["", "Verdicts:", "", *(f"- {count}" for count in counts)]
    return "\n".join(lines)


def _mean(plan: Plan) -> str:
    if plan.repeats == 1:
        return ""
    return f" Each is judged by the mean of {plan.repeats} {plan.repeat_kind}s."


def _ranges_table(plan: Plan) -> list[str]:
    """Returns what the stage searches, and why, as lines of Markdown."""
    return [
        "| parameter | asked for | searched in this stage | why |",
        "| --- | --- | --- | --- |",
        *(
            f"| {entry.name} | {describe(entry.asked)} | {describe(entry.given)} |"
            f" {entry.evidence} |"
            for entry in plan.parsed_ranges().ranges
        ),
    ]


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
