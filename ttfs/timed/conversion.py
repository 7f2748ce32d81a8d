"""From a ReLU network to a rate-coded one: the graph of `ttfs.convert`, and thresholds."""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ttfs.arguments import is_number
from ttfs.errors import UserError
from ttfs.hardware import Hardware, deploy
from ttfs.snn import SpikingNetwork, convert, images_of, reference_network
from ttfs.timed.integrate_and_fire import (
    IntegrateAndFire,
    RateNetwork,
    integrate_and_fire,
    quantized,
)
from ttfs.timed.network import check_steps

THRESHOLDS = ("max", "quantile", "mmse", "tuned")
BIAS_CORRECTIONS = ("none", "light")
MEASURED, FEWEST = 2048, 32
"""Inputs x steps, and inputs at least, that thresholds for a number of steps are measured on."""


def convert_to_rate(
    ann: nn.Module,
    calibration: Tensor | Iterable[Tensor],
    threshold: str = "max",
    steps: int | Iterable[int] = 32,
    quantile: float = 0.999,
    bias_correction: str = "none",
    input_range: tuple[float, float] = (0.0, 1.0),
) -> RateNetwork:
    """Map a feed-forward ReLU network to integrate-and-fire neurons; the ANN is left as it is.

    It is the network that `ttfs.convert` makes, with integrate-and-fire neurons in the place of
    TTFS neurons, so all that can be mapped there can be mapped here.

    Args:
        ann: a network that `ttfs.convert` maps.
        calibration: inputs [N, ...], or batches of them, with labels or without, as `ttfs.convert`
            takes them.
        threshold: of each layer, from its activations a over the calibration inputs ("mmse" and
            "tuned" take the first 2048 / T of them, 32 at least, so let these be of all classes):
            "max", their largest; "quantile", a quantile of the positive ones (99.9 % in the public
            code of DSR, Meng et al. 2022); "mmse", the least squared error of Q(a), of 95
            candidates max (1 - 0.01 i) (Li et al. 2021); "tuned", of the same candidates the least
            squared error of the measured rate, layer by layer in order: clipping, quantization and
            deviation at once, for the currents that the layer gets. Our reading of the abstract of
            Meng et al. 2022.
        steps: T, the number of time steps. "mmse" and "tuned" set thresholds for it; several
            numbers give thresholds for each.
        quantile: of "quantile".
        bias_correction: "light" adds to each channel's current the mean difference of
            activation and rate, layer by layer, over the inputs of "tuned" (Li et al. 2021).
        input_range: (low, high), the range of the inputs.

    Returns:
        A RateNetwork: `rate(inputs, steps=T)` are the logits after T steps.

    Raises:
        ConversionError: naming the module and the reason, where the network cannot be mapped.
        UserError: for options that are not known.
    """
    settings = settings_of(steps, threshold, bias_correction)
    _known("threshold", threshold, THRESHOLDS)
    _known("bias_correction", bias_correction, BIAS_CORRECTIONS)
    if not (is_number(quantile) and 0 < quantile <= 1):
        raise UserError(f"quantile is {quantile!r}; it is a share above 0, at most 1")
    batches = list(images_of(calibration))
    snn = convert(ann, batches, headroom=0.0, input_range=input_range)
    windows = snn
    if threshold == "quantile":  # a window clips as a threshold does
        windows = deploy(snn, Hardware(window_quantile=quantile), batches)
    rate = RateNetwork(snn, settings).to(batches[0].device)
    for name, neurons in rate.layers.items():
        assert isinstance(neurons, IntegrateAndFire)
        neurons.thresholds.fill_(windows.layers[name].width)
    if threshold != "quantile":
        _lower(rate, snn, batches)
    if threshold in ("mmse", "tuned") or bias_correction != "none":
        inputs = torch.cat(batches)
        for number in settings:
            _settle(rate, snn, inputs, number, threshold, bias_correction)
    return rate


