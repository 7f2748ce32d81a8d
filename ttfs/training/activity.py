"""Activations of hidden neurons while a network learns, and the penalty on them in the loss."""

import inspect

import torch
from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.snn.precision import at_least_float32
from ttfs.training import ranks

KNEE = 0.2
"""Activation at which half a spike is counted, as a share of the mean activation of the layer's
active neurons.
"""


def smooth_count(activity: Tensor) -> Tensor:
    """Return a smooth count of the neurons that are active: sum of a / (a + KNEE m), activations a
    >= 0 of a layer.

    m is the mean over the batch's a > 0, on all ranks, so the count stays where all activations
    scale together: a layer saves by silence alone. Its slope is steepest at the weakest spikes,
    which carry least. It is the transformed L1 penalty, which Ma et al. 2019 (arXiv:1901.01021) put
    on weights, on charges.

    >>> activity = torch.tensor([[0.0, 1.0], [3.0, 0.0]])
    >>> [round(smooth_count(scale * activity).item(), 3) for scale in (1.0, 10.0)]
    [1.597, 1.597]
    """
    active = ranks.total(activity.detach().count_nonzero()).clamp(min=1)
    knee = (KNEE * ranks.total(activity.sum()) / active).clamp(min=1e-12)
    return (
        activity.numel() - knee * (activity + knee).reciprocal().sum()
    )  # a / (a + knee) takes twice as long


def neurons(network: nn.Module) -> list[nn.Module]:
    """Return the modules whose outputs are the activations a >= 0 of a network's hidden neurons.

    A module with a method `neurons()` names them; in any other they are the nn.ReLU modules.

    >>> neurons(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)))
    [ReLU()]
    """
    if inspect.ismethod(own := getattr(network, "neurons", None)):
        return list(own())
    if isinstance(network, nn.ReLU):
        return [network]
    found = [neuron for child in network.children() for neuron in neurons(child)]
    return list(dict.fromkeys(found))  # a module may be in several places


class ActivityPenalty:
    """l1 * sum of a + l0 * smooth count of a > 0, over all hidden neurons, mean over images, and
    over the steps of a network that runs for several.

    A spiking neuron's activation a is its charge t_max - t, so both push spikes towards silence.
    The modules that `neurons` names report the activations. Raises UserError if there are none.
    """

    def __init__(self, network: nn.Module, l1: float, l0: float):
        self.l1, self.l0 = l1, l0
        self._heard: list[Tensor] = []
        self._steps = getattr(getattr(network, "clock", None), "steps", 1)
        modules = neurons(network) if l1 > 0 or l0 > 0 else []
        if not modules and (l1 > 0 or l0 > 0):
            name = "activity_l1" if l1 > 0 else "activity_l0"
            raise UserError(
                f"train.{name} finds no nn.ReLU module to listen to; set it to 0 or use modules"
            )
        self._hooks = [module.register_forward_hook(self._listen) for module in modules]

    def take(self, items: int) -> Tensor | float:
        """Return the penalty of the last forward pass, of this many items, and forget the pass."""
        heard = [at_least_float32(activity) for activity in self._heard]
        self.forget()
        penalty: Tensor | float = 0.0
        for strength, measure in ((self.l1, torch.sum), (self.l0, smooth_count)):
            if strength > 0:
                penalty = penalty + strength * (
                    torch.stack([measure(layer) for layer in heard]).sum() / (items * self._steps)
                )
        return penalty

    def forget(self) -> None:
        """Forget a pass that is not for learning."""
        self._heard.clear()

    def close(self) -> None:
        """Stop listening: the network outlives its training."""
        for hook in self._hooks:
            hook.remove()

    def _listen(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._heard.append(output)
