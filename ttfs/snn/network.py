"""The TTFS network: a graph of synapses and neurons, and the clock that orders its windows."""

import math
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, fx, nn

from ttfs.errors import UserError
from ttfs.snn.b1 import Fire
from ttfs.snn.encode import Encode
from ttfs.snn.graph import module_of, run
from ttfs.snn.pools import EarliestSpike
from ttfs.snn.state import Numbers
from ttfs.snn.synapses import Synapses

INPUT, OUTPUT = "input", "output"

NEURONS = ("b1", "alpha1")
"""Neuron models. A checkpoint holds the position in this list, so new ones come last."""


class SpikingNetwork(Numbers):
    """A feed-forward network of TTFS neurons, with the inputs and outputs of the ReLU network it
    came from.

    Layers are named after the ReLUs they replace. `windows` gives each layer's (t_min, t_max) in
    units of the membrane time constant: t_min is the largest t_max of the layers that feed it, and
    the input's window is (0, 1). Make one with `ttfs.convert`; call it, train it, save its
    `state_dict` as any module.
    """

    neuron_kind: Tensor

    def __init__(
        self, body: fx.GraphModule, input_range: tuple[float, float], input_shape: tuple[int, ...]
    ):
        super().__init__()
        self.register_number("neuron_kind", float(NEURONS.index("b1")))
        self.encode = Encode(*input_range)
        self.body = body
        self.input_shape = input_shape
        self._sources = _spiking_sources(body)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [N, classes] of images [N, ...]: the potentials of the output layer at
        its t_min.

        Raises ValueError for images of another shape or another floating dtype than the weights',
        and for NaN and infinity; on a device the first images alone are looked at for these.
        """
        return self.body(self._encoded(images))

    @property
    def neuron(self) -> str:
        """The neuron model: "b1", or "alpha1", where every neuron spikes: silence is a spike at
        t_max.
        """
        return _model(self.neuron_kind)

    @neuron.setter
    def neuron(self, model: str) -> None:
        if model not in NEURONS:
            raise UserError(f"neuron is {model!r}; choose from: {', '.join(NEURONS)}")
        self.neuron_kind.fill_(NEURONS.index(model))

    @property
    def layers(self) -> dict[str, Fire]:
        """Hidden layers of neurons in order, by name."""
        modules = dict(self.body.named_modules())
        names = [name for name in self._sources if name != OUTPUT]
        return {name: modules[name] for name in names}  # type: ignore[misc]

    @property
    def windows(self) -> dict[str, tuple[float, float]]:
        """Window (t_min, t_max) of the input and of each hidden layer, in units of tau_c."""
        windows = {INPUT: (0.0, 1.0)}
        for name, fire in self.layers.items():
            t_min = max(windows[source][1] for source in self._sources[name])
            windows[name] = (t_min, t_min + fire.width)
        return windows

    @property
    def latency(self) -> float:
        """Read-out time: t_min of the output layer, in units of tau_c."""
        windows = self.windows
        return max(windows[source][1] for source in self._sources[OUTPUT])

    @property
    def depth(self) -> int:
        """How many windows follow one another until the read-out, the input's included."""
        return len(self.chain)

    @property
    def chain(self) -> list[tuple[float, float]]:
        """The windows (t_min, t_max) that follow one another until the read-out, the input's first;
        of several paths that with the most, and of those that which closes last.
        """
        windows = self.windows
        chains = {INPUT: [windows[INPUT]]}
        for name in self.layers:
            before = max((chains[source] for source in self._sources[name]), key=_end)
            chains[name] = [*before, windows[name]]
        return max((chains[source] for source in self._sources[OUTPUT]), key=_end)

    @property
    def silence(self) -> Tensor:
        """An item [1, ...] without input spikes, of the dtype and on the device of the weights."""
        weights = next(self.parameters(), torch.empty(0))
        return weights.new_full((1, *self.input_shape), self.encode.low)

    @property
    def ideal(self) -> bool:
        """Whether the network runs as it is defined, on no chip (`ttfs.deploy`)."""
        return self.encode.imperfections is None

    def charges(self, images: Tensor, pooled: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits and the charges s = t_max - t [N, ...] of the input and of each hidden
        layer.

        Charges are those of the neurons, before pooling; with `pooled`, what each pool lets pass
        comes too.
        """
        spikes = self._encoded(images)
        logits, seen = self._observe(spikes, (Fire, EarliestSpike) if pooled else (Fire,))
        return logits, {INPUT: spikes, **seen}

    def potentials(self, images: Tensor) -> dict[str, Tensor]:
        """Return the potentials [N, ...] that each convolution or linear map gives, by the name of
        its synapses.
        """
        return self._observe(self._encoded(images), (Synapses,))[1]

    def read_out(self, images: Tensor, time: float) -> Tensor:
        """Return the potentials of the output layer [N, classes] at a time in tau_c: the logits at
        `latency` or later.

        What has not spiked by then counts for nothing, what has counts for the time since: D + sum
        w (time - t)+, and for no longer than its window. Raises ValueError if the time is NaN.
        """
        if math.isnan(time):
            raise ValueError("read_out: the time is NaN; give a time in tau_c")
        spikes, windows = self._encoded(images), self.windows
        left = {
            name: windows[name][1] - time
            for name in self._sources[OUTPUT]
            if windows[name][1] > time
        }

        def cut(name: str, charges: Tensor) -> Tensor:
            return (charges - left[name]).clamp(min=0.0) if name in left else charges

        def watch(node: fx.Node, value: Tensor) -> Tensor:
            return (
                cut(str(node.target), value)
                if isinstance(module_of(self.body, node), Fire)
                else value
            )

        return run(self.body, cut(INPUT, spikes), watch)

    def first_spike(self, images: Tensor, threshold: float | None = None) -> tuple[Tensor, Tensor]:
        """Return the class [N] whose output neuron spikes first, and when [N], in float64 and
        tau_c.

        Output neurons with one threshold θ, and dV/dt = 1 from `latency` on, spike at latency +
        (θ - V)+, where V are the logits: the earliest spike is the largest logit. Of spikes at the
        same time that of the lowest class counts.

        Args:
            images: [N, ...].
            threshold: θ; None takes the largest logit of the images, the lowest threshold that
                holds them apart. Neurons above a lower one all spike at `latency`.

        Raises ValueError without images, for a threshold that is not finite, for weights that are
        not, and for images whose largest logit is not; a class may be masked by -infinity.
        """
        if not len(images):
            raise ValueError("first_spike: no images; give at least one")
        if threshold is not None and not math.isfinite(threshold):
            raise ValueError(
                f"first_spike: threshold is {threshold}; give a finite number, or None"
            )
        check_weights(self, "first_spike")
        logits = self(images).double()
        if not logits.amax(1).isfinite().all():
            raise ValueError("first_spike: an image has no largest logit that is finite")
        reached = logits.max() if threshold is None else threshold
        wait = (reached - logits).clamp(min=0.0)  # [N, classes]
        first = wait.argmin(1)
        return first, self.latency + wait.gather(1, first[:, None])[:, 0]

    def spike_times(self, images: Tensor) -> dict[str, Tensor]:
        """Return {layer: absolute spike times [N, ...]} in float64 and tau_c, infinity where a
        neuron stays silent.
        """
        _, charges = self.charges(images)
        windows = self.windows
        times = {name: windows[name][1] - s.double() for name, s in charges.items()}
        return {
            name: torch.where(self.fired(charges[name]), t, torch.inf) for name, t in times.items()
        }

    def neurons(self) -> list[Fire]:
        """Return the hidden layers, whose outputs a penalty on activity is about."""
        return list(self.layers.values())

    def fired(self, charges: Tensor) -> Tensor:
        """Return which neurons spiked, given their charges: those that left one, and all in an α1
        network.
        """
        return charges > 0 if self.neuron == "b1" else torch.ones_like(charges, dtype=torch.bool)

    def __prepare_scriptable__(self) -> NoReturn:
        """Refuse `torch.jit.script`, which calls this first."""
        raise UserError(
            "a SpikingNetwork is no TorchScript; use torch.compile(snn), or "
            "torch.export.export(snn, (images,)), from which torch.onnx.export writes ONNX"
        )

    def _observe(
        self, spikes: Tensor, kinds: tuple[type[nn.Module], ...]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits and the values of all modules of the kinds, by name and in order."""
        seen: dict[str, Tensor] = {}

        def watch(node: fx.Node, value: Tensor) -> Tensor:
            if isinstance(module_of(self.body, node), kinds):
                seen[str(node.target)] = value
            return value

        return run(self.body, spikes, watch), seen

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *others: Any
    ) -> None:
        """Refuse the checkpoint of another neuron model, whose weights would mean something
        else.
        """
        stored = state_dict.get(f"{prefix}neuron_kind", self.neuron_kind)
        if (model := _model(stored)) != self.neuron:
            raise UserError(
                f"the checkpoint is of {model} neurons, this network of {self.neuron} neurons; "
                f"load it into a network of {model} neurons: convert(..., neuron={model!r})"
            )
        super()._load_from_state_dict(state_dict, prefix, *others)

    def _check(self, images: Tensor) -> None:
        if not isinstance(images, Tensor):
            raise TypeError(f"images are {type(images).__name__}; give a torch.Tensor [N, ...]")
        if tuple(images.shape[1:]) != self.input_shape:
            expected = ["N", *self.input_shape]
            raise ValueError(
                f"images have shape {list(images.shape)}, this network takes {expected}".replace(
                    "'", ""
                )
            )
        check_dtype(images, self)
        if torch.compiler.is_exporting() and not self.ideal:
            raise UserError(
                "a network on a chip is not exported; export the network itself, or use "
                "torch.compile(chip)"
            )

    def _encoded(self, images: Tensor) -> Tensor:
        """Check images [N, ...], and return their charges."""
        self._check(images)
        inside = not torch.compiler.is_compiling() and self.encode.lie_inside(images)
        return self.encode(images, inside)


