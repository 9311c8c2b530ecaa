"""The verdicts on a trial, when it has ended."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch.nn.functional as F

from nnstudy.data import Data
from nnstudy.diagnostics.first_layer_noise import first_layer_noise
from nnstudy.diagnostics.verdicts import Course, judge
from nnstudy.search.endings import Ending
from nnstudy.search.plan import Plan
from nnstudy.training import Record, Training
from nnstudy.training.own_loop import OwnTraining

_log = logging.getLogger(__name__)


def judged(
    plan: Plan,
    data: Data,
    training: Training | OwnTraining | None,
    history: Sequence[Record],
    ending: Ending,
) -> dict[str, Any]:
    """Returns the verdicts on a trial, as facts of it.

    A defect of a rule must not cost a trial, which has been trained and has its value; but it is
    a defect and is told: as a warning now, and with its traceback among the facts, from where
    the run's note has it too.

    Args:
        plan: The trial's stage.
        data: What was trained on.
        training: What was trained, if it is there.
        history: Its records, also those of workers before this one.
        ending: How it ended.

    Returns:
        ``verdicts``, each with name, evidence, advice and figures, the most important first;
        and ``verdicts_defect``, a traceback, or empty.
    """
    try:
        course = course_of(plan, data, training, history, ending)
        return {"verdicts": [asdict(verdict) for verdict in judge(course)], "verdicts_defect": ""}
    except Exception as error:
        _log.warning(
            "the verdicts on a trial of stage %s could not be given, which is a defect of nnstudy"
            " (%s: %s); all else of the trial is kept. Its run's note has the traceback",
            plan.name,
            type(error).__name__,
            error,
        )
        return {"verdicts": [], "verdicts_defect": traceback.format_exc()}


def course_of(
    plan: Plan,
    data: Data,
    training: Training | OwnTraining | None,
    history: Sequence[Record],
    ending: Ending,
) -> Course:
    """Returns what rules are to know of a trial; see ``judged``."""
    course: dict[str, Any] = {}
    if isinstance(training, Training):
        recipe, examples = training.recipe, len(data.train)
        rate = history[-1].values.get("lr", 0.0) if history else 0.0
        course = {
            "steps_per_epoch": training.budget.steps.per_epoch,
            "decay_per_step": rate * (recipe.weight_decay or recipe.l2 / examples),
            "first_layer_noise": first_layer_noise(training.network, data.shape),
        }
        if data.classes and training.loss is F.cross_entropy:
            course["chance_loss"] = math.log(data.classes)
    return Course(
        [{**record.values, "epoch": record.epoch} for record in history],
        ended=_ended(ending),
        metric=plan.metric,
        direction=plan.direction,
        classes=data.classes,
        **course,
    )


def _ended(ending: Ending) -> str:
    if ending.label != "complete":
        return ending.label
    return "stopped" if ending.reason == "stopped on request" else ending.reason


def verdict_tags(facts: Mapping[str, Any]) -> dict[str, str]:
    """Returns the names of the verdicts among a trial's facts as a tag of its run."""
    if "verdicts" not in facts:  # of a trial that ended before there were any
        return {}
    return {"nnstudy.verdicts": ", ".join(verdict["name"] for verdict in facts["verdicts"])}


def verdict_note(facts: Mapping[str, Any]) -> str:
    """Returns the verdicts among a trial's facts as Markdown for its run; empty without any."""
    lines = [
        f"- **{verdict['name']}**: {verdict['evidence']}. *{verdict['advice']}*"
        for verdict in facts.get("verdicts", [])
    ]
    if defect := facts.get("verdicts_defect"):
        lines.append(
            "The verdicts could not be given, which is a defect of nnstudy. Please report it"
            f" with this:\n\n```\n{defect}```"
        )
    return "\n".join(lines)
