from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from nnstudy.diagnostics import ActivationMonitor, UpdateRatioMonitor
from nnstudy.diagnostics.lightning import LightningMonitor
from nnstudy.errors import UserError

EPOCHS = 2
INPUTS = torch.randn(80, 16, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(0, 3, (80,), generator=torch.Generator().manual_seed(2))
TRAIN = list(zip(INPUTS[:60].split(10), TARGETS[:60].split(10), strict=True))
VALID = list(zip(INPUTS[60:].split(10), TARGETS[60:].split(10), strict=True))
PACKAGES = ["lightning.pytorch", "pytorch_lightning"]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> ModuleType:
    module = pytest.importorskip(request.param)
    logging.getLogger(request.param).setLevel(logging.ERROR)
    return module


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))


def module(package: ModuleType, *, has_forward: bool) -> Any:
    class Classifier(package.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layers = network()
            self.seen: list[dict[str, float]] = []

        if has_forward:

            def forward(self, inputs: Tensor) -> Tensor:
                return self.layers(inputs)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.layers.parameters(), lr=0.1, momentum=0.9)

        def _outputs(self, inputs: Tensor) -> Tensor:
            return self(inputs) if has_forward else self.layers(inputs)

        def training_step(self, batch: Any, _: int) -> Tensor:
            return nn.functional.cross_entropy(self._outputs(batch[0]), batch[1])

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("loss/valid", nn.functional.cross_entropy(self._outputs(batch[0]), batch[1]))

        def on_train_epoch_end(self) -> None:
            metrics = self.trainer.callback_metrics
            self.seen.append({name: float(value) for name, value in metrics.items()})

    return Classifier()


def trainer(
    package: ModuleType, directory: Path, *callbacks: LightningMonitor, **given: Any
) -> Any:
    return package.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=directory,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"logger": False, **given},
    )


def loader(minibatches: list[tuple[Tensor, Tensor]]) -> DataLoader[Any]:
    inputs, targets = (torch.cat(each) for each in zip(*minibatches, strict=True))
    return DataLoader(TensorDataset(inputs, targets), batch_size=10)


def by_a_plain_loop() -> list[dict[str, float]]:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    updates = UpdateRatioMonitor(model, optimizer, every=2)
    activations = ActivationMonitor(model)
    seen = []
    for _ in range(EPOCHS):
        model.train()
        for inputs, targets in TRAIN:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for inputs, _ in VALID:
                model(inputs)
        seen.append({**updates.values(), **activations.values()})
    return seen


