"""What MLflow is told of an ensemble."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnstudy.ensembles.ensemble import Ensemble
from nnstudy.ensembles.examples import as_csv
from nnstudy.ensembles.look import TakenLook
from nnstudy.ensembles.pictures import rejection_figure, reliability_figure, size_figure
from nnstudy.ensembles.words import conclusion, markdown
from nnstudy.search.tracked import track_data
from nnstudy.tracking import Tracker, environment

RUN_NAME = "ensemble"
EXAMPLES = "examples.csv"


def track(
    tracker: Tracker,
    ensemble: Ensemble,
    look: TakenLook | None,
    told: Mapping[str, Any],
    file: Path,
) -> str:
    """Keeps an ensemble with a run of its own in the study's experiment, in place of an earlier one.

    Args:
        tracker: MLflow.
        ensemble: The ensemble.
        look: At the test part, if there was one.
        told: What is to be told of it.
        file: Where that is kept.

    Returns:
        The id of the run.

    Raises:
        TrackingAway: MLflow cannot be reached.
    """
    plan = ensemble.plan
    run_id = tracker.stage_run(
        plan.experiment_id,
        plan.study,
        RUN_NAME,
        key=f"{plan.key}/ensemble",
        kind="ensemble",
        tags=environment(),
    ).run_id
    track_data(tracker, run_id, plan.data)
    run = tracker.run(run_id)
    run.set_note(markdown(ensemble, look, plan.experiment_id))
    run.set_tags(
        {
            "nnstudy.conclusion": conclusion(ensemble),
            "nnstudy.members": json.dumps([one["run_id"] for one in told["members"]]),
            "nnstudy.digest": ensemble.digest,
        }
    )
    final = ensemble.comparison.final.numbers
    now = time.time_ns() // 1_000_000
    run.log({f"{name}/selection": value for name, value in final.items()}, step=0, timestamp=now)
    if look is not None and look.digest == ensemble.digest:
        tested = look.numbers["ensemble"]
        run.log({f"{name}/test": value for name, value in tested.items()}, step=0, timestamp=now)
    run.log_artifact(file)
    run.log_text(as_csv(ensemble), EXAMPLES)
    run.log_figure(size_figure(ensemble.comparison, plan.study), "size.png")
    run.log_figure(rejection_figure(ensemble.comparison, plan.study), "rejection.png")
    if (figure := reliability_figure(ensemble.comparison, plan.study)) is not None:
        run.log_figure(figure, "reliability.png")
    run.finish()
    return run_id
