"""One pass of a network whose code is not ours, to see that it maps inputs to logits."""

import torch
from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.models.notation import size_of


def try_out(network: nn.Module, shape: tuple[int, ...], classes: int, name: str) -> None:
    """Raise UserError, which begins with `name`, unless inputs [2, *shape] give [2, classes].

    Leaves parameters, running statistics, modes and torch's global generator as they were.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()  # batch norm keeps its statistics
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = network(torch.zeros(2, *shape))
    except Exception as error:  # whatever the code of others raises
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name} does not take inputs of {size_of(shape)}: {why}") from None
    finally:
        for module, training in modes:
            module.training = training
    found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != [2, classes]:
        raise UserError(
            f"{name} maps 2 inputs of {size_of(shape)} to {found}; "
            f"its logits must be [2, {classes}]"
        )
