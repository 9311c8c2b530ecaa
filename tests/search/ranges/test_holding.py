import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from nnstudy import UserError
from nnstudy.search.ranges.given import Ranges
from nnstudy.search.ranges.holding import as_asked, held, is_held, provisional
from nnstudy.search.space import probe


def recipe(trial: optuna.Trial) -> None:
    trial.suggest_float("lr", 1e-4, 1.0, log=True)
    trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
    trial.suggest_int("units", 16, 256)
    if trial.suggest_categorical("optimizer", ["adam", "sgd"]) == "sgd":
        trial.suggest_float("momentum", 0.0, 1.0)


SPACE = probe(recipe)
BEST = {"lr": 0.1, "weight_decay": 1e-3, "units": 64, "optimizer": "adam"}


def given(ranges: Ranges) -> dict[str, object]:
    return {entry.name: entry.given for entry in ranges.ranges}


def test_what_is_not_searched_is_held_at_the_best_so_far() -> None:
    ranges = held(as_asked(SPACE), ["lr"], {}, best=BEST, start={"units": 16})
    assert given(ranges) == {
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "weight_decay": FloatDistribution(1e-3, 1e-3),
        "units": IntDistribution(64, 64),
        "optimizer": CategoricalDistribution(["adam"]),
        "momentum": FloatDistribution(0.0, 1.0),  # which adam is not asked for
    }


def test_the_stages_own_value_comes_first_and_may_lie_outside() -> None:
    ranges = held(as_asked(SPACE), ["lr"], {"weight_decay": 0}, best=BEST, start={})
    assert given(ranges)["weight_decay"] == FloatDistribution(0.0, 0.0)
    alone = held(as_asked(SPACE), [], {"weight_decay": 0.0}, best={}, start={})
    changed = [entry.name for entry in alone.ranges if entry.is_changed]
    assert changed == ["weight_decay"]


def test_start_values_hold_where_there_is_no_best_yet() -> None:
    start = {**BEST, "momentum": 0.9, "units": 32}
    ranges = held(as_asked(SPACE), ["lr"], {}, best={}, start=start)
    assert given(ranges)["units"] == IntDistribution(32, 32)


def test_what_was_settled_is_held_even_where_all_is_searched_but_not_where_it_is_named() -> None:
    settled = {"units": 32}
    every = held(as_asked(SPACE), [], {}, best=BEST, start={}, settled=settled)
    assert [entry.name for entry in every.ranges if entry.is_held] == ["units"]
    assert given(every)["units"] == IntDistribution(32, 32)
    named = held(as_asked(SPACE), ["units"], {}, best=BEST, start={}, settled=settled)
    assert given(named)["units"] == IntDistribution(16, 256)
    own = held(as_asked(SPACE), [], {"units": 48}, best=BEST, start={}, settled=settled)
    assert given(own)["units"] == IntDistribution(48, 48)


def test_a_start_that_holds_all_that_is_not_searched_is_written_out() -> None:
    with pytest.raises(UserError, match="at which value to hold weight_decay, optimizer") as error:
        held(as_asked(SPACE), ["lr"], {"momentum": 0.9}, best={}, start={"units": 32})
    assert str(error.value).endswith(
        "start={'units': 32, 'weight_decay': 0.000316, 'optimizer': 'adam'}"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("units", 32.5), ("units", "many"), ("optimizer", "rprop"), ("lr", True), ("lr", "big")],
)
def test_a_value_of_the_wrong_kind_is_refused(name: str, value: object) -> None:
    with pytest.raises(UserError, match=f"{name} cannot be held at"):
        held(as_asked(SPACE), [], {name: value}, best={}, start={})


def test_before_the_values_are_known_the_shape_is() -> None:
    ranges = provisional(SPACE, ["lr", "optimizer"], {"momentum": 0.5})
    single = {name for name, asked in given(ranges).items() if asked.single()}  # type: ignore[attr-defined]
    assert single == {"weight_decay", "units", "momentum"}
    assert is_held("units", ["lr"], {})
    assert is_held("units", [], {"units": 3})
    assert not is_held("units", [], {})
