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

    Parameters and running statistics of batch norm are averaged alike. Other buffers, such as the
    windows of a TTFS network, are taken from the network.
    """

    def __init__(self, network: nn.Module, how: str, decay: float):
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.how, self.decay = how, decay

    @torch.no_grad()
    def update(self, network: nn.Module, steps: int, share: float) -> None:
        """Follow the network after its `steps`-th step, a share of all steps."""
        if self.how == "ema":
            self._mix(network, min(self.decay, (1 + steps) / (10 + steps)))
        elif steps % EVERY == 0:
            self._mix(network, self.decay**EVERY * share**3)
            for mine, its in self._pairs(network):
                its.copy_(mine)

    def _mix(self, network: nn.Module, kept: float) -> None:
        pairs = self._pairs(network)
        averaged = [pair for pair in pairs if _is_averaged(pair[0])]
        mine, its = zip(*averaged, strict=True)
        torch._foreach_lerp_(list(mine), list(its), 1.0 - kept)
        for old, new in pairs:
            if not _is_averaged(old):
                old.copy_(new)

    def _pairs(self, network: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """(tensor of the average, the same of the network), parameters and buffers.

        A tensor that is in several places of a network, as in a shared layer, comes once.
        """
        mine, its = self.network.state_dict(keep_vars=True), network.state_dict(keep_vars=True)
        once = {id(mine[name]): (mine[name].detach(), its[name].detach()) for name in mine}
        return list(once.values())


def _is_averaged(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32
