"""The optimizer of a training, and its learning rate over the steps."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ttfs.errors import UserError
from ttfs.snn import OneToOne

WARM_UP = {"one-cycle": 0.3, "triangular": 0.2}
"""Share of the steps in which a schedule's rate rises, where the configuration names none."""


def optimizer(network: nn.Module, config: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return the optimizer of the parameters that learn.

    Weight decay acts on weights, not on biases and scales, be they of batch norm or, in a TTFS
    network that it was folded into, of one-to-one synapses. Biases, those of batch norm included,
    have the rate `bias_rate * learning_rate` (Page 2019, "How to train your ResNet"; of batch norm
    alone in Jordan 2024, arXiv 2404.00498).
    """
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    biases = [p for name, p in named if _is_bias(name)]
    one_to_one = {m.weight for m in network.modules() if isinstance(m, OneToOne)}
    scales = [p for name, p in named if not _is_bias(name) and (p.dim() <= 1 or p in one_to_one)]
    apart = {*biases, *scales}
    weights = [p for _, p in named if p not in apart]
    rate = config["learning_rate"]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": config["weight_decay"]},
        {"params": scales, "weight_decay": 0.0},
        {"params": biases, "weight_decay": 0.0, "lr": config["bias_rate"] * rate},
    ]
    groups = [group for group in groups if group["params"]]
    if config["optimizer"] == "adam":
        return torch.optim.Adam(groups, lr=rate)
    if config["optimizer"] == "adamw":
        return torch.optim.AdamW(groups, lr=rate)
    momentum, nesterov = config["momentum"], config["nesterov"]
    if nesterov and not momentum:
        raise UserError("train.nesterov needs a momentum; set train.momentum above 0")
    return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=nesterov)


def _is_bias(name: str) -> bool:
    """Whether a parameter is a bias, by its own name or, where it is computed, that of what it
    gives.

    >>> [_is_bias(name) for name in ("a.bias", "a.bias_map", "a.parametrizations.bias.original")]
    [True, True, True]
    >>> _is_bias("attention.in_proj_bias")
    True
    >>> _is_bias("debias.weight")
    False
    """
    *path, leaf = name.split(".")
    own = path[-1] if "parametrizations" in path else leaf
    return own.startswith("bias") or own.endswith("_bias")


def schedule(config: Mapping[str, Any], steps: int, epochs: int) -> Callable[[int], float]:
    """Return the function from a step to the factor of the learning rate at that step.

    With s the share of the steps, w the `warmup`: the rate rises over s < w, in a straight line
    (from 0, of triangular from 0.2) or, of one-cycle, along half a cosine from 0.04. Then it falls
    to 0: along half a cosine (cosine, one-cycle), in a straight line (triangular), or by `decay`
    each epoch (exponential); a constant rate stays.

    >>> rate = schedule({"schedule": "one-cycle", "warmup": None, "decay": 0.9}, 100, 10)
    >>> [round(rate(step), 3) for step in (0, 30, 100)]
    [0.04, 1.0, 0.0]
    """
    name = config["schedule"]
    falls_by_epochs = name == "exponential"
    rise = WARM_UP.get(name, 0.0) if config["warmup"] is None else config["warmup"]

    def factor(step: int) -> float:
        share = min(step / steps, 1.0)
        if share < rise:
            if name == "one-cycle":
                return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * share / rise))
            start = 0.2 if name == "triangular" else 0.0
            return start + (1.0 - start) * share / rise
        if name in ("cosine", "one-cycle"):
            return 0.5 * (1 + math.cos(math.pi * (share - rise) / (1.0 - rise)))
        if name == "triangular":
            return (1.0 - share) / (1.0 - rise)
        return float(config["decay"] ** (step // (steps / epochs))) if falls_by_epochs else 1.0

    return factor
