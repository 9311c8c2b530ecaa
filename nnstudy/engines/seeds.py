"""The best configuration of a search, trained again from other initialisations, for an ensemble."""

from __future__ import annotations

from collections.abc import Sequence

from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.ray_cluster import connected_if_asked
from nnstudy.engines.retraining import Retraining
from nnstudy.engines.running import run_stages
from nnstudy.search.confirmation.members import retrained
from nnstudy.search.events import Emit
from nnstudy.search.interruption import Interrupted, Interruption
from nnstudy.search.stored import StoredStage, require_stages
from nnstudy.study import Study


def train_seeds(
    stages: Sequence[StoredStage],
    seeds: int,
    study: Study | str | None,
    given: LaunchOptions,
    emit: Emit,
    interruption: Interruption,
) -> None:
    """Trains a search's best configuration again with so many seeds, those there are included.

    They are trainings of a confirmation, which has them too if it is asked for later; what one
    has told before stays as it is.

    Args:
        stages: All that are stored of the study.
        seeds: How many there shall be.
        study: The study, or where it is here; None: as it was named at its launch.
        given: Where things are, and what runs the workers.
        emit: Hears what happens.
        interruption: Asks for an early end.

    Raises:
        UserError: If there is nothing to train again, or anything else is wrong that the user can
            put right.
        Interrupted: If an end was asked for; calling again goes on.
    """
    missing = _missing(stages, seeds)
    if not missing:
        return
    name = stages[0].plan.study
    with connected_if_asked(given) as (given, cluster):
        asked = Retraining(name, 1, seeds, None, study, given, emit)
        plan, optuna_study = asked.store(compared=False)
        [best] = asked.configurations
        asked.announce_cost(
            plan,
            f"training trial {best.trial} of stage {asked.source.stage!r}, the best one, again from"
            f" {seeds} initialisations: {missing} trainings of up to {plan.epochs:g} epochs are"
            " still to be run",
        )
        run_stages(asked.prepared, [(plan, optuna_study)], interruption, cluster)
    if left := _missing(require_stages(asked.prepared.storage, name), seeds):
        raise Interrupted(f"{seeds - left} of {seeds} trainings of the best trial are finished")


def _missing(stages: Sequence[StoredStage], seeds: int) -> int:
    """Returns how many of the seeds have not been trained with to the end."""
    _, trainings = retrained(stages) or (None, {})
    finished = {seed for seed, trial in trainings.items() if trial.state.is_finished()}
    return len(set(range(seeds)) - finished)
