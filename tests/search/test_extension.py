"""When a search goes on beyond a border, with what, and that it does so once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from nnstudy.errors import UserError
from nnstudy.search import requests
from nnstudy.search.extension import (
    MOST_WIDENINGS,
    follower,
    most_more_trials,
    refuse_taken_names,
    with_wider,
)
from nnstudy.search.plan import Plan
from nnstudy.search.stored import stored_stages
from tests.launching import Place
from tests.search.spread_search import ASKED, TRIALS, Search


def ranges(plans: list[Plan]) -> list[Any]:
    return [plan.parsed_ranges().given("lr", ASKED) for plan in plans]


def to(high: float) -> FloatDistribution:
    return FloatDistribution(1e-5, high, log=True)


def test_ranges_grow_until_the_best_lie_within(place: Place) -> None:
    search = Search(place)
    plans = search.run()
    assert ranges(plans) == [to(1e-3), to(1e-2), to(1.0)]
    assert search.stages() == ["search", "search-wider", "search-wider-2"]
    assert [plan.widens for plan in plans] == [None, "search", "search"]
    assert {(plan.trials, plan.epochs, plan.sampler["name"]) for plan in plans} == {
        (TRIALS, 2, "tpe")
    }
    stages = stored_stages(search.storage, "toy")
    assert [follower(stages, plan) for plan in plans] == [*search.stages()[1:], None]
    assert len({plan.run_id for plan in plans}) == 3
    assert search.tracker.has_run(plans[-1].run_id)


def test_the_best_are_tried_first_and_the_message_says_what_comes(place: Place) -> None:
    search = Search(place)
    plan = search.store()
    search.finish(plan)
    extension = search.extend(plan)
    waiting = search.study("search-wider").get_trials()
    best = sorted(search.study("search").get_trials(), key=lambda trial: trial.value or 0.0)
    assert [trial.system_attrs["fixed_params"] for trial in waiting] == [t.params for t in best[:3]]
    assert str(extension) == (
        "on the border: lr: 2 of the 3 best and 2 of the 4 good trials lie in the highest 13% of"
        " 1e-05..0.001 (log), where chance would put 0.5. Stage search-wider searches"
        " lr: 1e-05..0.01 (log) in 16 more trials"
    )


def test_it_is_decided_once(place: Place) -> None:
    search = Search(place)
    plan = search.store()
    search.finish(plan)
    assert search.extend(plan)
    assert search.extend(plan) is None
    assert len(search.study("search-wider").get_trials()) == 3


def test_a_crash_on_the_way_leaves_nothing_twice(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Search(place)
    plan = search.store()
    search.finish(plan)
    with monkeypatch.context() as patch:
        patch.setattr(Plan, "save", lambda *given: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception, match="killed"):
            search.extend(plan)
    assert search.stages() == ["search"]
    assert search.extend(plan)
    assert len(search.study("search-wider").get_trials()) == 3
    [run] = place.all_runs()
    assert run.info.run_name == "search-wider"


def test_limits_are_gone_up_to_and_not_beyond(place: Place) -> None:
    plans = Search(place).run(limits={"lr": [None, 0.05]})
    assert ranges(plans) == [to(1e-3), to(1e-2), to(0.05)]


def test_a_score_that_grows_for_ever_ends_the_search(place: Place) -> None:
    plans = Search(place, best=1e30).run()
    assert len(plans) == 1 + MOST_WIDENINGS
    assert plans[-1].stage == "search-wider-3"


@pytest.mark.parametrize(
    "fields", [{"extend_borders": False}, {"race": True}, {"kind": "confirm"}], ids=str
)
def test_only_a_search_goes_on_that_is_asked_to(place: Place, fields: dict[str, Any]) -> None:
    assert len(Search(place).run(**fields)) == 1


def test_nothing_is_stored_where_the_best_lie_within(place: Place) -> None:
    search = Search(place, best=1e-4)
    assert len(search.run()) == 1
    assert search.stages() == ["search"]
    assert not place.all_runs()


def test_a_stage_is_not_put_in_before_one_that_is_open(place: Place) -> None:
    search = Search(place)
    fine = search.store("fine", 1, is_open=False)
    assert [plan.stage for plan in search.run()][1:] == ["search-wider", "search-wider-2"]
    assert search.stages() == ["search", "search-wider", "search-wider-2", "fine"]

    replace(fine, is_open=True).save(search.study("fine"))
    search.store("late", 0)
    search.finish(plan := Plan.of(search.study("late")))
    assert search.extend(plan) is None


def test_a_study_that_is_asked_to_stop_stops(place: Place) -> None:
    search = Search(place)
    plan = search.store()
    search.finish(plan)
    requests.stop_study(search.study("search"))
    assert search.extend(plan) is None
    requests.resume(search.study("search"))
    assert search.extend(plan)


@pytest.mark.parametrize(("total", "stages"), [(33, 1), (34, 2), (65, 2), (66, 3)])
def test_the_epochs_of_the_whole_study_are_kept_to(place: Place, total: float, stages: int) -> None:
    # Each stage has trained 32 of them, and a trial may train two.
    assert len(Search(place).run(max_epochs_total=total)) == stages


def test_a_grid_comes_to_its_points_by_itself_and_is_no_larger_than_it_is(place: Place) -> None:
    grid = {"name": "grid", "options": {"points": {"lr": 5}}}
    search = Search(place)
    plans = search.run(sampler=grid)
    assert [plan.trials for plan in plans[1:]] == [5, 5]
    waiting = search.study("search-wider").get_trials(states=(TrialState.WAITING,))
    assert not waiting


def test_what_a_launch_changes_of_a_stage_holds_for_those_that_go_on_with_it(place: Place) -> None:
    search = Search(place)
    plans = search.run()
    changed = replace(plans[0], trials=40, flat_trials=7)
    found = list(with_wider(changed, stored_stages(search.storage, "toy")))
    assert [(plan.stage, plan.trials, plan.flat_trials) for plan in found] == [
        (stage, 40, 7) for stage in search.stages()
    ]
    assert [(plan.ranges, plan.run_id) for plan in found] == [(p.ranges, p.run_id) for p in plans]


def test_what_may_come_on_top_is_known_before(place: Place) -> None:
    search = Search(place)
    first = search.store()
    later = replace(first, stage="fine", position=1, is_open=False, trials=4)
    assert most_more_trials([first]) == 48
    assert most_more_trials([first, later]) == 48 + 12
    assert most_more_trials([first, replace(later, is_open=True)]) == 12
    assert most_more_trials([replace(first, extend_borders=False)]) == 0
    wider = replace(first, widens="search", widening=3, stage="search-wider-3")
    assert most_more_trials([first, wider]) == 0


def test_two_stages_of_one_name_are_refused(place: Place) -> None:
    plan = Search(place).store()
    other = replace(plan, stage="search-wider-2", position=1)
    with pytest.raises(UserError, match="would be gone on with in a stage 'search-wider-2'"):
        refuse_taken_names([plan, other])
    refuse_taken_names([plan, replace(other, widens="search", widening=2)])
