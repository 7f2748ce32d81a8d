"""The precision of sums, and of what has more levels than half precision has digits."""

import torch
from torch import Tensor


def at_least_float32(value: Tensor) -> Tensor:
    """Return a value of a narrower type as float32, others as they are."""
    return value.to(torch.promote_types(value.dtype, torch.float32))