def check_weights(network: nn.Module, function: str) -> None:
    """Raise ValueError, which begins with the function, where weights are NaN or infinite: neurons
    that these silence would look sparse. A bias of -infinity is a mask.
    """
    for name, weights in network.named_parameters():
        numbers = weights[~weights.isneginf()] if "bias" in name else weights
        if not numbers.isfinite().all():
            raise ValueError(f"{function}: {name} of the network holds NaN or infinity")


def check_dtype(images: Tensor, network: nn.Module) -> None:
    """Raise ValueError where images are floats of another dtype than the weights, but for what
    autocast makes one.
    """
    if torch.compiler.is_compiling() or not images.is_floating_point():
        return
    weights = next(network.parameters(), images)
    if images.dtype == weights.dtype:
        return
    cast = torch.is_autocast_enabled(images.device.type)
    if not cast or torch.float64 in (images.dtype, weights.dtype):
        raise ValueError(
            f"images are {images.dtype}, the weights of this network {weights.dtype}; give "
            f"images.to({weights.dtype})"
        )


def _end(chain: list[tuple[float, float]]) -> tuple[int, float]:
    """How many windows a chain has, and when the last closes."""
    return len(chain), chain[-1][1]


def _model(kind: Tensor) -> str:
    position = round(kind.item())
    return NEURONS[position] if 0 <= position < len(NEURONS) else f"unknown (number {position})"


def _spiking_sources(body: fx.GraphModule) -> dict[str, tuple[str, ...]]:
    """For each layer of neurons and the output, the layers whose spikes reach it with no other
    neuron between.
    """
    reach: dict[fx.Node, frozenset[str]] = {}
    sources: dict[str, tuple[str, ...]] = {}
    for node in body.graph.nodes:
        incoming = frozenset().union(*(reach[source] for source in node.all_input_nodes))
        reach[node] = incoming
        if node.op == "placeholder":
            reach[node] = frozenset({INPUT})
        elif node.op == "output":
            sources[OUTPUT] = tuple(sorted(incoming))
        elif isinstance(module_of(body, node), Fire):
            sources[node.target] = tuple(sorted(incoming))
            reach[node] = frozenset({node.target})
    return sources
