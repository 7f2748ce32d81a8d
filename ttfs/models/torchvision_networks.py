"""Networks of torchvision by name."""

import copy
import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchvision import models

from ttfs.errors import UserError
from ttfs.models.notation import size_of
from ttfs.models.trial import try_out


def build_by_name(config: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return torchvision's network `config["torchvision"]`; see `ttfs.models.build`.

    Weights are random, drawn as torchvision does. `config["arguments"]` go to its constructor.
    """
    name, model = config["torchvision"], f"model '{config['id']}'"
    arguments = config.get("arguments", {})
    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3) or ["vgg11_bn", "resnet18"]
        raise UserError(
            f"{model}, key 'torchvision': no network '{name}'; near it are {', '.join(close)}"
        )
    forbidden = {"weights", "num_classes"} & set(arguments)
    if forbidden:
        raise UserError(
            f"{model}, key 'arguments.{min(forbidden)}': remove it; weights are random, and the "
            "data set gives the classes"
        )
    if len(shape) != 3 or shape[0] != 3:
        raise UserError(
            f"{model}: torchvision's {name} takes images of 3 channels, these are "
            f"{size_of(shape)}; take a data set in color, or a network of key 'layers'"
        )
    try:
        network = models.get_model(name, weights=None, num_classes=classes, **arguments)
    except (TypeError, ValueError, NotImplementedError) as error:  # the last is torchvision's word
        raise UserError(
            f"{model}, key 'arguments': torchvision's {name} refuses them: {error}"
        ) from None
    try_out(network, shape, classes, f"{model}: torchvision's {name}")
    if getattr(network, "aux_logits", False):
        _try_heads(network, shape, f"{model}: torchvision's {name}")
    return network


def _try_heads(network: nn.Module, shape: tuple[int, ...], name: str) -> None:
    """Refuse inputs that the auxiliary heads do not take; they answer in training alone."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            copy.deepcopy(network).train()(torch.zeros(2, *shape))
    except RuntimeError:
        raise UserError(
            f"{name} has auxiliary heads that do not take inputs of {size_of(shape)}; set "
            "arguments: {aux_logits: false}"
        ) from None
