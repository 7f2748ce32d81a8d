"""Supervised learning of spike patterns: van Rossum distance, and a target pattern a class.

After the successor of Stanojevic et al. 2020: leaky neurons, backpropagation through time to one
target pattern a class, decision for the nearest. Its constants are not known; these are ours.
"""

import math

import torch
from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.snn.encode import Encode
from ttfs.timed.lif import leaky


def filtered(spikes: Tensor, tau: float) -> Tensor:
    """Return f[t] = f[t−1] exp(−1 / τ) + s[t] of spikes [T, ...]; τ in steps."""
    decay = math.exp(-1.0 / tau)
    trace, traces = torch.zeros_like(spikes[0]), []
    for spike in spikes:
        trace = decay * trace + spike
        traces.append(trace)
    return torch.stack(traces)


def van_rossum(first: Tensor, second: Tensor, tau: float) -> Tensor:
    """Return the squared van Rossum distance of trains [T, ..., M], a mean over the M neurons.

    D² = 1 / τ · Σ over t of (f[t] − g[t])², with the exponential kernel of `filtered` (van Rossum
    2001, Neural Computation 13). T and τ are in steps; the result is [...].

    >>> trains = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [0.0]])
    >>> round(float(van_rossum(*trains, tau=1.0)), 3)  # 1 + exp(-2)
    1.135
    """
    difference = filtered(first - second, tau)  # the filter is linear
    return difference.square().sum(0).mean(-1) / tau


def target_patterns(
    classes: int, neurons: int, steps: int, tau: float, generator: torch.Generator
) -> Tensor:
    """Return a pattern for each class, [T, classes, neurons], each neuron with one spike.

    Spikes are drawn on the later half of the steps, so that the input can set them off. Patterns
    are drawn anew until each pair has three quarters, at least, of the mean distance of random
    ones; after 1,000 draws a UserError asks for more neurons.
    """

    def draw() -> Tensor:
        times = torch.randint(steps // 2, steps, (classes, neurons), generator=generator)
        return nn.functional.one_hot(times, steps).permute(2, 0, 1).float()

    mean = _distances(draw(), tau).mean()
    for _ in range(1000):
        patterns = draw()
        nearest = _distances(patterns, tau).min()
        if nearest > 0 and nearest >= 0.75 * mean:  # one random pair may have no distance
            return patterns
    raise UserError(
        f"key 'outputs': no {classes} patterns of {neurons} neurons lie apart in {steps} steps; "
        "raise outputs, or steps"
    )


def _distances(patterns: Tensor, tau: float) -> Tensor:
    """Return the distances of all pairs of patterns [T, classes, neurons]."""
    whole = van_rossum(patterns[:, :, None], patterns[:, None], tau)
    first, second = torch.triu_indices(len(whole), len(whole), offset=1)
    return whole[first, second]


class SpikePatterns(nn.Module):
    """Inputs spike once, a hidden layer and an output layer of leaky neurons follow over T steps.

    Logits are minus the squared distances of the output pattern to the target of each class. So the
    largest logit is the nearest target, and minus the logit of the class is the loss.
    """

    targets: Tensor

    def __init__(
        self,
        inputs: int,
        hidden: int,
        targets: Tensor,
        tau: float,
        beta: float,
        alpha: float,
        input_range: tuple[float, float] = (0.0, 1.0),
    ):
        super().__init__()
        self.encode = Encode(*input_range)
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, targets.shape[2])
        self.register_buffer("targets", targets)
        self.tau, self.beta, self.alpha = tau, beta, alpha

    def spikes(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spikes of the hidden [T, N, hidden] and the output layer [T, N, outputs].

        A value of the input range, as x on [0, 1], spikes in step ⌊(1 − x) ⌊T / 2⌋⌋, at the latest
        in the last of the earlier half; 0 is silent.
        """
        steps = len(self.targets)
        items = self.encode(items.flatten(1))
        step = ((1 - items) * (steps // 2)).long().clamp(max=steps // 2 - 1)
        currents = torch.stack([(step == t) & (items > 0) for t in range(steps // 2)])
        early = nn.functional.linear(currents.to(items.dtype), self.hidden.weight)
        late = early.new_zeros(steps - len(early), *early.shape[1:])
        hidden = leaky(torch.cat([early, late]) + self.hidden.bias, self.beta, self.alpha)
        return hidden, leaky(self.output(hidden), self.beta, self.alpha)

    def forward(self, items: Tensor) -> Tensor:
        """Return the logits [N, classes]."""
        return self.nearness(self.spikes(items)[1])

    def nearness(self, output: Tensor) -> Tensor:
        """Return the logits of output spikes [T, N, outputs]."""
        return -van_rossum(output[:, :, None], self.targets[:, None], self.tau)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean squared distance to the targets of the classes [N]."""
        return -logits.gather(1, labels[:, None]).mean()
