"""What a stage is opened from."""

from __future__ import annotations

from optuna.distributions import FloatDistribution

from nnstudy.search.stage_opening import open_stage
from nnstudy.search.stored import stored_stages
from tests.launching import Place, toy
from tests.search.spread_search import ASKED, Search


def test_a_stage_goes_on_from_the_last_search_and_not_from_a_confirmation(place: Place) -> None:
    search = Search(place, best=1e-4)
    search.finish(search.store("coarse", 0))
    # One of a study that had fewer stages then; its trials are the worst there are.
    search.best = 1e6
    search.finish(search.store("coarse-confirm", 1, kind="confirm"))
    fine = search.store("fine", 2, is_open=False)
    opened = open_stage(search.storage, toy(), fine)
    given = opened.parsed_ranges().given("lr", ASKED)
    assert isinstance(given, FloatDistribution)
    assert given.low < 1e-4 < given.high < ASKED.high
    best = sorted(search.study("coarse").get_trials(), key=lambda trial: trial.value or 0.0)
    first = search.study("fine").get_trials()
    assert [trial.system_attrs["fixed_params"] for trial in first] == [t.params for t in best[:3]]
    assert [s.plan.is_open for s in stored_stages(search.storage, "toy")] == [True, True, True]
