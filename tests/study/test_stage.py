import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudy import Stage, Study, UserError, datasets
from nnstudy.study.stage import coarse_to_fine, parse_stages


def shapes(stages: tuple[Stage, ...]) -> list[tuple[str, int, float]]:
    return [(stage.name, stage.trials, stage.epochs) for stage in stages]


def test_three_stages_are_the_default_of_one_epoch_a_few_and_many() -> None:
    study = Study("mine", lambda trial, data: [], data=datasets.digits)
    assert shapes(tuple(study.stages)) == [("coarse", 24, 1), ("medium", 11, 5), ("fine", 5, 30)]
    first, second, _ = study.stages
    assert (first.sampler, first.pruner) == ("random", "none")
    assert (second.sampler, second.pruner) == ("tpe", "median")


@given(st.integers(1, 6), st.integers(6, 200), st.floats(0.05, 100))
def test_stages_have_ever_fewer_and_ever_longer_trials(
    count: int, trials: int, epochs: float
) -> None:
    stages = coarse_to_fine(count, trials=trials, epochs=epochs)
    assert len(stages) == count
    assert sum(stage.trials for stage in stages) == trials
    counts = [stage.trials for stage in stages]
    assert counts == sorted(counts, reverse=True)
    lengths = [stage.epochs for stage in stages]
    assert stages[-1].epochs == epochs
    if count > 1:
        assert stages[0].epochs <= 1
        assert lengths[:-1] == sorted(lengths[:-1])


def test_a_fraction_of_an_epoch_stays_one() -> None:
    assert shapes(coarse_to_fine(2, trials=10, epochs=0.5)) == [
        ("coarse", 7, 0.5),
        ("fine", 3, 0.5),
    ]


def test_the_command_line_gives_a_number_or_each_stage() -> None:
    own = [Stage("a", trials=10, epochs=4, pruner="hyperband"), Stage("b", trials=4, epochs=16)]
    assert shapes(parse_stages("1", own)) == [("search", 14, 16)]
    assert shapes(parse_stages("2", own)) == [("coarse", 10, 1), ("fine", 4, 16)]
    stages = parse_stages("20x.5, 10x5,5x30,2x60.5", [own[1], own[0]])
    assert shapes(stages) == [
        ("stage-1", 20, 0.5),
        ("stage-2", 10, 5),
        ("stage-3", 5, 30),
        ("stage-4", 2, 60.5),
    ]
    assert [stage.pruner for stage in stages] == ["none", "hyperband", "hyperband", "hyperband"]


@pytest.mark.parametrize("text", ["", "three", "20x", "x5", "20x5,", "20*5", "-1", "20x5;10x5"])
def test_what_names_no_stages_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="20x1,10x5,5x30"):
        parse_stages(text, [Stage()])


@pytest.mark.parametrize("text", ["0", "30", "0x5", "5x0"])
def test_stages_without_trials_or_epochs_are_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_stages(text, [Stage(trials=20)])


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"data_share": 0}, "data_share must be above 0"),
        ({"data_share": 1.5}, "at most 1"),
        ({"carry": -1}, "carry must not be negative"),
        ({"only": ["batch_size"], "scaled": "lr"}, r"scaled=\['lr'\]"),
        ({"scaled": ["lr"]}, "the one parameter in only"),
        ({"only": ["batch_size", "units"], "scaled": ["lr"]}, "the one parameter in only"),
        ({"only": ["lr"], "scaled": ["lr"]}, "the one parameter in only"),
        ({"around": 1}, "around is a factor above 1"),
        ({"only": "lr"}, r"only=\['lr'\]"),
        ({"only": ["lr"], "hold": {"lr": 0.1}}, "lr cannot be searched and held"),
    ],
)
def test_a_field_that_cannot_be_meant_is_refused(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        Stage(**fields)  # type: ignore[arg-type]
