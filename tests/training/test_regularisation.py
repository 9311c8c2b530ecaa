from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nnstudy import models
from nnstudy.errors import UserError
from nnstudy.training import regularisation

INPUTS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


def gradients(network: nn.Module) -> dict[str, Tensor]:
    network.zero_grad()
    network(INPUTS).square().mean().backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }


def copies(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def test_weight_decay_is_the_surveys_update_on_weights_and_not_on_biases() -> None:
    """w -> (1 - lr lambda / n) w - lr dC/dw, with weight_decay = lambda / n."""
    network = models.mlp((5,), [4], 3, batch_norm=True)
    lr, lambda_, n = 0.1, 5.0, 50
    groups = regularisation.parameter_groups(network, lambda_ / n)
    optimizer = torch.optim.SGD(groups, lr=lr)
    before, gradient = copies(network), gradients(network)
    optimizer.step()
    for name, parameter in network.named_parameters():
        is_weight = name in ("hidden1.weight", "output.weight")
        shrink = 1 - lr * lambda_ / n if is_weight else 1.0
        torch.testing.assert_close(parameter.detach(), shrink * before[name] - lr * gradient[name])


def test_groups_hold_each_trainable_parameter_once() -> None:
    network = nn.Sequential(nn.Linear(5, 5), nn.LayerNorm((3, 5)), nn.Linear(5, 5))
    network[2].weight = network[0].weight
    network[2].bias.requires_grad_(False)
    decaying, rest = regularisation.parameter_groups(network, 0.1)
    assert [decaying["weight_decay"], rest["weight_decay"]] == [0.1, 0.0]
    assert list(map(id, decaying["params"])) == [id(network[0].weight)]
    assert list(map(id, rest["params"])) == [
        id(network[0].bias),
        id(network[1].weight),
        id(network[1].bias),
    ]


def test_groups_that_would_be_empty_are_left_out() -> None:
    assert len(regularisation.parameter_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1
    assert len(regularisation.parameter_groups(nn.BatchNorm1d(2), 0.1)) == 1


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_l1_is_the_surveys_update_with_the_rate_of_the_step(momentum: float) -> None:
    """w -> w - lr lambda / n sgn(w) - lr dC/dw, sgn(w) being of the weight before the step."""
    network = models.mlp((5,), [4], 3)
    with torch.no_grad():
        network.get_parameter("output.weight")[0] = 0.0
    twin = models.mlp((5,), [4], 3)
    twin.load_state_dict(network.state_dict())
    lambda_, n = 5.0, 50
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=momentum)
    handle = regularisation.attach_l1(
        optimizer, regularisation.weights(network), strength=lambda_ / n
    )
    plain = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=momentum)
    for rate in (0.1, 0.02):
        optimizer.param_groups[0]["lr"] = plain.param_groups[0]["lr"] = rate
        before = copies(network)
        twin.load_state_dict(network.state_dict())
        gradients(network), gradients(twin)
        optimizer.step()
        plain.step()
        for name, parameter in twin.named_parameters():
            shift = rate * lambda_ / n * before[name].sign() if "weight" in name else 0.0
            torch.testing.assert_close(
                network.get_parameter(name).detach(), parameter.detach() - shift
            )
    handle.remove()
    twin.load_state_dict(network.state_dict())
    gradients(network), gradients(twin)
    optimizer.step()
    plain.step()
    assert torch.equal(
        network.get_parameter("hidden1.weight"), twin.get_parameter("hidden1.weight")
    )


