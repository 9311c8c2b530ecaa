"""A stored study with made-up trials, for what is decided between two stages."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.extension import Extension, extend
from nnstudy.search.plan import Plan
from nnstudy.search.ranges.holding import as_asked
from nnstudy.search.space import Parameter, Space
from nnstudy.search.storage import open_storage
from nnstudy.search.stored import stored_stages
from nnstudy.tracking import Tracker
from tests.launching import Place

ASKED = FloatDistribution(1e-5, 1e-3, log=True)
SPACE = Space({"lr": Parameter((ASKED,))})
DATA = {"name": "blobs", "digest": "d", "examples": {"train": 9}}
TRIALS = 16


class Search:
    """A stored study whose trials are spread over their range, the best at some rate."""

    def __init__(self, place: Place, best: float = 0.1) -> None:
        self.best = best
        self.storage = open_storage(place.storage)
        self.tracker = Tracker(place.tracking_uri, str(place.directory / "artifacts"))
        self.experiment = self.tracker.experiment("toy", metric="loss/valid")

    def store(self, stage: str = "search", position: int = 0, **fields: Any) -> Plan:
        plan = Plan(
            study="toy",
            stage=stage,
            position=position,
            reference="toy",
            trials=TRIALS,
            epochs=2,
            sampler={"name": "tpe", "options": {}},
            pruner={"name": "none", "options": {}},
            seed=0,
            metric="loss/valid",
            direction="minimize",
            validate_every=None,
            split={},
            subset={},
            data=DATA,
            space=SPACE.to_dict(),
            experiment_id=self.experiment,
            ranges=as_asked(SPACE).to_list(),
        )
        plan = replace(plan, **{"extend_borders": True, **fields})
        study = optuna.create_study(study_name=plan.name, storage=self.storage)
        plan.save(study)
        return plan

    def finish(self, plan: Plan) -> None:
        """Adds finished trials; those that are enqueued stay so."""
        study = self.study(plan.stage)
        given = plan.parsed_ranges().given("lr", ASKED)
        assert isinstance(given, FloatDistribution)
        rates = [
            given.low * (given.high / given.low) ** (place / (TRIALS - 1))
            for place in range(TRIALS)
        ]
        study.add_trials(
            create_trial(
                params={"lr": lr},
                distributions={"lr": given},
                value=abs(math.log10(lr / self.best)),
                user_attrs={ATTRIBUTE: {"ended": "complete", "epochs": 2.0}},
            )
            for lr in rates
        )

    def extend(self, plan: Plan) -> Extension | None:
        return extend(self.storage, self.tracker, plan)

    def run(self, **fields: Any) -> list[Plan]:
        """Finishes a stage, and those that go on with it; returns their plans."""
        plan: Plan | None = self.store(**fields)
        found = []
        while plan:
            self.finish(plan)
            found.append(plan)
            extension = self.extend(plan)
            plan = extension.plan if extension else None
        return found

    def study(self, stage: str) -> optuna.Study:
        return optuna.load_study(study_name=f"toy/{stage}", storage=self.storage)

    def stages(self) -> list[str]:
        return [stage.plan.stage for stage in stored_stages(self.storage, "toy")]
