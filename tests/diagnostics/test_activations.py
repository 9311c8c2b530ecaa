from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nnstudy.diagnostics import ActivationMonitor


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def evaluate(model: nn.Module, *minibatches: Tensor) -> None:
    model.eval()
    with torch.inference_mode():
        for inputs in minibatches:
            model(inputs)


def with_dead_units(layer: nn.Linear | nn.Conv2d, units: list[int]) -> None:
    with torch.no_grad():
        layer.weight[units] = 0.0
        layer.bias[units] = -1.0


@pytest.mark.parametrize(
    ("squashing", "is_saturated"),
    [
        (nn.Sigmoid(), lambda outputs: (outputs < 0.01266) | (outputs > 0.98734)),
        (nn.Tanh(), lambda outputs: outputs.abs() > 0.974679),
        (nn.ReLU(), None),
    ],
)
def test_statistics_are_those_of_the_outputs(squashing: nn.Module, is_saturated: object) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 30), squashing, nn.Linear(30, 3))
    nn.init.normal_(model[0].weight)  # saturates some
    first, second = draw(120, 7), draw(50, 7, seed=2)
    with torch.no_grad():
        outputs = {name: model[: name + 1](first)[:100].double() for name in range(3)}
    monitor = ActivationMonitor(model)
    evaluate(model, first, second)
    expected = {}
    for name, values in outputs.items():
        expected[f"activation_mean/{name}"] = float(values.mean())
        expected[f"activation_std/{name}"] = float(values.std(correction=0))
    if callable(is_saturated):
        expected["saturated/1"] = float(is_saturated(outputs[1]).double().mean())
        assert 0.05 < expected["saturated/1"] < 0.95
    else:
        expected["dead/1"] = 0.0
    assert monitor.values() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert monitor.values() == {}


def test_dead_units_are_counted_over_all_minibatches() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 2))
    with_dead_units(model[0], [1, 4, 7])
    with torch.no_grad():  # alive for one example of the third minibatch alone
        model[0].weight[9] = torch.tensor([1.0, 0, 0, 0])
        model[0].bias[9] = -50.0
    minibatches = [draw(20, 4, seed=seed) for seed in range(4)]
    minibatches[2][13, 0] = 60.0
    monitor = ActivationMonitor(model)
    evaluate(model, *minibatches)
    assert monitor.values()["dead/1"] == 0.3
    evaluate(model, *minibatches[:2])
    assert monitor.values()["dead/1"] == 0.4


def test_a_unit_behind_a_convolution_is_a_feature_map() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 4, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(16, 5), nn.ReLU()),
    )
    with torch.no_grad():
        model[1].weight[:3], model[1].bias[:3] = 0.0, -1.0
        model[4].weight[0], model[4].bias[0] = 0.0, 0.0
    with_dead_units(model[7], [0, 2])
    images = [draw(8, 1, 10, 10, seed=seed) for seed in range(8)]
    with torch.no_grad():
        outputs = {k: model.eval()[: k + 1](torch.cat(images)).transpose(0, 1) for k in (2, 5, 8)}
    by_hand = {
        f"dead/{k}": float((units.flatten(1) == 0).all(1).float().mean())
        for k, units in outputs.items()
    }
    assert by_hand["dead/2"] == 3 / 6
    monitor = ActivationMonitor(model)
    evaluate(model, *images)
    values = monitor.values()
    dead = {name: value for name, value in values.items() if name.startswith("dead/")}
    assert dead == pytest.approx(by_hand)
    assert "activation_mean/1" not in values  # a normalisation


@given(
    alive=st.lists(st.sets(st.integers(0, 11)), min_size=1, max_size=6),
    examples=st.integers(1, 5),
)
def test_dead_are_those_that_no_example_has_woken(alive: list[set[int]], examples: int) -> None:
    relu = nn.Sequential(nn.ReLU())
    monitor = ActivationMonitor(relu)
    minibatches = []
    for units in alive:
        minibatch = -torch.ones(examples, 12)
        minibatch[-1, sorted(units)] = 1.0
        minibatches.append(minibatch)
    evaluate(relu, *minibatches)
    assert monitor.values()["dead/0"] == (12 - len(set().union(*alive))) / 12


def test_units_of_sequences_are_those_of_the_last_dimension() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU())
    with_dead_units(model[0], [5, 6])
    monitor = ActivationMonitor(model)
    evaluate(model, draw(60, 9, 3))
    assert monitor.values()["dead/1"] == 0.25


def test_recurrent_layers_are_seen_by_their_outputs() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tanh = nn.RNN(3, 5, batch_first=True)
            self.relu = nn.RNN(5, 4, batch_first=True, nonlinearity="relu")
            self.lstm = nn.LSTM(4, 4, batch_first=True)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.lstm(self.relu(self.tanh(inputs)[0])[0])[0]
            return outputs

    model = Network()
    with torch.no_grad():
        for name, parameter in model.relu.named_parameters():
            parameter[1] = -1.0 if "bias" in name else 0.0
    monitor = ActivationMonitor(model)
    inputs = draw(40, 6, 3)
    evaluate(model, inputs)
    values = monitor.values()
    with torch.no_grad():
        outputs = model.tanh(inputs)[0]
    assert values["activation_mean/tanh"] == pytest.approx(float(outputs.mean()), abs=1e-5)
    assert {"saturated/tanh", "dead/relu", "activation_std/lstm"} <= values.keys()
    assert values["dead/relu"] >= 0.25
    assert "saturated/lstm" not in values


