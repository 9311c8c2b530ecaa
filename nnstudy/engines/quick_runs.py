"""The trainings of a quick look in MLflow: one parent run, a child run each."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nnstudy.data import Data
from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.quick_result import QuickResult, ShortRun
from nnstudy.search.tracked import curves, track_data
from nnstudy.study import Study
from nnstudy.tracking import StageRun, Status, Tracker, environment

_NAME = "quick"


class QuickRuns:
    """What MLflow is told of a quick look.

    Args:
        study: The study.
        data: What it is trained on.
        metric: The study's, which the experiment is named by.
        options: Where MLflow is.
        params: How it is trained.

    Attributes:
        tracker: MLflow.
        parent: The run of the whole.

    Raises:
        UserError: If MLflow cannot be reached.
    """

    def __init__(
        self,
        study: Study,
        data: Data,
        metric: str,
        options: LaunchOptions,
        params: dict[str, Any],
    ) -> None:
        self.tracker = Tracker(options.tracking_uri, options.artifacts)
        self._study = study.name
        # A run of its own each time: a look is never gone on with.
        self._key = f"{study.name}/{_NAME}#{uuid.uuid4().hex[:12]}"
        self._experiment = self.tracker.experiment(
            study.name,
            metric=metric,
            description=study.description or inspect.getdoc(study.recipe) or "",
        )
        self.parent: StageRun = self.tracker.stage_run(
            self._experiment,
            study.name,
            _NAME,
            key=self._key,
            kind=_NAME,
            tags=environment(),
            params=params,
        )
        track_data(self.tracker, self.parent.run_id, data.describe())
        self._count = 0

    @contextmanager
    def ended_in_any_case(self) -> Iterator[None]:
        """Ends the parent run also where something is raised, Ctrl-C for one."""
        status: Status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            self.parent.finish(status)

    def add(self, model: str, run: ShortRun) -> None:
        """Writes a training that is over, with its curves."""
        number, self._count = self._count, self._count + 1
        course = run.course
        child = self.tracker.trial_run(
            self._experiment,
            self.parent.run_id,
            number=number,
            name=f"{_NAME}-{model.split()[0]}-{number}",
            key=f"{self._key}/{number}",
            kind=f"{_NAME} training",
            params={"model": model, "rate": run.rate, **run.params},
            tags={
                "nnstudy.study": self._study,
                "nnstudy.stage": _NAME,
                "nnstudy.state": course.ended,
                "nnstudy.better": course.judged.better if course.judged else "",
                **environment(),
            },
        )
        for record in course.records:
            child.log(curves(record), step=record.step, timestamp=record.timestamp)
        child.finish("FAILED" if course.ended == "diverged" else "FINISHED")

    def conclude(self, result: QuickResult) -> None:
        """Writes what came of it on top of the parent run."""
        lines = [f"- **{learner.name}**: {learner.told()}" for learner in result.learners]
        notes = [*result.notes, *result.cannot_tell()]
        self.parent.set_note("\n".join([f"**{result.conclusion()}**", "", *lines, "", *notes]))
        self.parent.set_tags({"nnstudy.better": "" if result.better is None else result.better})
