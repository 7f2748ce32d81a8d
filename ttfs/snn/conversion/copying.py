"""A copy of a network in `eval()`, every weight a plain parameter, to read and run, and to compute
with in float64.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.optim.swa_utils import AveragedModel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ttfs.errors import ConversionError

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
WEIGHT_HOOKS = (WeightNorm, SpectralNorm, prune.BasePruningMethod)
NARROW = (torch.float32, torch.float16, torch.bfloat16)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Float64(TorchFunctionMode):
    """While it is on, casts to another floating precision keep float64, and new tensors have it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.float, Tensor.half, Tensor.bfloat16):
            func = Tensor.double
        args = tuple(_widened(value) for value in args)
        found = func(*args, **{key: _widened(value) for key, value in (kwargs or {}).items()})
        return found.double() if isinstance(found, Tensor) and found.dtype in NARROW else found


class Narrowest(TorchDispatchMode):
    """While it is on, notes the coarsest precision of all values; autocast computes in it, too."""

    eps = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for part in found if isinstance(found, tuple | list) else (found,):
            if isinstance(part, Tensor) and part.is_floating_point():
                self.eps = max(self.eps, torch.finfo(part.dtype).eps)
        return found


def unwrapped(ann: Any) -> nn.Module:
    """Return the network inside of `DataParallel`, `torch.compile` or an average of weights."""
    while isinstance(ann, WRAPPERS) or hasattr(ann, "_orig_mod"):
        ann = ann._orig_mod if hasattr(ann, "_orig_mod") else ann.module
    kind = type(ann).__name__
    if isinstance(ann, torch.jit.ScriptModule | torch.export.ExportedProgram):
        raise ConversionError(
            f"{kind}: convert the nn.Module that it was scripted or exported from"
        )
    if not isinstance(ann, nn.Module):
        raise ConversionError(f"{kind}: is no nn.Module; convert takes a network")
    if type(ann).__module__.startswith(("ttfs.snn.", "ttfs.timed.")):
        raise ConversionError(
            f"{kind}: is a spiking network already; convert the ReLU network that it was made from"
        )
    for name, module in ann.named_modules():
        if "forward" in vars(module):
            raise ConversionError(
                f"{name or kind}: its forward was replaced in the object; define it in a subclass"
            )
        if ".quantized" in type(module).__module__:
            quantized = f"{type(module).__module__}.{type(module).__qualname__}"
            raise ConversionError(
                f"{name or kind} ({quantized}): computes with integers; convert the network that "
                "was quantized, and deploy it with few weight_bits"
            )
    return ann


@torch.no_grad()
def copied(ann: nn.Module) -> nn.Module:
    """Copy a network; its hooks stay, but for those that compute weights."""
    computed = [
        value
        for module in ann.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    try:
        ann = copy.deepcopy(ann, {id(value): value.detach().clone() for value in computed}).eval()
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ConversionError(f"{type(ann).__name__}: cannot be copied ({reason})") from error
    for module in ann.modules():
        _settle_hooks(module)
        if parametrize.is_parametrized(module):
            _settle_parametrizations(module)
    return ann


def in_float64(ann: nn.Module) -> nn.Module:
    """Widen all that a network holds, in place: weights, buffers, tensors in attributes."""
    for module in ann.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor) and value.dtype in NARROW:
                setattr(module, name, value.double())
    return ann.double()


def stripped(ann: nn.Module) -> nn.Module:
    """Return a copy without hooks."""
    ann = copy.deepcopy(ann)
    for module in ann.modules():
        for hooks in HOOKS:
            getattr(module, hooks).clear()
    return ann


def hooked(ann: nn.Module) -> list[str]:
    """Return the names of the modules with forward hooks."""
    return [
        name or type(module).__name__
        for name, module in ann.named_modules()
        if module._forward_hooks or module._forward_pre_hooks
    ]


def _settle_hooks(module: nn.Module) -> None:
    """Compute the weights that hooks compute before each call, anew: those at hand may be stale."""
    hooks: Any = module._forward_pre_hooks
    for key, hook in [item for item in hooks.items() if isinstance(item[1], WEIGHT_HOOKS)]:
        name = hook._tensor_name if isinstance(hook, prune.BasePruningMethod) else hook.name
        hook(module, ())
        weight = getattr(module, name).detach()
        del hooks[key]
        if name in vars(module):
            delattr(module, name)
        for part in ("orig", "mask", "g", "v", "u"):
            if hasattr(module, f"{name}_{part}"):
                delattr(module, f"{name}_{part}")
        module.register_parameter(name, nn.Parameter(weight))


def _settle_parametrizations(module: nn.Module) -> None:
    names: Any = module.parametrizations
    weights = {name: getattr(module, name) for name in names}
    module.__class__ = type(module).__bases__[0]  # `remove_parametrizations` breaks the original
    del module.parametrizations
    for name, weight in weights.items():
        module.register_parameter(name, nn.Parameter(weight))


def _widened(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in NARROW else value
