"""What came of a stage."""

from __future__ import annotations

from collections import Counter

import optuna
from optuna.trial import FrozenTrial, TrialState

from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.plan import Plan

STATES = ("complete", "pruned", "diverged", "failed")


def ending_of(trial: FrozenTrial) -> str:
    """Returns how a finished trial ended: complete, pruned, diverged or failed."""
    fallback = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
    return str(
        trial.user_attrs.get(ATTRIBUTE, {}).get("ended") or fallback.get(trial.state, "failed")
    )


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """Returns the best complete trial, or None."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return None
    return study.best_trial


def stage_story(plan: Plan, study: optuna.Study) -> str:
    """Returns what came of a stage, as Markdown for its run."""
    trials = study.get_trials(deepcopy=False)
    endings = Counter(ending_of(trial) for trial in trials if trial.state.is_finished())
    counted = ", ".join(f"{endings[state]} {state}" for state in STATES if endings[state])
    lines = [
        f"Stage **{plan.stage}** of study **{plan.study}**: {sum(endings.values())} of"
        f" {plan.trials} trials finished ({counted or 'none yet'})."
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
    return "\n".join(lines)


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
