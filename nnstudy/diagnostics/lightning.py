"""The monitors as a callback of Lightning; imported by name only, since Lightning is no need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from nnstudy.diagnostics.activations import ActivationMonitor
from nnstudy.diagnostics.first_layer import first_layer_picture
from nnstudy.diagnostics.update_ratios import UpdateRatioMonitor
from nnstudy.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Callback
else:
    try:
        from lightning.pytorch import Callback
    except ImportError:
        try:
            from pytorch_lightning import Callback
        except ImportError as error:
            raise UserError(
                "nnstudy.diagnostics.lightning needs Lightning: pip install lightning"
            ) from error


class LightningMonitor(Callback):  # type: ignore[misc,unused-ignore] # Lightning may be missing
    """Logs what the monitors see, at the end of each validation.

    It works with the trainers of ``lightning`` and of ``pytorch_lightning``::

        trainer = Trainer(callbacks=[LightningMonitor()])

    Logged are ``update_ratio/<tensor>``, ``gradient_norm/<tensor>`` and
    ``weight_norm/<tensor>`` (see ``UpdateRatioMonitor``), and ``activation_mean/<layer>``,
    ``activation_std/<layer>``, ``saturated/<layer>`` and ``dead/<layer>`` (see
    ``ActivationMonitor``), with ``log_dict``: they are in ``trainer.callback_metrics`` and go to
    every logger. The picture of the first layer goes to loggers that take images
    (``log_image`` of Weights & Biases, MLflow's), at validations 1, 2, 4, 8 and so on.

    The sanity check before a training is not looked at.
    """

    def __init__(self, network: str | None = None, *, every: int | None = None) -> None:
        """Makes a callback.

        Args:
            network: Which submodule is watched, as the steps call it: ``"layers"`` for
                ``self.layers(inputs)``. Default: the module itself where it has a ``forward``,
                else its only child with parameters.
            every: Measure the first of every so many steps. Default: five steps between two
                validations.
        """
        self._network_name = network
        self._every = every
        self._validations = 0
        self._network: nn.Module | None = None
        self._updates: list[UpdateRatioMonitor] = []
        self._activations: ActivationMonitor | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Attaches the monitors."""
        network = self._chosen(pl_module)
        parameters = set(map(id, network.parameters()))
        self._updates = [
            UpdateRatioMonitor(network, optimizer, self._every)
            for optimizer in trainer.optimizers
            if any(id(p) in parameters for g in optimizer.param_groups for p in g["params"])
        ]
        self._activations = ActivationMonitor(network)
        self._network = network

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Logs what was seen since the last validation."""
        if trainer.sanity_checking or self._network is None or self._activations is None:
            return
        values = self._activations.values()
        for monitor in self._updates:
            values |= monitor.values()
        pl_module.log_dict(values)
        self._validations += 1
        if self._validations & (self._validations - 1) == 0:  # a power of two
            self._log_picture(trainer, self._network)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Detaches the monitors."""
        for monitor in self._updates:
            monitor.detach()
        if self._activations:
            self._activations.detach()
        self._updates, self._activations, self._network = [], None, None

    def _chosen(self, module: nn.Module) -> nn.Module:
        if self._network_name is not None:
            try:
                return module.get_submodule(self._network_name)
            except AttributeError as error:
                raise UserError(
                    f"LightningMonitor: {type(module).__name__} has no submodule"
                    f" {self._network_name!r}"
                ) from error
        if any("forward" in vars(kind) for kind in type(module).__mro__ if _is_own(kind)):
            return module
        children = {
            name: child
            for name, child in module.named_children()
            if next(child.parameters(), None) is not None
        }
        if len(children) == 1:
            return next(iter(children.values()))
        raise UserError(
            f"LightningMonitor: {type(module).__name__} has no forward, so say which part its"
            f" steps call: network=... one of {', '.join(children) or 'none'}"
        )

    def _log_picture(self, trainer: Any, network: nn.Module) -> None:
        picture = first_layer_picture(network)
        if picture is None:
            return
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("first_layer", [picture], step=trainer.global_step)
            elif type(logger).__name__ == "MLFlowLogger":
                logger.experiment.log_image(
                    logger.run_id, picture, key="first_layer", step=trainer.global_step
                )


def _is_own(kind: type) -> bool:
    """Tells a user's class from Lightning's and PyTorch's, which have a forward that raises."""
    return kind.__module__.partition(".")[0] not in ("lightning", "pytorch_lightning", "torch")
