"""ReLU networks, one YAML file each: in the field's notation, residual, torchvision's, or
imported.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ttfs.models.notation import Layer, padding_of, parse

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Layer", "build", "padding_of", "parse", "prepare"]


def build(config: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> "nn.Module":
    """Return an untrained network that maps inputs [N, *shape] to logits [N, classes].

    `config` is a file of `configs/models`, checked and completed by `ttfs.config.read_yaml`.
    `shape` is (C, H, W) of an image, (C, L) of a sequence or (F,) of a vector. Weights are random,
    drawn from torch's global generator: the same after the same `torch.manual_seed`. Raises
    UserError, naming the model, where the notation is wrong, a module cannot be imported, or the
    network does not fit the inputs.

    >>> config = {"id": "tiny", "layers": "4C3-P2-20", "padding": "same", "batch_norm": "none",
    ...           "dropout": 0.0, "initialization": "he-uniform"}
    >>> [name for name, _ in build(config, (1, 8, 8), 10).named_children()]
    ['conv1', 'relu1', 'pool1', 'flatten', 'linear2', 'relu2', 'output']
    """
    # torch takes a second to import and torchvision many: only who builds a network pays for it.
    if "torchvision" in config:
        from ttfs.models.torchvision_networks import build_by_name

        return build_by_name(config, shape, classes)
    if "residual" in config:
        from ttfs.models.residual import build_residual

        return build_residual(config, shape, classes)
    if "airbench" in config or "resnet9" in config:
        from ttfs.models.cifar import build_cifar

        return build_cifar(config, shape, classes)
    if "module" in config:
        from ttfs.models.imported import build_imported

        return build_imported(config, shape, classes)
    from ttfs.models.sequential import build_sequential

    return build_sequential(config, shape, classes)


def prepare(network: Any, some: "Callable[[int], Tensor]") -> None:
    """Let a network with a method `prepare(images)` set weights from training images; `some(n)`
    gives as many as its `prepared_by` says.
    """
    if hasattr(network, "prepare"):
        network.prepare(some(network.prepared_by))
