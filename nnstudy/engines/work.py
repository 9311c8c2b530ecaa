"""One worker's work on a study, stage by stage, in whatever process it runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import optuna
import torch
from optuna.storages import RDBStorage

from nnstudy.data import Data
from nnstudy.data.shared import share
from nnstudy.engines.orders import Orders
from nnstudy.search.budget import count
from nnstudy.search.delivery import MLFLOW
from nnstudy.search.events import Emit, Event, warnings_told
from nnstudy.search.extension import extend
from nnstudy.search.interruption import Interrupted, Interruption
from nnstudy.search.leases import Leases
from nnstudy.search.opening import load_planned_data, open_work
from nnstudy.search.patience import Patience
from nnstudy.search.plan import Plan
from nnstudy.search.results import best_trial
from nnstudy.search.stage_opening import open_stage
from nnstudy.search.stage_work import StageWork
from nnstudy.search.storage import open_storage
from nnstudy.search.stored import StoredStage, require_stages
from nnstudy.search.timing.comparison import concluded
from nnstudy.search.timing.picture import NAME as PICTURE
from nnstudy.search.timing.words import conclusion
from nnstudy.search.tracked import close_stage_run, open_stage_run
from nnstudy.search.trial_life import DATABASE
from nnstudy.search.worker import Worker, worker_name
from nnstudy.study import Study
from nnstudy.study.loading import load_study
from nnstudy.tracking import Tracker, TrackingAway
from nnstudy.training.devices import use_deterministic_algorithms


def work_on(
    orders: Orders,
    emit: Emit,
    interruption: Interruption,
    *,
    study: Study | None = None,
    data: Data | None = None,
) -> bool:
    """Works on a stored study, stage by stage, until it is done or an end is asked for.

    Args:
        orders: What to work on, and where everything is.
        emit: Hears what happens.
        interruption: Asks for an early end.
        study: The study, if it is at hand; default: as the orders name it.
        data: Its data, if they are at hand.

    Returns:
        True if the budget of every stage is spent.

    Raises:
        UserError: If the study is not stored, something is missing here, or something that
            nothing can go on without stayed away.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = replace(study or _load(orders), name=orders.name)
    patience = Patience(orders.settings.patience, interruption, emit)
    try:
        with warnings_told(emit):
            storage = patience.wait_for(
                DATABASE, lambda: open_storage(orders.storage, create=False)
            )
            tracker = patience.wait_for(
                MLFLOW, lambda: Tracker(orders.tracking_uri, orders.artifacts, reach=False)
            )
            done: set[str] = set()
            # Looked up each time, since a stage in wider ranges may have been stored meanwhile.
            while stage := patience.wait_for(DATABASE, partial(_next, storage, orders, done)):
                data = data or _load_data(study, stage.plan, orders)
                plan = patience.wait_for(
                    DATABASE, partial(_open_stage, storage, study, stage.plan, emit)
                )
                with _computing(orders.settings.threads, deterministic=plan.deterministic):
                    work = patience.wait_for(
                        DATABASE,
                        partial(
                            open_work,
                            study,
                            plan,
                            data,
                            storage=storage,
                            tracker=tracker,
                            settings=orders.settings,
                            emit=emit,
                            interruption=interruption,
                            patience=patience,
                        ),
                    )
                    if not _work_on_stage(work, orders.workers):
                        return False
                    patience.wait_for("", partial(_extend, work))
                done.add(plan.stage)
    except Interrupted:
        return False
    return True


def _next(storage: RDBStorage, orders: Orders, done: Collection[str]) -> StoredStage | None:
    """Returns the first of the stages to work on that is not done, or None."""
    wanted = (
        stage
        for stage in require_stages(storage, orders.name)
        if stage.plan.stage not in done
        and (orders.stages is None or stage.plan.declared in orders.stages)
    )
    return next(wanted, None)


def _extend(work: StageWork) -> None:
    extension = extend(work.storage, work.tracker, work.plan)
    if extension is not None:
        work.emit(Event("message", {"text": str(extension)}))


def _open_stage(storage: RDBStorage, study: Study, plan: Plan, emit: Emit) -> Plan:
    opened = open_stage(storage, study, plan)
    if opened.is_open and not plan.is_open:
        for entry in opened.parsed_ranges().ranges:
            if entry.is_changed:
                text = f"stage {plan.stage} searches {entry}: {entry.evidence}"
                emit(Event("message", {"text": text}))
    return opened


def _work_on_stage(work: StageWork, workers: int) -> bool:
    """Runs a stage to its end; False if it was ended before."""
    worker = Worker(work)
    work.patience.wait_for(DATABASE, lambda: _announce(work, workers))
    work.patience.attempt(MLFLOW, lambda: open_stage_run(work.tracker, work.plan))
    if not worker.run():
        work.patience.attempt(DATABASE, lambda: _close_if_left(work))
        return False
    work.patience.wait_for(MLFLOW, lambda: _close(work))
    return True


def _announce(work: StageWork, workers: int) -> None:
    plan, study = work.plan, work.optuna_study
    best = best_trial(study)
    leases = Leases(work.storage, worker_name())
    work.emit(
        Event(
            "stage",
            {
                "study": plan.study,
                "stage": plan.stage,
                "trials": plan.trials,
                "finished": count(study, leases).finished,
                "epochs": plan.epochs,
                "folds": plan.folds,
                "seeds": plan.seeds,
                "metric": plan.metric,
                "direction": plan.direction,
                "workers": workers,
                "best": best.value if best else None,
            },
        )
    )


def _close(work: StageWork) -> None:
    # Whoever opened it closes it, since another's closing may have come before that opening.
    if not close_stage_run(work.tracker, work.plan, work.optuna_study, done=True):
        raise TrackingAway(f"MLflow at {work.tracker.masked_uri} cannot be written to")
    stage = work.plan.stage
    if timed := concluded(work.plan, work.optuna_study.get_trials(deepcopy=False)):
        place = f"picture: {PICTURE} with the run {stage} in MLflow"
        text = f"stage {stage}: {conclusion(timed)}; {place}"
        work.emit(Event("message", {"text": text, "stage": stage}))


def _close_if_left(work: StageWork) -> None:
    """Ends the run of a stage that is to be gone on with later, unless others work on it."""
    leases = Leases(work.storage, worker_name())
    if not count(work.optuna_study, leases).running:
        close_stage_run(work.tracker, work.plan, work.optuna_study, done=False)


def _load(orders: Orders) -> Study:
    if orders.reference is not None:
        return load_study(orders.reference).study
    import cloudpickle

    assert orders.pickled is not None
    # Written a moment ago by the process that started this one, in a directory of its own.
    study: Study = cloudpickle.loads(orders.pickled.read_bytes())
    return study


def _load_data(study: Study, plan: Plan, orders: Orders) -> Data:
    data = load_planned_data(study, plan, directory=orders.data_directory)
    share(data)
    return data


@contextmanager
def _computing(threads: int, *, deterministic: bool) -> Iterator[None]:
    """Sets the number of threads, and deterministic algorithms, for as long as the work lasts."""
    before = torch.get_num_threads()
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    if deterministic:
        use_deterministic_algorithms()
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if deterministic and not was_deterministic:  # the call takes a second at first
            torch.use_deterministic_algorithms(False)
