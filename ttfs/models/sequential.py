"""From the notation to an `nn.Sequential`."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

from torch import nn

from ttfs.errors import UserError
from ttfs.models.notation import Layer, padding_of, parse, size_of

INITIALIZATIONS: dict[str, Callable[..., Any]] = {
    "glorot-uniform": nn.init.xavier_uniform_,
    "he-uniform": nn.init.kaiming_uniform_,
}


class _Kinds(NamedTuple):
    """The modules that a token stands for."""

    conv: type[nn.Module]
    norm: type[nn.Module]
    max: type[nn.Module]
    average: type[nn.Module]
    everywhere: type[nn.Module]


KINDS = {  # number of dimensions of an input: its modules
    2: _Kinds(nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d),
    3: _Kinds(nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
}


def build_sequential(
    config: Mapping[str, Any], shape: tuple[int, ...], classes: int
) -> nn.Sequential:
    """Return the network that `config["layers"]` lists; see `ttfs.models.build`.

    Modules are named conv1, norm1, relu1, pool1, flatten, linear2, ..., output. Layers with weights
    share one count, which their norm, ReLU and dropout take over; poolings have another. Biases
    start at 0, weights are drawn uniformly from ±bound, bound = sqrt(6 / fan_in) (he-uniform, He et
    al. 2015) or sqrt(6 / (fan_in + fan_out)) (glorot-uniform, Glorot and Bengio 2010).
    """
    builder = _Builder(config, shape)
    for layer in parse(config["layers"], config["id"]):
        if layer.kind == "dense":
            builder.connect(layer)
        elif layer.kind == "conv":
            builder.convolve(layer)
        else:
            builder.pool(layer)
    return builder.finish(classes)


class _Builder:
    """Adds modules one by one and follows the shape of one input through them."""

    def __init__(self, config: Mapping[str, Any], shape: tuple[int, ...]) -> None:
        self.config = config
        self.shape = shape
        self.network = nn.Sequential()
        self.weighted = self.pooled = 0

    def convolve(self, layer: Layer) -> None:
        self.weighted += 1
        kinds = self._kinds(layer)
        padding = padding_of(layer, self.config)
        size = self._slide(layer, f"conv{self.weighted}", padding)
        conv = kinds.conv(
            self.shape[0], layer.width, layer.window, layer.stride, padding, bias=self._bias
        )
        self._add_weights(f"conv{self.weighted}", conv)
        self._add_relu(kinds.norm, layer.width)
        self.shape = (layer.width, *size)

    def pool(self, layer: Layer) -> None:
        self.pooled += 1
        kinds, name = self._kinds(layer), f"pool{self.pooled}"
        if layer.kind == "global":
            self.network.add_module(name, kinds.everywhere(1))
            self.shape = (self.shape[0], *[1] * len(self.shape[1:]))
            return
        padding = layer.padding or 0
        size = self._slide(layer, name, padding)
        pooling = kinds.max if layer.kind == "max" else kinds.average
        self.network.add_module(name, pooling(layer.window, layer.stride, padding))
        self.shape = (self.shape[0], *size)

    def connect(self, layer: Layer) -> None:
        self.weighted += 1
        self._flatten()
        linear = nn.Linear(self.shape[0], layer.width, bias=self._bias)
        self._add_weights(f"linear{self.weighted}", linear)
        self._add_relu(nn.BatchNorm1d, layer.width)
        if self.config["dropout"]:
            self.network.add_module(f"dropout{self.weighted}", nn.Dropout(self.config["dropout"]))
        self.shape = (layer.width,)

    def finish(self, classes: int) -> nn.Sequential:
        self._flatten()
        self._add_weights("output", nn.Linear(self.shape[0], classes))
        return self.network

    @property
    def _bias(self) -> bool:
        return self.config["batch_norm"] != "before"  # there the shift of the norm is the bias

    def _kinds(self, layer: Layer) -> _Kinds:
        if len(self.shape) not in KINDS:
            raise UserError(
                f"model '{self.config['id']}', key 'layers': {layer.place} needs images or "
                f"sequences, but inputs are {size_of(self.shape)}; list dense layers alone, or "
                "take another data set"
            )
        return KINDS[len(self.shape)]

    def _flatten(self) -> None:
        if len(self.shape) > 1:
            self.network.add_module("flatten", nn.Flatten())
            self.shape = (prod(self.shape),)

    def _add_weights(self, name: str, module: Any) -> None:
        INITIALIZATIONS[self.config["initialization"]](module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        self.network.add_module(name, module)

    def _add_relu(self, norm: Callable[[int], nn.Module], width: int) -> None:
        order = self.config["batch_norm"]
        if order == "before":
            self.network.add_module(f"norm{self.weighted}", norm(width))
        self.network.add_module(f"relu{self.weighted}", nn.ReLU())
        if order == "after":
            self.network.add_module(f"norm{self.weighted}", norm(width))

    def _slide(self, layer: Layer, name: str, padding: int) -> tuple[int, ...]:
        """Return the size after the window: floor((side + 2 padding − window) / stride) + 1."""
        sides = self.shape[1:]
        size = tuple((side + 2 * padding - layer.window) // layer.stride + 1 for side in sides)
        if min(size) < 1:
            raise UserError(
                f"model '{self.config['id']}', key 'layers': {layer.place} ({name}) got inputs of "
                f"{size_of(self.shape)}, smaller than its window of {layer.window}; "
                "pool less, set padding, or take a data set of larger inputs"
            )
        return size
