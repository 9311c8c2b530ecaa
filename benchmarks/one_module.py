"""Eight members of one architecture as one batched module, against the members in turn.

One example at a time on the CPU, as a service is asked. Above 1 the batched module is quicker,
and an ensemble that is packed then uses it.

    python benchmarks/one_module.py
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from record import write_result
from torch import nn

from nnstudy import models
from nnstudy.ensembles.packaging.module import InTurn
from nnstudy.ensembles.packaging.stacking import Stacked, time_ratio

MEMBERS = 8
DIGITS, MNIST, CIFAR = (1, 8, 8), (1, 28, 28), (3, 32, 32)

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "digits, perceptron 32": (lambda: models.mlp(DIGITS, [32], 10), DIGITS),
    "digits, perceptron 6 x 32": (lambda: models.mlp(DIGITS, [32] * 6, 10), DIGITS),
    "MNIST, perceptron 100": (lambda: models.mlp(MNIST, [100], 10), MNIST),
    "MNIST, perceptron 3 x 300": (lambda: models.mlp(MNIST, [300] * 3, 10), MNIST),
    "MNIST, convolutional": (lambda: models.convnet(MNIST, 10), MNIST),
    "CIFAR-10, residual": (lambda: models.resnet(CIFAR, 10), CIFAR),
}


def measure(case: str, repeats: int) -> dict[str, float]:
    make, shape = CASES[case]
    torch.manual_seed(0)
    networks = [make().eval() for _ in range(MEMBERS)]
    inputs = torch.randn(1, *shape)
    with torch.inference_mode():
        in_turn, stacked = (kind(networks, classes=True) for kind in (InTurn, Stacked))
        torch.testing.assert_close(stacked(inputs), in_turn(inputs), rtol=1e-3, atol=1e-3)
        ratios = sorted(time_ratio(in_turn, stacked, inputs) for _ in range(repeats))
    return {"speedup": statistics.median(ratios), "low": ratios[0], "high": ratios[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    rows = []
    for case in CASES:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found = measure(case, repeats)
            rows.append({"case": case, "threads": threads, **found})
            print(
                f"{case:28} {threads} threads: stacked is {found['speedup']:.2f} times as fast"
                f" ({found['low']:.2f} to {found['high']:.2f})"
            )
    print(write_result("one_module", {"members": MEMBERS, "rows": rows}))


if __name__ == "__main__":
    main()
