"""Storing a prepared study."""

from __future__ import annotations

import pytest

from nnstudy.engines import LaunchOptions
from nnstudy.engines.preparation import Preparation
from nnstudy.engines.storing import store_stage
from nnstudy.errors import UserError
from nnstudy.search.events import ignore
from nnstudy.search.plan import Plan
from tests.launching import Place, toy


def prepare(place: Place, **fields: object) -> Preparation:
    return Preparation(toy(**fields), None, LaunchOptions(workers=1, **place.options()), ignore)


def test_two_launches_at_once_store_one_study(place: Place) -> None:
    first, second = prepare(place), prepare(place)

    plan, study = store_stage(first, first.plans[0])
    other, same = store_stage(second, second.plans[0])

    assert other == plan == Plan.of(study)
    assert same.study_name == study.study_name
    assert len(place.all_runs()) == 1


def test_of_two_different_launches_at_once_the_later_is_refused(place: Place) -> None:
    first, second = prepare(place), prepare(place, epochs=7)
    plan, study = store_stage(first, first.plans[0])

    with pytest.raises(UserError, match="epochs: was 3, is now 7"):
        store_stage(second, second.plans[0])

    assert Plan.of(study) == plan