def test_l1_drives_useless_weights_to_zero() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(100, 5, generator=generator)
    noisy = inputs[:, 0] + 0.3 * torch.randn(100, generator=generator)
    torch.manual_seed(0)
    network = nn.Linear(5, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    regularisation.attach_l1(optimizer, [network.weight], strength=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        (network(inputs)[:, 0] - noisy).square().mean().backward()
        optimizer.step()
    useful, *useless = network.weight.detach().abs()[0].tolist()
    assert useful > 0.5
    # Around zero a weight goes to and fro by one step: of the penalty, and of the loss, whose
    # gradient is at most as large there.
    assert max(useless) <= 0.02 * 2 * 0.3


def test_l1_leaves_parameters_without_a_gradient_and_other_parameters() -> None:
    network = models.mlp((5,), [4], 3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    regularisation.attach_l1(optimizer, [network.get_parameter("output.weight")], strength=0.5)
    before = copies(network)
    network.get_parameter("hidden1.weight").grad = torch.zeros(4, 5)
    optimizer.step()
    assert all(map(torch.equal, before.values(), network.parameters()))


def limited_step(network: nn.Module) -> None:
    """A step that changes no weight by itself."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    handle = regularisation.attach_max_norm(optimizer, network, 0.5)
    optimizer.step()
    handle.remove()


@pytest.mark.parametrize(
    ("make", "units"),
    [
        (lambda: nn.Linear(5, 4), lambda weight: weight),
        (lambda: nn.Conv2d(2, 6, 3, groups=2), lambda weight: weight.flatten(1)),
        (
            lambda: nn.ConvTranspose2d(4, 6, 3, groups=2),
            lambda weight: torch.cat([part.transpose(0, 1).flatten(1) for part in weight.chunk(2)]),
        ),
    ],
)
def test_max_norm_limits_the_incoming_weights_of_each_unit(
    make: Callable[[], nn.Module], units: Callable[[Tensor], Tensor]
) -> None:
    torch.manual_seed(0)
    network = make()
    before = units(network.get_parameter("weight").detach().clone())
    bias = network.get_parameter("bias").detach().clone()
    limited_step(network)
    after = units(network.get_parameter("weight").detach())
    scale = (0.5 / before.norm(dim=1, keepdim=True)).clamp(max=1)
    assert 0 < (scale < 1).sum() < len(scale)
    torch.testing.assert_close(after, before * scale, rtol=1e-5, atol=1e-6)
    assert torch.equal(network.get_parameter("bias"), bias)


def test_max_norm_leaves_short_rows_embeddings_and_frozen_weights() -> None:
    network = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 2), nn.Linear(2, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.full((2, 4), 0.1))
        network[2].weight.fill_(9.0).requires_grad_(False)
        network[0].weight.fill_(9.0)
    before = copies(network)
    limited_step(network)
    assert all(map(torch.equal, before.values(), network.parameters()))


def test_max_norm_ends_when_its_handle_is_removed() -> None:
    network = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    regularisation.attach_max_norm(optimizer, network, 0.5).remove()
    nn.init.ones_(network.weight)
    optimizer.step()
    assert torch.equal(network.weight, torch.ones(1, 2))


def test_max_norm_out_of_range_is_refused() -> None:
    network = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters())
    with pytest.raises(UserError, match="above 0, got 0"):
        regularisation.attach_max_norm(optimizer, network, 0)


def test_the_penalty_has_the_gradient_that_the_updates_apply() -> None:
    network = models.mlp((5,), [4], 3, batch_norm=True)
    penalty = regularisation.penalty(network, weight_decay=0.3, l1=0.2)
    present = regularisation.weights(network)
    arrays = [weight.detach() for weight in present]
    wanted = sum(float(0.15 * (w**2).sum() + 0.2 * w.abs().sum()) for w in arrays)
    assert penalty.item() == pytest.approx(wanted)
    penalty.backward()
    for weight in present:
        torch.testing.assert_close(
            weight.grad, 0.3 * weight.detach() + 0.2 * weight.detach().sign()
        )
    assert network.get_parameter("output.bias").grad is None


def test_a_network_without_weights_has_no_penalty() -> None:
    assert float(regularisation.penalty(nn.BatchNorm1d(2), 0.1, 0.1)) == 0.0
