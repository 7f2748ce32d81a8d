"""Averages of a network's weights over the steps of a training."""

import copy

import torch
from torch import Tensor, nn

EVERY = 5
"""Steps from one pull of Lookahead to the next (Zhang et al. 2019)."""


class Average(nn.Module):
    """An average a of the weights w of a network that learns, itself a network.

    - `ema`: a ← d a + (1 − d) w after each step; the network that learns never sees a. d grows up
      to `decay` as (1 + n) / (10 + n) does with the steps n, so a leaves the first weights soon.
    - `lookahead`: after each fifth step a ← m a + (1 − m) w and w ← a (Zhang et al. 2019, arXiv
      1907.08610), with m = decay^5 s³ after a share s of the steps (Jordan 2024, arXiv 2404.00498).

    Parameters that learn and running statistics of batch norm are averaged alike. All else, such as
    the windows of a TTFS network, is taken from the network, and so is what has fewer digits than
    float32, in which an average would stand still.
    """

    def __init__(self, network: nn.Module, how: str, decay: float):
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.how, self.decay = how, decay
        self._averaged = _averaged(network)

    @torch.no_grad()
    def update(self, network: nn.Module, steps: int, share: float) -> None:
        """Follow the network after its `steps`-th step, a share of all steps."""
        if self.how == "ema":
            self._mix(network, min(self.decay, (1 + steps) / (10 + steps)))
        elif steps % EVERY == 0:
            self._mix(network, self.decay**EVERY * share**3)
            for mine, its in self._pairs(network).values():
                its.copy_(mine)

    def _mix(self, network: nn.Module, kept: float) -> None:
        pairs = self._pairs(network)
        averaged = [pairs[name] for name in pairs if name in self._averaged]
        if averaged:
            mine, its = zip(*averaged, strict=True)
            torch._foreach_lerp_(list(mine), list(its), 1.0 - kept)
        for name, (old, new) in pairs.items():
            if name not in self._averaged:
                old.copy_(new)

    def _pairs(self, network: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
        """{name: (tensor of the average, the same of the network)}, parameters and buffers.

        A tensor that is in several places of a network, as in a shared layer, comes once.
        """
        mine, its = self.network.state_dict(keep_vars=True), network.state_dict(keep_vars=True)
        once = {id(mine[name]): name for name in mine}
        return {name: (mine[name].detach(), its[name].detach()) for name in once.values()}


def _averaged(network: nn.Module) -> frozenset[str]:
    """The names of what is averaged, under each of its names."""
    found: dict[str, Tensor] = dict(network.named_parameters(remove_duplicate=False))
    names = [name for name, parameter in found.items() if parameter.requires_grad]
    for prefix, module in network.named_modules(remove_duplicate=False):
        if isinstance(module, nn.modules.batchnorm._NormBase):
            statistics = dict(module.named_buffers(prefix, recurse=False))
            found |= statistics
            names += statistics
    return frozenset(name for name in names if found[name].dtype in (torch.float32, torch.float64))
