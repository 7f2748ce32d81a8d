"""What a chip does to an ideal TTFS network."""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parametrize, prune

from ttfs.arguments import as_whole, is_number
from ttfs.errors import UserError
from ttfs.hardware.defects import Defects
from ttfs.hardware.emission import Emission
from ttfs.hardware.equalization import equalize_
from ttfs.hardware.memristive import Devices, attach_devices_
from ttfs.hardware.populations import NeuronsOnChip, PixelsOnChip
from ttfs.hardware.weights import FewBits, InLevels
from ttfs.hardware.windows import EmittedCharges
from ttfs.seeds import seed
from ttfs.snn import INPUT, SpikingNetwork, Synapses


@dataclass(frozen=True)
class Hardware:
    """A chip. The defaults are the ideal one; imperfections compose.

    jitter: standard deviation of Gaussian noise on each emitted spike time, input spikes included,
        as a share of the spike's window. A silent neuron has no spike to move. A spike pushed past
        its deadline is lost, one pushed before its opening comes at the opening.
    time_bits: spikes, input spikes included, wait for the next step of a clock with 2^time_bits
        steps a window, and are lost if that is the deadline. They never come earlier than physics
        has them. Jitter comes before the clock.
    time_rounding: "next", or "nearest": thresholds are half a step lower, and pixels half a step
        ahead, so that waiting for the next step takes an ideal spike to the nearest one. The clock
        then costs what rounded activations cost.
    weight_bits: uniform symmetric weights of 2^weight_bits - 1 levels, output included. Their step
        is the one of least squared error for the weights that come onto the chip, and stays.
        Biases, which are thresholds, stay as they are, and so do the scales that a batch norm
        leaves on a residual sum.
    weight_scale: what shares one scale of these levels, a "layer" or an output "channel" (a neuron
        of a dense layer).
    window_quantile: share of the emitted calibration charges that fit into the window; stronger
        ones come at its opening. None keeps the windows of the conversion.
    threshold_mismatch: standard deviation of a Gaussian shift of each hidden neuron's threshold, as
        a share of its window; fixed for the chip.
    dead_neurons: share of hidden neurons, drawn once for the chip, that never spike.
    conductance_bits: each weight is a pair of memristive devices, w = w_max (G+ - G-), and each
        conductance has 2^conductance_bits levels from 0 to G_max. Their scale w_max is the one of
        least squared error, of levels and noise, for the weights that come onto the chip, and
        stays; biases stay as they are. None is conductances without levels. Any of the keys below
        makes pairs, too.
    programming_noise: standard deviation of the error of each conductance that is written, as a
        share of G_max; none falls below 0. Each writing draws anew: each chip, and each pass in
        `train()`, which is a step of a fine-tuning.
    stuck_devices: share of devices, drawn once for the chip, whose conductance stays 0 or G_max,
        each for one half.
    drift_exponent, drift_spread, drift_time: the network runs when a time drift_time t0 has passed
        since the writing, and each conductance is G(t0) (t / t0)^-nu; nu ~ N(drift_exponent,
        drift_spread), drawn once for each device. Stuck devices do not drift.
    read_noise: standard deviation of a device's conductance, as a share of it, over inferences:
        drawn anew for each image, and for each position of a convolution.
    lost_spikes: share of emitted spikes, input spikes included, that reach no synapse; drawn anew
        for each image.
    equalize: the weights of the channels of hidden neurons have one size before they come onto the
        chip, for the scales of `weight_scale` (`ttfs.hardware.equalization.equalize_`); the network
        computes the same.
    seed: names the chip: its defects and its noise.

    Raises UserError for a value that no chip can have.
    """

    jitter: float = 0.0
    time_bits: int | None = None
    time_rounding: str = "next"
    weight_bits: int | None = None
    weight_scale: str = "layer"
    window_quantile: float | None = None
    threshold_mismatch: float = 0.0
    dead_neurons: float = 0.0
    lost_spikes: float = 0.0
    conductance_bits: int | None = None
    programming_noise: float = 0.0
    stuck_devices: float = 0.0
    drift_exponent: float = 0.0
    drift_spread: float = 0.0
    drift_time: float = 1.0
    read_noise: float = 0.0
    equalize: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = [field.name for field in fields(self) if field.type is float]
        numbers += ["window_quantile"] if self.window_quantile is not None else []
        for name in numbers:
            value = getattr(self, name)
            if not is_number(value):
                raise UserError(f"hardware: {name} is {value!r}; it is a number")
        if not isinstance(self.equalize, bool | np.bool_):
            raise UserError(f"hardware: equalize is {self.equalize!r}; it is True or False")
        for name in ("jitter", "threshold_mismatch"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(
                    f"hardware: {name} is {getattr(self, name)}; it is a share of the window, 0 "
                    "or more"
                )
        for name in ("programming_noise", "read_noise", "drift_exponent", "drift_spread"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"hardware: {name} is {getattr(self, name)}; it is 0 or more")
        if not 1 <= self.drift_time < math.inf:
            raise UserError(
                f"hardware: drift_time is {self.drift_time}; it is a time in units of t0, 1 or more"
            )
        for name in ("dead_neurons", "lost_spikes", "stuck_devices"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(
                    f"hardware: {name} is {getattr(self, name)}; it is a share, from 0 to 1"
                )
        own = as_whole(self.seed)
        if own is None:
            raise UserError(f"hardware: seed is {self.seed!r}; give a whole number")
        object.__setattr__(self, "seed", own)
        self._check_bits("time_bits", 1, "continuous time")
        self._check_bits("weight_bits", 2, "float weights")
        self._check_bits("conductance_bits", 1, "conductances without levels")
        if self.weight_bits is not None and not self.devices.ideal:
            raise UserError(
                "hardware: weight_bits is the levels of digital weights, and the weights of this "
                "chip are memristive; give conductance_bits instead"
            )
        for name, known in {
            "time_rounding": ("next", "nearest"),
            "weight_scale": ("layer", "channel"),
        }.items():
            if getattr(self, name) not in known:
                raise UserError(
                    f"hardware: {name} is {getattr(self, name)!r}; choose {known[0]!r} or "
                    f"{known[1]!r}"
                )
        if self.window_quantile is not None and not 0 < self.window_quantile <= 1:
            raise UserError(
                f"hardware: window_quantile is {self.window_quantile}; it is a share above 0, at "
                "most 1"
            )

    @property
    def devices(self) -> Devices:
        """The memristive devices of the synapses."""
        return Devices(*(getattr(self, field.name) for field in fields(Devices)))

    def _check_bits(self, name: str, least: int, without: str) -> None:
        """Take any whole number from the least to 16, or None, as a plain int."""
        bits = getattr(self, name)
        if bits is None:
            return
        whole = as_whole(bits)
        if whole is None:
            raise UserError(
                f"hardware: {name} is {bits!r}; give a whole number, {least} to 16, or None for "
                f"{without}"
            )
        if not least <= whole <= 16:
            raise UserError(
                f"hardware: {name} is {bits}; choose {least} to 16, or None for {without}"
            )
        object.__setattr__(self, name, whole)


@torch.inference_mode(False)
def deploy(
    snn: SpikingNetwork, hardware: Hardware, calibration: Tensor | Iterable[Tensor] | None = None
) -> SpikingNetwork:
    """Return the network as it runs on a chip; the ideal network stays as it is.

    Train what comes back to fine-tune it on that chip: rounding, to the clock and to few bits,
    passes gradients straight through; spikes that jitter loses or a window clips pass none. The
    default hardware changes nothing, bit for bit. The chip is in `train()` where the network is;
    call `eval()` to measure it, for in training memristive weights are written anew in each pass.

    Args:
        snn: an ideal network of B1 neurons, from `ttfs.convert`. An α1 network needs a spike of
            every neuron, which no chip here guarantees.
        hardware: the chip.
        calibration: images [N, ...] or batches of them, with labels or without, as
            `ttfs.convert` takes them; needed, and used, for `window_quantile` alone.

    Raises:
        UserError: if `window_quantile` has no calibration images, or some outside the network's
            input range, if the network is deployed already or of α1 neurons.
    """
    if not isinstance(snn, SpikingNetwork):
        raise UserError(
            f"deploy: takes a SpikingNetwork, not {type(snn).__name__}; call ttfs.convert first"
        )
    if not isinstance(hardware, Hardware):
        raise UserError(
            f"deploy: takes a ttfs.Hardware, not {type(hardware).__name__}; write "
            "ttfs.Hardware(jitter=0.02), say"
        )
    for name, module in snn.named_modules():
        if any(
            isinstance(hook, prune.BasePruningMethod) for hook in module._forward_pre_hooks.values()
        ):
            raise UserError(
                f"deploy: {name} is pruned by a hook; make it permanent with prune.remove"
            )
    if snn.neuron != "b1":
        raise UserError(f"deploy: the network has {snn.neuron} neurons; deploy one of b1 neurons")
    if not snn.ideal:
        raise UserError("deploy: the network runs on a chip already; deploy the ideal one")
    chip = copy.deepcopy(snn)
    if hardware.equalize:
        equalize_(chip, hardware.weight_scale == "channel")
    if hardware.window_quantile is not None:
        if calibration is None:
            raise UserError("deploy: window_quantile needs calibration images; pass calibration=")
        EmittedCharges(chip, calibration).close_(chip, hardware.window_quantile)

    lead = (
        0.5 / 2**hardware.time_bits
        if hardware.time_bits and hardware.time_rounding == "nearest"
        else 0.0
    )

    def emission(layer: str) -> Emission:
        own = seed("hardware", hardware.seed, layer)
        return Emission(hardware.jitter, hardware.time_bits, lead, hardware.lost_spikes, own)

    chip.encode.imperfections = PixelsOnChip(emission(INPUT))
    for name, fire in chip.layers.items():
        own = seed("hardware", hardware.seed, name, "defects")
        defects = Defects(hardware.threshold_mismatch, hardware.dead_neurons, own)
        fire.imperfections = NeuronsOnChip(defects, emission(name))
    _put_weights_(chip, hardware)
    return chip.train(snn.training)


def _put_weights_(chip: SpikingNetwork, hardware: Hardware) -> None:
    """Hold the weights of all synapses in few bits, or in memristive devices."""
    per_channel = hardware.weight_scale == "channel"
    for name, module in list(chip.named_modules()):
        if not isinstance(module, Synapses):
            continue
        if hardware.weight_bits is not None:
            few = FewBits(hardware.weight_bits, module.weights.weight, per_channel)
            if hardware.equalize:
                _hold_in_levels_(module, few.step)
            parametrize.register_parametrization(module.weights, "weight", few)
        elif not hardware.devices.ideal:
            own = seed("hardware", hardware.seed, name, "devices")
            attach_devices_(module, hardware.devices, per_channel, own)


def _hold_in_levels_(synapses: Synapses, step: Tensor) -> None:
    """Let fine-tuning move weights and biases in steps: factors have made them of any size."""
    weights = synapses.weights
    for owner, name in ((weights, "weight"), (weights, "bias"), (synapses, "bias_map")):
        if getattr(owner, name) is not None:
            parametrize.register_parametrization(owner, name, InLevels(step))