@torch.no_grad()
def _lower(rate: RateNetwork, snn: SpikingNetwork, batches: Sequence[Tensor]) -> None:
    """Give neurons that clip (ReLU6) the largest activation as threshold, where they never clip;
    their windows keep the width at which they would.
    """
    clipping = [name for name, layer in snn.layers.items() if layer.ceiling < math.inf]
    if not clipping:
        return
    largest = dict.fromkeys(clipping, 0.0)
    for inputs in batches:
        charges = snn.charges(inputs)[1]
        for name in clipping:
            largest[name] = max(largest[name], charges[name].max().item())
    for name, activation in largest.items():
        if activation > 0:
            neurons: Any = rate.layers[name]
            neurons.thresholds.fill_(activation)


def settings_of(steps: int | Iterable[int], threshold: str, correction: str) -> tuple[int, ...]:
    """Return the numbers of steps, rising, that a network of these options has thresholds for.

    Raises UserError where one is no number of steps.
    """
    if not isinstance(steps, Iterable) or getattr(steps, "ndim", 1) == 0:  # one, be it of NumPy
        steps = (check_steps(steps),)  # type: ignore[arg-type]
    numbers = list(steps)
    if not numbers:
        raise UserError("steps is empty; give a number of time steps, 1 or more")
    rising = tuple(sorted({check_steps(number) for number in numbers}))
    depends = threshold in ("mmse", "tuned") or correction != "none"
    return rising if depends else rising[-1:]


def _known(key: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UserError(f"{key} {value!r} is not known; choose from: {', '.join(known)}")


@torch.no_grad()
def _settle(
    rate: RateNetwork,
    snn: SpikingNetwork,
    inputs: Tensor,
    steps: int,
    threshold: str,
    correction: str,
) -> None:
    """Set thresholds and corrections for a number of steps in one pass, layer by layer."""
    inputs = inputs[: max(FEWEST, MEASURED // steps)]
    wanted = pre_activations(snn, inputs)

    def settle(name: str) -> Callable[..., None]:
        def hook(neurons: IntegrateAndFire, arguments: tuple[Tensor]) -> None:
            currents = arguments[0].unflatten(0, (steps, -1))
            activations = wanted[name].relu()
            if threshold == "mmse":
                neurons.threshold = _least(neurons.threshold, _rounding(activations, steps))
            elif threshold == "tuned":
                neurons.threshold = _least(neurons.threshold, _loss(currents))
            if correction == "light":
                rates = integrate_and_fire(currents, neurons.threshold).mean(0)
                off = (activations - rates).transpose(0, 1).flatten(1).mean(1)
                neurons.correction.copy_(off.reshape(neurons.correction.shape))

        return hook

    with ExitStack() as stack:
        for name, neurons in rate.layers.items():
            hook = neurons.register_forward_pre_hook(settle(name))
            stack.callback(hook.remove)
        rate.observe(inputs, steps)


def pre_activations(snn: SpikingNetwork, inputs: Tensor) -> dict[str, Tensor]:
    """Return the pre-activations [N, ...] of the ReLU network that a TTFS network equals.

    Those of neurons that clip (ReLU6) are clipped.
    """
    reference: Any = reference_network(snn)
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[Tensor]) -> None:
            found[name] = arguments[0].clamp(max=snn.layers[name].ceiling)

        return hook

    for name in snn.layers:
        reference[1].get_submodule(name).register_forward_pre_hook(keep(name))
    reference(inputs)
    return found


def _rounding(activations: Tensor, steps: int) -> Callable[[float], float]:
    return lambda theta: (activations - quantized(activations, theta, steps)).square().mean().item()


def _loss(currents: Tensor) -> Callable[[float], float]:
    wanted = currents.mean(0).relu()
    return lambda theta: (
        (wanted - integrate_and_fire(currents, theta).mean(0)).square().mean().item()
    )


def _least(largest: float, error: Callable[[float], float]) -> float:
    """The candidate largest x (1 - 0.01 i), i = 0 ... 94, of the least error.

    Every fifth is tried, then those near the best of them.
    """
    tried: dict[int, float] = {}

    def best(places: Iterable[int]) -> int:
        for place in places:
            if 0 <= place < 95 and place not in tried:
                tried[place] = error(largest * (1 - 0.01 * place))
        return min(tried, key=tried.__getitem__)

    near = best(range(0, 95, 5))
    return largest * (1 - 0.01 * best(range(near - 4, near + 5)))
