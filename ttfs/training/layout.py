"""The order in memory of the weights of convolutions, for speed."""

import torch
from torch import Tensor, nn

KNOWN = ("torch", "ttfs")
"""Packages whose layers compute in any order of their weights."""


def lay_channels_last(network: nn.Module, shape: tuple[int, ...]) -> None:
    """Lay weights [., C, H, W] out with channels last, and so what convolutions give: on processors
    they are up to twice as fast in bfloat16, and by a quarter in float32.

    A network that fails so on an input of the shape keeps its order: a `view` in its forward may
    need it.
    """
    weights = [w for w in (*network.parameters(), *network.buffers()) if w.dim() == 4]
    _lay(weights, torch.channels_last)
    if weights and not _runs(network, shape):
        _lay(weights, torch.contiguous_format)


def _lay(weights: list[Tensor], order: torch.memory_format) -> None:
    for weight in weights:
        weight.data = weight.data.contiguous(memory_format=order)


@torch.no_grad()
def _runs(network: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a network computes; one of layers that are known does."""
    if all(type(layer).__module__.split(".")[0] in KNOWN for layer in network.modules()):
        return True
    modes = {layer: layer.training for layer in network.modules()}
    like = next(network.parameters())
    try:
        network.eval()(torch.zeros(2, *shape, device=like.device, dtype=like.dtype))
    except Exception:  # of any kind: where it is at fault, its training says so
        return False
    finally:
        for layer, mode in modes.items():
            layer.training = mode
    return True
