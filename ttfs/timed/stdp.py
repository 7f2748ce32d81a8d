"""Unsupervised learning of spike patterns: winner-take-all and spike-timing-dependent plasticity.

Pair-based STDP with traces (Song, Miller, Abbott 2000; Morrison, Diesmann, Gerstner 2008), adaptive
thresholds and labels assigned afterwards (Diehl, Cook 2015), for patterns of one spike an input, as
in the files of Stanojevic et al. 2020, whose constants are not published; these are ours.
"""

from dataclasses import dataclass

import numpy as np

SILENT = -1
"""The winner of a pattern for which no neuron reaches its threshold."""


@dataclass(frozen=True)
class Constants:
    """Of neurons and synapses; times in units of the input window.

    membrane, before, after: time constants of the potential, and of the traces that a spike of an
    input, and one of the neuron, leaves. rate: of learning. depression: how much a spike of an
    input after that of the neuron counts against one before. offset: what a weight loses whenever
    its neuron spikes, so that inputs which are silent or late fade. rise: of a winner's threshold.
    """

    membrane: float = 1.0
    before: float = 1.0
    after: float = 0.3
    rate: float = 0.1
    depression: float = 1.0
    offset: float = 0.2
    rise: float = 0.02


class Winners:
    """Leaky integrate-and-fire neurons; the first to spike resets and silences all others.

    weights: [inputs, neurons] on [0, 1]. thresholds: [neurons].
    """

    def __init__(self, weights: np.ndarray, thresholds: np.ndarray, constants: Constants):
        self.weights, self.thresholds, self.constants = weights, thresholds, constants

    @classmethod
    def drawn(cls, patterns: np.ndarray, neurons: int, constants: Constants, rng) -> "Winners":
        """Return neurons with drawn weights, and half of the mean highest potential as threshold.

        patterns: some spike times [N, inputs] to take the thresholds from.
        """
        weights = rng.uniform(0.0, 0.6, (patterns.shape[1], neurons)).astype(np.float32)
        made = cls(weights, np.full(neurons, np.inf, dtype=np.float32), constants)
        highest = np.mean(
            [made.potentials(times)[1].max(axis=0, initial=0.0) for times in patterns]
        )
        made.thresholds[:] = highest / 2
        return made

    def potentials(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the moments at which inputs spike, in order, and the potential after each, as
        [moments] and [moments, neurons].

        V(t) = Σ over spikes t_i <= t of w_i exp(−(t − t_i) / membrane): between spikes it only
        falls, so a threshold is reached at one of them.
        """
        order = np.argsort(times, kind="stable")
        order = order[: np.isfinite(times).sum()]
        grown = np.exp(times[order] / self.constants.membrane)[:, None]
        potentials = np.cumsum(self.weights[order] * grown, axis=0) / grown
        last = np.diff(times[order], append=np.inf) > 0  # spikes of one moment count together
        return times[order][last], potentials[last]

    def winner(self, times: np.ndarray) -> tuple[int, float]:
        """Return the neuron that spikes first for times [inputs], and when; or SILENT, inf."""
        moments, potentials = self.potentials(times)
        crossed = potentials >= self.thresholds
        first = np.flatnonzero(crossed.any(axis=1))[:1]
        if not len(first):
            return SILENT, np.inf
        [over] = np.where(crossed[first], potentials[first] - self.thresholds, -np.inf)
        return int(over.argmax()), float(moments[first[0]])

    def learn(self, times: np.ndarray) -> int:
        """Show one pattern, move the winner's weights, and return the winner.

        Δw = rate · (exp(−(t − t_i) / before) − offset) for an input that spiked at t_i <= t, the
        spike of the winner; −rate · (depression · exp(−(t_i − t) / after) + offset) for a later
        one; −rate · offset for a silent one. Positive changes are times 1 − w, negative ones w.

        Thresholds: the winner's rises by the share `rise` of itself, all fall so that their mean
        stays; where nobody spikes, all fall by that share.
        """
        constants = self.constants
        winner, spike = self.winner(times)
        if winner == SILENT:
            self.thresholds *= 1 - constants.rise
            return winner
        change = np.full(len(times), -constants.offset, dtype=np.float32)
        early, late = times <= spike, (times > spike) & np.isfinite(times)
        change[early] += np.exp((times[early] - spike) / constants.before)
        change[late] -= constants.depression * np.exp((spike - times[late]) / constants.after)
        weights = self.weights[:, winner]
        bound = np.where(change > 0, 1 - weights, weights)
        self.weights[:, winner] = np.clip(weights + constants.rate * change * bound, 0.0, 1.0)
        mean = self.thresholds.mean()
        self.thresholds[winner] *= 1 + constants.rise
        self.thresholds *= mean / self.thresholds.mean()
        return winner

    def winners(self, patterns: np.ndarray) -> np.ndarray:
        """Return the winner [N] of each pattern [N, inputs]; nothing is learned."""
        return np.array([self.winner(times)[0] for times in patterns])


def assign(winners: np.ndarray, labels: np.ndarray, neurons: int, classes: int) -> np.ndarray:
    """Return what each neuron says of the class, [neurons + 1, classes]; the last row is silence.

    It is the share of each class among the labeled patterns that the neuron wins, with one pattern
    of the average mix added, so that a neuron that never wins says what is known without it.

    >>> assign(np.array([0, 0, 1]), np.array([0, 0, 1]), neurons=2, classes=2).round(2).tolist()
    [[0.89, 0.11], [0.33, 0.67], [0.67, 0.33]]
    """
    counts = np.zeros((neurons + 1, classes))
    np.add.at(counts, (winners, labels), 1)  # SILENT is the last row
    counts += np.bincount(labels, minlength=classes) / len(labels)
    return counts / counts.sum(axis=1, keepdims=True)