@pytest.mark.parametrize("has_forward", [True, False])
def test_values_are_those_of_a_plain_loop(
    package: ModuleType, has_forward: bool, tmp_path: Path
) -> None:
    classifier = module(package, has_forward=has_forward)
    monitor = LightningMonitor("layers" if has_forward else None, every=2)
    trainer(package, tmp_path, monitor).fit(classifier, loader(TRAIN), loader(VALID))
    plain = by_a_plain_loop()
    assert len(classifier.seen) == EPOCHS
    for logged, expected in zip(classifier.seen, plain, strict=True):
        assert {"update_ratio/0.weight", "dead/1", "saturated/3"} <= expected.keys()
        assert {name: logged[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_a_module_with_a_forward_is_watched_whole(package: ModuleType, tmp_path: Path) -> None:
    classifier = module(package, has_forward=True)
    trainer(package, tmp_path, LightningMonitor()).fit(classifier, loader(TRAIN), loader(VALID))
    assert {"update_ratio/layers.0.weight", "dead/layers.1"} <= classifier.seen[-1].keys()


def test_nothing_stays_attached(package: ModuleType, tmp_path: Path) -> None:
    classifier = module(package, has_forward=False)
    running = trainer(package, tmp_path, LightningMonitor())
    running.fit(classifier, loader(TRAIN), loader(VALID))
    assert not classifier.layers._forward_pre_hooks
    assert not any(layer._forward_hooks for layer in classifier.layers)
    assert not running.optimizers[0]._optimizer_step_pre_hooks


def test_training_is_the_same_with_and_without(package: ModuleType, tmp_path: Path) -> None:
    weights = []
    for callbacks in ([], [LightningMonitor()]):
        classifier = module(package, has_forward=False)
        running = trainer(package, tmp_path, *callbacks)
        running.fit(classifier, loader(TRAIN), loader(VALID))
        weights.append(classifier.layers.state_dict())
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.slow
def test_the_first_layer_s_picture_goes_to_mlflow(package: ModuleType, tmp_path: Path) -> None:
    loggers = pytest.importorskip(f"{package.__name__}.loggers")
    logger = loggers.MLFlowLogger(
        "x", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", artifact_location=str(tmp_path / "a")
    )
    classifier = module(package, has_forward=False)
    running = trainer(package, tmp_path, LightningMonitor(), logger=logger)
    running.fit(classifier, loader(TRAIN), loader(VALID))
    pictures = [path for path in (tmp_path / "a").rglob("*.png") if "first_layer" in path.name]
    assert len(pictures) == 2  # after validations 1 and 2
    curve = logger.experiment.get_metric_history(logger.run_id, "update_ratio/0.weight")
    assert len(curve) == EPOCHS


def test_which_part_is_watched_must_be_clear(package: ModuleType) -> None:
    classifier = module(package, has_forward=False)
    classifier.more = nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"network=\.\.\. one of layers, more"):
        LightningMonitor()._chosen(classifier)
    with pytest.raises(UserError, match="Classifier has no submodule 'other'"):
        LightningMonitor("other")._chosen(classifier)


ALONE = """
import sys
{block}
import torch
from torch import nn
from nnstudy import diagnostics
from nnstudy.diagnostics import verdicts

torch.manual_seed(0)
layers = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
optimizer = torch.optim.SGD(layers.parameters(), lr=0.1)
batch = torch.randn(20, 16), torch.randint(2, (20,))
loss = nn.functional.cross_entropy

updates = diagnostics.UpdateRatioMonitor(layers, optimizer, every=1)
activations = diagnostics.ActivationMonitor(layers)
wiggle = diagnostics.LossWiggle()
for _ in range(20):
    optimizer.zero_grad()
    value = loss(layers(batch[0]), batch[1])
    value.backward()
    optimizer.step()
    wiggle.add([value.item()])
assert diagnostics.gradient_histograms(layers)
layers.eval()(batch[0])
assert updates.values() and activations.values() and wiggle.value
assert diagnostics.first_layer_picture(layers) is not None
assert diagnostics.gradient_check(layers, loss, batch).verdict == "passed"
test = diagnostics.learning_rate_range_test(layers, optimizer, loss, [batch], steps=50)
diagnostics.suggest_rates([test])
history = [{{"loss/train": 1 / e, "loss/valid": 1 / e}} for e in range(1, 9)]
assert verdicts.judge(verdicts.Course(history))
{more}
bad = {{name.partition(".")[0] for name in sys.modules}} & {{"optuna", "mlflow"}}
bad |= {{"nnstudy.training", "nnstudy.data", "nnstudy.study"}} & set(sys.modules)
sys.exit(str(bad) if bad else 0)
"""

BLOCK = """
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}")
sys.meta_path.insert(0, Absent())
"""
CALLBACK = "from nnstudy.diagnostics.lightning import LightningMonitor; LightningMonitor()"


def alone(*absent: str, more: str) -> subprocess.CompletedProcess[str]:
    """Uses everything in a fresh process, in which some packages are not installed."""
    script = ALONE.format(block=BLOCK.format(absent=absent), more=more)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )


def test_all_work_alone_where_neither_optuna_nor_mlflow_nor_lightning_is_installed() -> None:
    done = alone("optuna", "mlflow", "lightning", "pytorch_lightning", more="")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_the_callback_imports_neither_optuna_nor_mlflow_and_takes_either_lightning(
    package: str,
) -> None:
    (other,) = {"lightning", "pytorch_lightning"} - {package.partition(".")[0]}
    done = alone(other, more=CALLBACK)
    assert done.returncode == 0, done.stderr


def test_without_lightning_the_callback_says_what_to_install() -> None:
    done = alone("lightning", "pytorch_lightning", more=CALLBACK)
    assert done.returncode != 0
    assert "UserError: nnstudy.diagnostics.lightning needs Lightning: pip install" in done.stderr
