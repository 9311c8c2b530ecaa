"""What the layers of a network give: means, spreads, saturated and dead units, histograms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nnstudy.diagnostics.histograms import Histogram, sample

SATURATED_SLOPE = 0.05
"""A squashing unit counts as saturated where its slope is below this share of the largest."""

_NORMALISATIONS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_RECTIFIERS = (nn.ReLU, nn.ReLU6)
_ACTIVATIONS = (
    *(*_RECTIFIERS, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU),
    *(nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid),
)
_MOST_EXAMPLES = 100
_MOST_CALLS = 16


class ActivationMonitor:
    """Watches what the layers of a network give while it is evaluated.

    It attaches itself to the model and works in any loop that calls the model itself, and not
    only parts of it, in evaluation mode::

        monitor = ActivationMonitor(model)
        for epoch in range(epochs):
            ...  # train as usual
            model.eval()
            for inputs, targets in validation_loader:
                ...  # model(inputs)
            print(monitor.values())  # {"activation_mean/0": 0.02, "dead/1": 0.0, ...}

    Watched are activations that are modules (``nn.ReLU``, ``nn.Sigmoid``, ...) and all layers
    with parameters of their own but normalisations: linear, convolutional, recurrent ones,
    embeddings. What a ``forward`` does with functions (``torch.relu(x)``) cannot be seen. An
    activation that a forward uses several times is several layers: ``relu``, ``relu:2``. A
    layer with parameters is one, however often it is used.

    - *Mean and standard deviation* over all units, of up to 100 examples of the first
      minibatch. Healthy is what neither vanishes nor grows from layer to layer (Glorot and
      Bengio 2010, section 3; He et al. 2015, section 2.2).
    - *Share saturated* of the same values, for ``Sigmoid``, ``Tanh`` and recurrent layers of
      tanh: where the slope is below 5 % of the largest, that is a sigmoid outside of 0.0127 to
      0.9873, a tanh beyond 0.9747. A saturated unit passes next to no gradient on (Glorot and
      Bengio 2010, section 3; CS231n, "Activation / Gradient distributions per layer"). The
      bound is ours.
    - *Share of dead units*, for ``ReLU``, ``ReLU6`` and recurrent layers of ReLU: of units that
      gave zero for every example since the last call of ``values``, such as all of the
      validation set (CS231n, "Neural Networks Part 1", on ReLU). Behind a convolution a unit
      is a feature map, else a number in the last dimension. Only units that have not been seen
      alive are looked at, so that this soon costs nothing.

    A forward in training mode costs one empty function call, since layers have hooks in
    evaluation alone. A copy of the model, by ``copy.deepcopy`` or pickled, is not watched.
    """

    def __init__(self, model: nn.Module) -> None:
        """Attaches to a model.

        Args:
            model: Whose layers are watched, under the names of ``model.named_modules()``.
        """
        self._layers: dict[str, _Layer] = {}
        self._calls: Counter[str] = Counter()
        self._behind_convolution = False
        self._model = model
        self._entry = model.register_forward_pre_hook(_Hook(self._before_forward))
        self._handles: list[RemovableHandle] = []

    def values(self) -> dict[str, float]:
        """Returns what was seen since the last call, and starts again.

        Returns:
            ``activation_mean/<layer>`` and ``activation_std/<layer>``, ``saturated/<layer>``
            and ``dead/<layer>`` (shares from 0 to 1) where the layer is of such a kind. Empty if
            there was no forward in evaluation mode.
        """
        layers, self._layers = self._layers, {}
        return {
            f"{quantity}/{name}": value
            for quantity in ("activation_mean", "activation_std", "saturated", "dead")
            for name, layer in layers.items()
            if (value := layer.values().get(quantity)) is not None
        }

    def histograms(self) -> dict[str, Histogram]:
        """Returns the distributions of what ``values`` is about to tell of, by layer."""
        return {name: Histogram.of(layer.sample) for name, layer in self._layers.items()}

    def detach(self) -> None:
        """Removes the hooks, and forgets what was seen."""
        self._entry.remove()
        self._unhook_layers()
        self._layers = {}

    def _before_forward(self, *_: Any) -> None:
        if self._model.training:
            if self._handles:
                self._unhook_layers()
            return
        if not self._handles:
            self._hook_layers()
        self._calls.clear()
        self._behind_convolution = False

    def _hook_layers(self) -> None:
        # Gives shared modules once, by their first name.
        for name, module in self._model.named_modules():
            if _is_watched(module):
                hook = _Hook(self._after_layer, name or type(module).__name__)
                self._handles.append(module.register_forward_hook(hook))

    def _unhook_layers(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @torch.no_grad()
    def _after_layer(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, tuple) and output:  # recurrent layers, attention
            output = output[0]
        if not isinstance(output, Tensor) or not output.is_floating_point() or not output.numel():
            return
        output = output.detach().reshape(1, -1) if output.ndim < 2 else output.detach()
        if not isinstance(module, _ACTIVATIONS):
            self._behind_convolution = isinstance(module, nn.modules.conv._ConvNd)
        else:
            self._calls[name] += 1
            call = self._calls[name]
            if call > _MOST_CALLS:
                return
            name = f"{name}:{call}" if call > 1 else name
        layer = self._layers.get(name)
        if layer is None:
            dimension = 1 if self._behind_convolution and output.ndim > 2 else -1
            layer = self._layers[name] = _Layer(module, output[:_MOST_EXAMPLES], dimension)
        layer.see(output)


class _Layer:
    """What was seen of one layer since the last look."""

    def __init__(self, module: nn.Module, first: Tensor, dimension: int) -> None:
        first = first.float()
        self.sample = sample(first)
        self._std, self._mean = torch.std_mean(first, correction=0)
        self._saturated = _share_saturated(module, first)
        self._dimension = dimension % first.ndim
        self._units = first.shape[dimension]
        self._silent: Tensor | None = None
        if isinstance(module, _RECTIFIERS) or getattr(module, "mode", None) == "RNN_RELU":
            self._silent = torch.arange(self._units, device=first.device)

    def see(self, output: Tensor) -> None:
        """Looks which of the units that were silent until now are alive."""
        silent, dimension = self._silent, self._dimension
        if silent is None or not len(silent) or output.shape[dimension] != self._units:
            return
        if len(silent) < self._units:
            output = output.index_select(dimension, silent)
        others = [d for d in range(output.ndim) if d != dimension]
        self._silent = silent[output.amax(others) <= 0]

    def values(self) -> dict[str, float]:
        """Returns the numbers that there are for a layer of this kind."""
        values = {"activation_mean": self._mean.item(), "activation_std": self._std.item()}
        if self._saturated is not None:
            values["saturated"] = self._saturated.item()
        if self._silent is not None:
            values["dead"] = len(self._silent) / self._units
        return values


class _Hook:
    """Calls a function from inside a model; in a copy of the model it does nothing."""

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        self._function = function
        self._arguments = arguments

    def __call__(self, *given: Any) -> None:
        self._function(*self._arguments, *given)

    def __reduce__(self) -> tuple[type[_NoHook], tuple[()]]:
        return _NoHook, ()


class _NoHook:
    def __call__(self, *given: Any) -> None:
        pass


def _is_watched(module: nn.Module) -> bool:
    if isinstance(module, _NORMALISATIONS):
        return False
    return (
        isinstance(module, _ACTIVATIONS) or next(module.parameters(recurse=False), None) is not None
    )


def _share_saturated(module: nn.Module, outputs: Tensor) -> Tensor | None:
    if isinstance(module, nn.Sigmoid):
        slopes = 4 * outputs * (1 - outputs)
    elif isinstance(module, nn.Tanh) or getattr(module, "mode", None) == "RNN_TANH":
        slopes = 1 - outputs.square()
    else:
        return None
    return (slopes < SATURATED_SLOPE).float().mean()
