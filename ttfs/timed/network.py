"""A network that runs for T time steps: all steps of a layer at once, layer by layer.

Values that change over time are stacked as [T N, ...], so that convolutions, linear maps, sums and
batch norm act on them as they stand; only neurons know of time. Inputs are constant currents: what
comes before the first neurons is computed once, and held.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from ttfs.arguments import as_whole
from ttfs.errors import UserError
from ttfs.snn import INPUT, EarliestSpike, Fire, SpikingNetwork
from ttfs.snn.encode import Encode
from ttfs.snn.graph import module_of, run
from ttfs.snn.network import check_dtype
from ttfs.snn.precision import at_least_float32

AT_ONCE = 512
"""Inputs x steps that are computed at once outside training: what a layer holds stays in caches."""


class _Passes(threading.local):
    """The steps of the passes that a thread is in, by the id of their clock."""

    def __init__(self) -> None:
        self.steps: dict[int, int] = {}


_PASSES = _Passes()


@dataclass
class Clock:
    """The number of time steps of a pass, which all modules of a network share."""

    own: int
    """Those of a pass that asks for no others."""

    @property
    def steps(self) -> int:
        """The steps of the pass that this thread is in; set, they are those of later passes."""
        return _PASSES.steps.get(id(self), self.own)

    @steps.setter
    def steps(self, steps: int) -> None:
        self.own = steps

    @contextmanager
    def running(self, steps: int) -> Iterator[None]:
        """Run a pass of so many steps in this thread; others may run passes of their own."""
        before = _PASSES.steps
        _PASSES.steps = before | {id(self): steps}
        try:
            yield
        finally:
            _PASSES.steps = before


class OverTime(nn.Module, ABC):
    """A module that knows of time: `over_time` maps values [T, N, ...] of all steps."""

    def __init__(self, clock: Clock):
        super().__init__()
        self.clock = clock

    def forward(self, values: Tensor) -> Tensor:
        """Map values [T N, ...]."""
        return self.over_time(values.unflatten(0, (self.clock.steps, -1))).flatten(0, 1)

    @abstractmethod
    def over_time(self, values: Tensor) -> Tensor:
        """Map values [T, N, ...]."""


class Neurons(OverTime):
    """A layer of spiking neurons: currents [T, N, ...] to outputs, 0 without a spike."""


class Hold(nn.Module):
    """Repeat a constant value in each step."""

    def __init__(self, clock: Clock):
        super().__init__()
        self.clock = clock

    def forward(self, values: Tensor) -> Tensor:
        """Map values [N, ...] to [T N, ...]."""
        return values.expand(self.clock.steps, *values.shape).flatten(0, 1)


@dataclass
class Observed:
    """What a network did in T steps."""

    logits: Tensor
    """[T, N, classes]: the mean of the outputs of the steps so far."""
    constant: Mapping[str, Tensor] = field(default_factory=dict)
    """{population: where it feeds a constant current [N, ...]}: the input, and pools of it."""
    spikes: Mapping[str, Tensor] = field(default_factory=dict)
    """{population: where it spikes [T, N, ...]}: the hidden layers, and what pools let pass."""

    def fired(self, steps: int) -> dict[str, Tensor]:
        """Return the spikes [N, ...] of each population in the first `steps` steps.

        A constant current counts once, as it is computed once.
        """
        return {**self.constant, **{name: s[:steps].sum(0) for name, s in self.spikes.items()}}


class TimedNetwork(nn.Module):
    """A graph with layers of `Neurons`, whose output is the mean of its last layer over T steps.

    Args:
        body: the graph; its modules that know of time share `clock`.
        encode: maps inputs to the constant currents that enter the graph.
        input_shape: shape of one input.
        clock: holds the number of steps that a call without `steps` takes.
        populations: names of the nodes that emit spikes: layers of neurons, and pools of spikes.
    """

    def __init__(
        self,
        body: fx.GraphModule,
        encode: Encode,
        input_shape: tuple[int, ...],
        clock: Clock,
        populations: Iterable[str],
    ):
        super().__init__()
        self.encode = encode
        self.body = body
        self.input_shape = input_shape
        self.clock = clock
        self._populations = frozenset(populations)
        self._moving = _hold(body, clock)

    @property
    def layers(self) -> dict[str, Neurons]:
        """Hidden layers of neurons in order, by name."""
        found = {}
        for node in self.body.graph.nodes:
            if isinstance(module := module_of(self.body, node), Neurons):
                found[node.name] = module
        return found

    @property
    def analog(self) -> frozenset[str]:
        """Populations that feed a constant current: the input, and pools of it."""
        return frozenset({INPUT, *(self._populations - self._moving)})

    def neurons(self) -> list[Neurons]:
        """Return the hidden layers, whose outputs a penalty on activity is about."""
        return list(self.layers.values())

    def forward(self, inputs: Tensor, steps: int | None = None) -> Tensor:
        """Return the logits [N, classes] of inputs [N, ...] after a number of steps."""
        self._check(inputs)
        with self._running(steps):
            if self.training:
                return self._logits(self.body(self.encode(inputs)))[-1]
            parts = inputs.split(max(1, AT_ONCE // self.clock.steps))
            return torch.cat([self._logits(self.body(self.encode(part)))[-1] for part in parts])

    @torch.no_grad()
    def observe(self, inputs: Tensor, steps: int | None = None) -> Observed:
        """Return logits after each step, and all spikes, of inputs [N, ...]; in `train()` batch
        norm takes the statistics of these, and its averages move, as in a call.
        """
        self._check(inputs)
        with self._running(steps):
            currents = self.encode(inputs)
            constant, spikes = {INPUT: currents != 0}, {}

            def watch(node: fx.Node, value: Tensor) -> Tensor:
                if node.name in self._populations and node.name in self._moving:
                    spikes[node.name] = value.unflatten(0, (self.clock.steps, -1)) != 0
                elif node.name in self._populations:
                    constant[node.name] = value != 0
                return value

            return Observed(self._logits(run(self.body, currents, watch)), constant, spikes)

    def _logits(self, outputs: Tensor) -> Tensor:
        """Mean over the steps so far [T, N, classes] of the outputs [T N, classes] of all steps."""
        wide = at_least_float32(outputs).unflatten(0, (self.clock.steps, -1))
        count = torch.arange(1, len(wide) + 1, dtype=wide.dtype, device=wide.device)
        means = wide.cumsum(0) / count.reshape(-1, *[1] * (wide.dim() - 1))
        return means.to(outputs.dtype)

    def _running(self, steps: int | None) -> AbstractContextManager[None]:
        return self.clock.running(self.clock.steps if steps is None else check_steps(steps))

    def _check(self, inputs: Tensor) -> None:
        if not isinstance(inputs, Tensor):
            raise TypeError(f"inputs are {type(inputs).__name__}; give a torch.Tensor [N, ...]")
        if tuple(inputs.shape[1:]) != self.input_shape:
            expected = ", ".join(map(str, ("N", *self.input_shape)))
            raise ValueError(
                f"inputs have shape {list(inputs.shape)}, this network takes [{expected}]"
            )
        check_dtype(inputs, self)
        if not torch.compiler.is_compiling():
            self.encode.lie_inside(inputs)


def check_steps(steps: int) -> int:
    """Return a number of time steps; raise UserError if it is none."""
    number = as_whole(steps)
    if number is None or number < 1:
        raise UserError(f"steps is {steps!r}; give a whole number of time steps, 1 or more")
    return number


def spiking_nodes(snn: SpikingNetwork) -> list[str]:
    """Return the names of what emits spikes in a TTFS network: layers of neurons, and pools."""
    modules = snn.body.named_modules()
    return [name for name, module in modules if isinstance(module, Fire | EarliestSpike)]


@torch.no_grad()
def layer_shapes(snn: SpikingNetwork) -> dict[str, tuple[int, ...]]:
    """Return the shape of each layer of neurons."""
    return {name: tuple(charges.shape[1:]) for name, charges in snn.charges(snn.silence)[1].items()}


def _hold(body: fx.GraphModule, clock: Clock) -> frozenset[str]:
    """Repeat constant values where they meet changing ones; return the names of changing nodes."""
    moving: set[fx.Node] = set()
    for node in list(body.graph.nodes):
        starts = isinstance(module_of(body, node), Neurons) or node.op == "output"
        if starts or any(source in moving for source in node.all_input_nodes):
            moving.add(node)
    for node in [node for node in body.graph.nodes if node not in moving]:
        users = [user for user in node.users if user in moving]
        if not users:
            continue
        name = f"{node.name}_held"
        body.add_submodule(name, Hold(clock))
        with body.graph.inserting_after(node):
            held = body.graph.call_module(name, (node,))
        for user in users:
            user.replace_input_with(node, held)
        moving.add(held)
    body.recompile()
    return frozenset(node.name for node in moving)
