"""Processes that train one network together, a device and a part of each batch for each.

They are the ranks of torch's default process group, which `ttfs.stages.ranks` makes. Without one, a
process trains alone, and sums and maxima here are the values themselves.

A mean over the batch has to be the same however many ranks there are. DistributedDataParallel takes
the mean of the gradients over ranks, so each rank weighs its loss by its share of the batch; what a
layer computes from the whole batch is summed here.
"""

from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.plugins.layer_sync import LayerSync
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ttfs.snn.precision import at_least_float32


def rank() -> int:
    """Return the number of this process."""
    return dist.get_rank() if count() > 1 else 0


def count() -> int:
    """Return the number of ranks."""
    together = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if together else 1


def total(value: Tensor) -> Tensor:
    """Return the sum of a value over the ranks; gradients flow back to all of them."""
    return _Total.apply(value) if count() > 1 else value  # type: ignore[no-any-return]


class _Total(torch.autograd.Function):
    """A sum over ranks. The losses of all ranks depend on it, so their gradients are summed too."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return total(gradient)


def largest(value: Tensor) -> Tensor:
    """Return the largest value over the ranks, without gradient."""
    if count() > 1:
        value = value.clone()
        dist.all_reduce(value, dist.ReduceOp.MAX)
    return value


def gathered(value: Any) -> list[Any]:
    """Return the values of all ranks."""
    values = [value]
    if count() > 1:
        values *= count()
        dist.all_gather_object(values, value)
    return values


def shared(mean: Tensor, items: int) -> Tensor:
    """Return a mean over this rank's n_r items times R n_r / Σ n: its mean over the R ranks is the
    mean over all items.
    """
    if count() == 1:
        return mean
    own = mean.new_full((), items)
    return mean * (count() * own / total(own))


def strategy() -> Strategy | str:
    """Return Lightning's strategy for the ranks; some weights of a network may be unused."""
    if count() == 1:
        return "auto"
    return DDPStrategy(find_unused_parameters=True, forward_sync_buffers=False)


class Environment(LightningEnvironment):
    """Tells Lightning that the ranks are there already."""

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning shall start none."""
        return True

    def local_rank(self) -> int:
        """All ranks are on this machine."""
        return rank()


class WholeBatchNorm(LayerSync):
    """Has batch norm take mean and variance over the whole batch; `SyncBatchNorm` of torch does
    so on GPUs alone.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace `forward` of each batch norm."""
        for norm in _norms(model):
            norm.__dict__["forward"] = _Normalize(norm)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Leave the batch norms as they were."""
        for norm in _norms(model):
            del norm.__dict__["forward"]
        return model


def _norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


class _Normalize:
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, with mean and variance of each channel
    over the batch [N, C, ...] of all ranks.
    """

    def __init__(self, norm: _BatchNorm):
        self.norm = norm

    def __call__(self, values: Tensor) -> Tensor:
        norm = self.norm
        if not norm.training and norm.running_mean is not None:
            return type(norm).forward(norm, values)
        axes = [0, *range(2, values.dim())]
        column = (1, -1, *[1] * (values.dim() - 2))  # [1, C, 1, ...]
        wide = at_least_float32(values)
        number = total(wide.new_full((), wide.numel() / wide.shape[1]))
        mean = total(wide.sum(axes)) / number  # [C]
        centered = wide - mean.view(column)
        variance = total(centered.square().sum(axes)) / number  # [C]
        self._follow(mean.detach(), variance.detach() * number / (number - 1))
        scale = (variance + norm.eps).rsqrt()
        normal = centered * scale.view(column)
        if norm.affine:
            normal = normal * norm.weight.view(column) + norm.bias.view(column)
        return normal.to(values.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Let the running statistics follow, as torch does; the variance is the unbiased one."""
        norm = self.norm
        if norm.running_mean is None or norm.running_var is None:
            return
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        pull = norm.momentum
        if pull is None:
            pull = 1.0 / norm.num_batches_tracked.item()
        norm.running_mean.lerp_(mean.to(norm.running_mean), pull)
        norm.running_var.lerp_(variance.to(norm.running_var), pull)
