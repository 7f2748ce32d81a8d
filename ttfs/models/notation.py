"""The field's notation for networks, e.g. `16C5-P2-32C5-P2-800-128`. Imports no torch."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ttfs.errors import UserError

VALID = (
    "16C5 (convolution, 16 filters of side 5), P2 (max pooling), A2 (average pooling), "
    "G (global average pooling), "
    "128 (hidden dense layer); after C, P and A also a stride s2 and a padding p1, as in 16C5s2p1"
)
TOKEN = re.compile(
    r"(?:(?P<filters>[1-9]\d*)C|(?P<pool>[PA]))(?P<window>[1-9]\d*)"
    r"(?:s(?P<stride>[1-9]\d*))?(?:p(?P<padding>\d+))?"
    r"|(?P<neurons>[1-9]\d*)"
    r"|(?P<everywhere>G)",
    re.ASCII,
)


@dataclass(frozen=True)
class Layer:
    """One token of the notation: a layer with weights and its ReLU, or a pooling."""

    kind: Literal["conv", "max", "average", "global", "dense"]
    place: str
    """Its token and position, for messages, e.g. `token 2 'P2'`."""
    width: int = 0
    """Filters of a convolution, neurons of a dense layer."""
    window: int = 0
    """Side of the kernel or of the pooling window, in pixels or steps of the sequence."""
    stride: int = 1
    padding: int | None = None
    """Border on each side, in the same unit; None where the token leaves it open."""


def parse(notation: str | int, model: str) -> list[Layer]:
    """Return the hidden layers that `notation` lists; the output layer is implied.

    A pooling window moves by its side where no stride is given. Raises UserError, naming `model`,
    the token and its position, where a token is unknown, padding exceeds half a pooling window, or
    a convolution or pooling comes after a dense layer.

    >>> [(layer.kind, layer.width, layer.window) for layer in parse("16C5-P2-128", "tiny")]
    [('conv', 16, 5), ('max', 0, 2), ('dense', 128, 0)]
    """
    layers: list[Layer] = []
    for position, token in enumerate(str(notation).split("-"), start=1):
        layer = _read(token, position, model)
        if layers and layers[-1].kind == "dense" and layer.kind != "dense":
            raise UserError(
                f"model '{model}', key 'layers': {layer.place} needs an image or a sequence, but "
                f"{layers[-1].place} is a dense layer, which leaves a vector; put dense layers last"
            )
        layers.append(layer)
    return layers


def size_of(shape: Sequence[int]) -> str:
    """Return the shape of an input for messages.

    >>> size_of((3, 32, 32)), size_of((2, 100)), size_of((4,))
    ('3×32×32 (channels×height×width)', '2×100 (channels×length)', '4 (features)')
    """
    names = {1: "features", 2: "channels×length", 3: "channels×height×width"}
    return f"{'×'.join(map(str, shape))} ({names[len(shape)]})"


def padding_of(layer: Layer, config: Mapping[str, Any]) -> int:
    """Return the padding of a convolution: its own, or that of key `padding` of its model.

    Raises UserError where that is `same`, which the even side of a kernel cannot be.
    """
    if layer.padding is not None:
        return layer.padding
    if config["padding"] == "valid":
        return 0
    if layer.window % 2 == 0:
        raise UserError(
            f"model '{config['id']}', key 'padding': 'same' centers a kernel on a pixel, which the "
            f"even side of {layer.place} cannot; take an odd one, or give its padding, as in "
            f"{layer.width}C{layer.window}p1"
        )
    return layer.window // 2


def _read(token: str, position: int, model: str) -> Layer:
    place = f"token {position} '{token}'"
    match = TOKEN.fullmatch(token)
    if match is None:
        raise UserError(f"model '{model}', key 'layers': {place} is not a layer; valid are {VALID}")
    part = match.groupdict()
    if part["everywhere"]:
        return Layer("global", place)
    if part["neurons"]:
        return Layer("dense", place, width=int(part["neurons"]))
    window = int(part["window"])
    padding = None if part["padding"] is None else int(part["padding"])
    if part["filters"]:
        return Layer("conv", place, int(part["filters"]), window, int(part["stride"] or 1), padding)
    if padding is not None and padding > window // 2:
        raise UserError(
            f"model '{model}', key 'layers': {place} pads by {padding}, but a pooling window of "
            f"{window} takes at most {window // 2}"
        )
    kind: Literal["max", "average"] = "max" if part["pool"] == "P" else "average"
    return Layer(kind, place, window=window, stride=int(part["stride"] or window), padding=padding)
