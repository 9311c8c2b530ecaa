"""One worker's work on a stage, in whatever process it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import optuna
import torch

from nnstudy.data import Data
from nnstudy.engines.orders import Orders
from nnstudy.errors import UserError
from nnstudy.search.events import Emit
from nnstudy.search.interruption import Interruption
from nnstudy.search.opening import load_planned_data, open_work
from nnstudy.search.plan import Plan
from nnstudy.search.storage import open_storage
from nnstudy.search.stored import load_stage
from nnstudy.search.worker import Worker
from nnstudy.study import Study
from nnstudy.study.loading import load_study
from nnstudy.tracking import Tracker
from nnstudy.training.devices import use_deterministic_algorithms


def work_on(
    orders: Orders,
    emit: Emit,
    interruption: Interruption,
    *,
    study: Study | None = None,
    data: Data | None = None,
) -> bool:
    """Works on a stored stage until its budget is spent or an end is asked for.

    Args:
        orders: What to work on, and where everything is.
        emit: Hears what happens.
        interruption: Asks for an early end.
        study: The study, if it is at hand; default: as the orders name it.
        data: Its data, if they are at hand.

    Returns:
        True if the budget is spent.

    Raises:
        UserError: If the stage is not stored, or something is missing here.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = replace(study or _load(orders), name=orders.name)
    storage = open_storage(orders.storage)
    stored = load_stage(storage, f"{orders.name}/{orders.stage}")
    if stored is None:
        raise UserError(f"no stage {orders.name}/{orders.stage} is stored; launch it first")
    plan = Plan.of(stored)
    with _computing(orders.settings.threads, deterministic=plan.deterministic):
        work = open_work(
            study,
            plan,
            data or load_planned_data(study, plan, directory=orders.data_directory),
            storage=storage,
            tracker=Tracker(orders.tracking_uri, orders.artifacts),
            settings=orders.settings,
            emit=emit,
            interruption=interruption,
        )
        return Worker(work).run()


def _load(orders: Orders) -> Study:
    if orders.reference is not None:
        return load_study(orders.reference).study
    import cloudpickle

    assert orders.pickled is not None
    # Written a moment ago by the process that started this one, in a directory of its own.
    study: Study = cloudpickle.loads(orders.pickled.read_bytes())
    return study


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
        torch.use_deterministic_algorithms(was_deterministic)