class Reusing(nn.Module):
    """Uses one ReLU for two layers of different widths, and one linear layer three times."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 8)
        self.same = nn.Linear(8, 8)
        self.relu = nn.ReLU()
        self.alias = self.same

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.relu(self.second(self.relu(self.first(inputs))))
        for _ in range(3):
            hidden = self.alias(hidden)
        return torch.relu(hidden)


def test_an_activation_that_is_used_twice_is_two_layers_and_shared_weights_are_one() -> None:
    model = nn.ModuleDict({"nested": Reusing()})
    with_dead_units(model["nested"].first, [0, 1, 2])
    with_dead_units(model["nested"].second, [3, 4])
    network = model["nested"]
    monitor = ActivationMonitor(network)
    evaluate(network, draw(300, 4), draw(300, 4, seed=2))
    values = monitor.values()
    assert {name.partition("/")[2] for name in values} == {
        "first",
        "second",
        "same",
        "relu",
        "relu:2",
    }
    assert values["dead/relu"] == 3 / 6
    assert values["dead/relu:2"] == 2 / 8


def test_a_loop_over_an_activation_does_not_fill_the_memory() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tanh = nn.Tanh()

        def forward(self, inputs: Tensor) -> Tensor:
            for _ in range(100):
                inputs = self.tanh(inputs)
            return inputs

    model = Loop()
    monitor = ActivationMonitor(model)
    evaluate(model, draw(5, 3))
    assert len(monitor.values()) == 3 * 16


def test_nothing_is_seen_in_training_mode_and_after_detaching() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    monitor = ActivationMonitor(model)
    model.train()
    model(draw(5, 4))
    assert monitor.values() == {}
    evaluate(model, draw(5, 4))
    monitor.detach()
    evaluate(model, draw(5, 4))
    assert monitor.values() == {}
    assert not any(module._forward_hooks for module in model.modules())
    assert not model._forward_pre_hooks


def test_layers_have_no_hooks_in_training() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    monitor = ActivationMonitor(model)
    for _ in range(2):
        evaluate(model, draw(5, 4))
        assert len(monitor.values()) == 5
        model.train()
        model(draw(5, 4))
        assert not any(module._forward_hooks for module in model.modules())


def test_a_model_may_be_a_single_layer() -> None:
    model = nn.Linear(4, 3)
    monitor = ActivationMonitor(model)
    evaluate(model, draw(5, 4), draw(5, 4))
    assert set(monitor.values()) == {"activation_mean/Linear", "activation_std/Linear"}


def test_copies_of_the_model_are_not_watched() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    before = list(model.state_dict())
    monitor = ActivationMonitor(model)
    assert list(model.state_dict()) == before
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        evaluate(twin, draw(5, 4))
        assert monitor.values() == {}
        assert torch.equal(twin(draw(5, 4)), model.eval()(draw(5, 4)))
        monitor.values()


def test_outputs_are_not_held_after_values() -> None:
    kept: list[weakref.ref[Tensor]] = []

    class Layer(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            outputs = super().forward(inputs)
            kept.append(weakref.ref(outputs))
            return outputs

    model = nn.Sequential(Layer(4, 3), nn.ReLU())
    monitor = ActivationMonitor(model)
    evaluate(model, draw(500, 4))
    gc.collect()
    assert [reference() for reference in kept] == [None]
    assert set(monitor.histograms()) == {"0", "1"}
    monitor.values()
    assert monitor.histograms() == {}


def test_half_precision_and_other_outputs_are_taken_as_they_come() -> None:
    class Labels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.argmax(1)

    model = nn.Sequential(nn.Linear(4, 3, dtype=torch.bfloat16), nn.ReLU(), Labels())
    monitor = ActivationMonitor(model)
    evaluate(model, draw(50, 4).bfloat16())
    values = monitor.values()
    assert {name.partition("/")[2] for name in values} == {"0", "1"}
    with torch.no_grad():
        outputs = model[0](draw(50, 4).bfloat16()).double()
    assert values["activation_std/0"] == pytest.approx(float(outputs.std(correction=0)), rel=1e-3)


def test_monitor_leaves_outputs_and_random_numbers_alone() -> None:
    results = []
    for watched in (False, True):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 30), nn.Dropout(0.5), nn.ReLU(), nn.Linear(30, 2))
        monitor = ActivationMonitor(model) if watched else None
        evaluate(model, draw(20, 4))
        if monitor:
            monitor.values()
        model.train()
        results.append((model(draw(20, 4)), torch.rand(1)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
