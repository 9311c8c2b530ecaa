"""Scales that do not suit what is searched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nnstudy.preflight.candidate import Search
from nnstudy.preflight.checks import space
from nnstudy.preflight.result import Result

from .candidates import clouds, plain


def judged(**asked: BaseDistribution) -> list[Result]:
    search = Search({name: (distribution,) for name, distribution in asked.items()})
    return space.run(replace(plain(clouds()), search=search))


@pytest.mark.parametrize(
    "name", ["lr", "lr_sgd", "learning_rate", "eta", "learningRate", "base_lr", "LR"]
)
def test_a_rate_on_a_linear_scale_is_pointed_out(name: str) -> None:
    (result,) = judged(**{name: FloatDistribution(1e-4, 1.0)})
    assert (result.outcome, result.kind) == ("warned", "statistics")
    assert f"{name}, 0.0001 to 1, is a rate searched on a linear scale" in result.found
    assert f"suggest_float('{name}', 0.0001, 1, log=True)" in result.advice


@pytest.mark.parametrize("name", ["weight_decay", "wd", "l2", "l1", "lmbda", "lambda_2", "penalty"])
def test_a_decay_on_a_linear_scale_is_pointed_out(name: str) -> None:
    (result,) = judged(**{name: FloatDistribution(0.0, 0.1)})
    assert result.outcome == "warned"
    assert "is a decay searched on a linear scale" in result.found
    assert f"suggest_float('{name}', 1e-05, 0.1, log=True)" in result.advice


@pytest.mark.parametrize("name", ["dropout", "dropout_rate", "dropout_l1"])
def test_a_dropout_on_a_logarithmic_scale_is_pointed_out(name: str) -> None:
    (result,) = judged(**{name: FloatDistribution(0.01, 0.5, log=True)})
    assert result.outcome == "warned"
    assert "is a dropout searched on a logarithmic scale" in result.found


@pytest.mark.parametrize(
    "asked",
    [
        {"lr": FloatDistribution(1e-4, 1.0, log=True)},
        {"lr": FloatDistribution(0.01, 0.1)},  # a decade, no more
        {"lr_decay": FloatDistribution(0.1, 0.9)},
        {"momentum": FloatDistribution(0.0, 0.99)},
        {"dropout_rate": FloatDistribution(0.0, 0.5)},
        {"units_l1": IntDistribution(1, 500)},  # layer 1, not a penalty
        {"solr": FloatDistribution(0.0, 1.0)},
        {"lr": CategoricalDistribution([0.001, 1.0])},
        {},
    ],
)
def test_what_suits_passes(asked: dict[str, Any]) -> None:
    (result,) = judged(**asked)
    assert (result.outcome, result.advice) == ("passed", "")


def test_each_branch_and_each_parameter_is_judged() -> None:
    search = Search(
        {
            "lr": (FloatDistribution(1e-4, 1, log=True), FloatDistribution(0, 1)),
            "wd": (FloatDistribution(0, 1),),
        }
    )
    results = space.run(replace(plain(clouds()), search=search))
    assert [result.figures["name"] for result in results] == ["lr", "wd"]
