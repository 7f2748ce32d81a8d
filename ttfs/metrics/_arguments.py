"""What functions of this package take, checked: a tensor of another shape would broadcast."""

from collections.abc import Sequence
from typing import Any


def check_network(snn: Any, function: str) -> None:
    """Raise TypeError, which begins with the function, unless it is a network of `ttfs.convert`."""
    if not hasattr(snn, "charges"):
        raise TypeError(f"{function}: takes a network of ttfs.convert, not {type(snn).__name__}")


def check_shape(tensor: Any, shape: Sequence[int | str], what: str) -> None:
    """Raise ValueError, which begins with `what`, unless a tensor has this shape and holds
    something; a letter stands for any size.
    """
    found = getattr(tensor, "shape", None)
    if found is None or not hasattr(tensor, "numel"):
        raise TypeError(f"{what} are {type(tensor).__name__}; give a torch.Tensor")
    fits = [isinstance(size, str) or size == own for size, own in zip(shape, found, strict=False)]
    if len(found) != len(shape) or not all(fits):
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{what} have shape {list(found)}; give [{wanted}]")
    if not tensor.numel():
        raise ValueError(f"{what} are empty; give one item at least")
