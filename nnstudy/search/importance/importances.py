"""Which parameters of a stage matter, beside what chance would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from nnstudy.search.distributions import key
from nnstudy.search.importance.evaluators import SHUFFLES, Evaluator, EvaluatorName
from nnstudy.search.importance.evidence import BLOCK, Evidence, evidence_of
from nnstudy.search.plan import Plan

LEAST = 10
"""Complete trials without which nothing is said. PED-ANOVA compares good trials with all: they should
be five at least (Optuna's documentation), and no more than half."""

THIN = 30
"""Complete trials below which even what matters most may go unnoticed: of 40 searches over three
parameters that matter and four that do not, the strongest was told from chance in some 40 % with 12
random trials, in 78 % with 20, and in 95 % with 30."""

QUANTILE = 0.95

EVEN = ("random", "grid", "qmc")
"""Samplers that draw without regard to what earlier trials reached."""


@dataclass(frozen=True)
class Importance:
    """What a parameter is worth.

    Attributes:
        parameter: Its name.
        share: Its importance; those of a group add up to 1.
        chance: The 95 % quantile of what it would be by chance, on the same scale.
        asked: Complete trials that asked for it.
        is_conditional: Whether others did not.
    """

    parameter: str
    share: float
    chance: float
    asked: int
    is_conditional: bool

    @property
    def is_told(self) -> bool:
        """Whether it is told from chance."""
        return self.share > self.chance


@dataclass(frozen=True)
class Group:
    """Importances that can be compared.

    Attributes:
        trials: Complete trials that were looked at.
        branch: The conditional parameters that they have in common, where they are a part only.
        importances: The greatest first.
    """

    trials: int
    branch: tuple[str, ...]
    importances: list[Importance]


@dataclass(frozen=True)
class StageImportance:
    """Which parameters of a stage matter.

    Attributes:
        study: Name of the study.
        stage: Name of the stage.
        evaluator: What measured it.
        complete: Complete trials with a finite value.
        pruned: Pruned and diverged trials, which are left out.
        groups: One with PED-ANOVA; with forests one of the parameters that all trials ask for,
            then one for each set of conditional ones. None where nothing can be said.
        unsaid: Parameters of which nothing is said, with the reason.
        warnings: What makes the numbers less than they look.
    """

    study: str
    stage: str
    evaluator: EvaluatorName
    complete: int
    pruned: int
    groups: list[Group] = field(default_factory=list)
    unsaid: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def is_drawn_evenly(plan: Plan) -> bool:
    """Tells whether the sampler of a stage does not learn from its trials."""
    return plan.sampler.get("name") in EVEN


def stage_importance(
    plan: Plan, trials: Sequence[FrozenTrial], evaluator: EvaluatorName = "ped-anova"
) -> StageImportance:
    """Measures which parameters of a stage matter.

    Importances are Optuna's. Beside each stands what chance gives: values are shuffled among the
    trials (a permutation test on the values, as of Altmann et al. 2010, "Permutation importance",
    section 2), and the importance is measured again. It is seeded, so it gives the same each time.

    Args:
        plan: The stage.
        trials: Its trials; those that are not complete are only counted.
        evaluator: ``ped-anova`` (Watanabe et al. 2023: which parameters tell the best tenth from
            the others), ``fanova`` (Hutter et al. 2014: shares of a forest's variance) or
            ``mean-decrease-impurity``.
    """
    evidence = evidence_of(trials, plan.direction, is_even=is_drawn_evenly(plan))
    pruned = sum(trial.state is TrialState.PRUNED for trial in trials)
    found = StageImportance(plan.study, plan.stage, evaluator, len(evidence.trials), pruned)
    asked = {name for trial in evidence.trials for name in trial.params}
    if reason := _why_nothing(evidence, asked):
        found.warnings.append(reason)
        return found
    found.unsaid.update(_unsaid(evidence, sorted(asked)))
    names = sorted(asked - found.unsaid.keys())
    if names:
        measure = _of_all if evaluator == "ped-anova" else _of_branches
        found.groups.extend(measure(evidence, names, evaluator))
        if evaluator != "ped-anova":
            measured = {i.parameter for group in found.groups for i in group.importances}
            left = "no set of trials that ask for the same is large enough"
            found.unsaid.update({name: left for name in names if name not in measured})
    found.warnings.extend(_warnings(plan, evidence, names, found))
    return found


def _why_nothing(evidence: Evidence, asked: set[str]) -> str:
    complete = len(evidence.trials)
    if not asked and complete:
        return "no trial asks for a parameter"
    if complete < LEAST:
        trials = f"{complete} complete trial{'s' * (complete != 1)}"
        return (
            f"nothing can be said from {trials}: good ones are compared with all, which takes five"
            f" good ones and as many others, so {LEAST} at least"
        )
    if np.ptp(evidence.values) == 0:
        return (
            f"all {complete} complete trials reached the same value, so there is nothing to explain"
        )
    return ""


def _unsaid(evidence: Evidence, names: Sequence[str]) -> dict[str, str]:
    reasons = {}
    for name in names:
        values = [trial.params[name] for trial in evidence.trials if name in trial.params]
        if len(set(values)) == 1:
            reasons[name] = f"always {values[0]}"
        elif len(values) < LEAST:
            reasons[name] = f"asked for in {len(values)} complete trials, too few"
    return reasons


def _of_all(evidence: Evidence, names: Sequence[str], evaluator: EvaluatorName) -> list[Group]:
    made = Evaluator(evaluator, evidence.trials, names)
    real = made.importances(evidence.values, names)
    shuffled = {
        name: [
            made.importances(values, [name])[name]
            for values in evidence.shuffled(name, SHUFFLES[evaluator])
        ]
        for name in names
    }
    return [_group(evidence, len(evidence.trials), (), real, shuffled)]


def _of_branches(evidence: Evidence, names: Sequence[str], evaluator: EvaluatorName) -> list[Group]:
    """Measures with a forest, which cannot do with trials that lack a parameter."""
    sets = [
        frozenset((name, key(trial.distributions[name])) for name in names if name in trial.params)
        for trial in evidence.trials
    ]
    shared = frozenset.intersection(*sets)
    groups = [shared, *sorted(set(sets) - {shared}, key=lambda asked: -sets.count(asked))]
    found = []
    for asked in groups:
        part = evidence.of(
            [asked <= having if asked is shared else asked == having for having in sets]
        )
        varied = [name for name in names if name in {name for name, _ in asked}]
        varied = [name for name in varied if len({t.params[name] for t in part.trials}) > 1]
        if len(part.trials) < LEAST or not varied or np.ptp(part.values) == 0:
            continue
        made = Evaluator(evaluator, part.trials, varied)
        real = made.importances(part.values, varied)
        rows = [
            made.importances(values, varied) for values in part.shuffled(None, SHUFFLES[evaluator])
        ]
        shuffled = {name: [row[name] for row in rows] for name in varied}
        branch = tuple(sorted({name for name, _ in asked - shared}))
        found.append(_group(evidence, len(part.trials), branch, real, shuffled))
    return found


def _group(
    evidence: Evidence,
    trials: int,
    branch: tuple[str, ...],
    real: dict[str, float],
    shuffled: dict[str, list[float]],
) -> Group:
    whole = float(sum(real.values())) or 1.0
    asked = {name: sum(name in trial.params for trial in evidence.trials) for name in real}
    importances = [
        Importance(
            name,
            float(real[name]) / whole,
            float(np.quantile(shuffled[name], QUANTILE, method="higher")) / whole,
            asked[name],
            asked[name] < len(evidence.trials),
        )
        for name in sorted(real, key=lambda name: (-real[name], name))
    ]
    return Group(trials, branch, importances)


def _warnings(
    plan: Plan, evidence: Evidence, names: Sequence[str], found: StageImportance
) -> list[str]:
    complete, told = len(evidence.trials), []
    if not names:
        told.append("no parameter has several values in enough trials")
    if len(names) == 1:
        told.append(
            f"{names[0]} is the only parameter, so its share is 1 whatever it does; what counts is"
            " whether it is told from chance"
        )
    if complete < THIN:
        told.append(
            f"{complete} complete trials are thin evidence: below {THIN} even what matters most"
            " may not be told from chance"
        )
    if found.pruned > complete / 2:
        told.append(
            f"{found.pruned} pruned trials are left out: the numbers tell what mattered among"
            f" the {complete} that were good enough to go on"
        )
    if not evidence.is_even:
        sampler = plan.sampler.get("name") or "a sampler of your own"
        bias = {
            "ped-anova": "PED-ANOVA allows for it, but knows little of places that were left out",
            "fanova": "fANOVA's forest knows the rest badly, and its shares are biased",
            "mean-decrease-impurity": "the forest knows the rest badly, and its shares are biased",
        }[found.evaluator]
        told.append(
            f"{sampler} draws near good trials: {bias}. Chance is judged among each {BLOCK}"
            " consecutive trials; a stage of random trials tells more"
        )
    return told
