"""Numbers that say what a network is, kept where checkpoints and averages of weights find them."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn


class Numbers(nn.Module):
    """A module with numbers that are float64 buffers on the CPU, whatever dtype and device the rest
    has.

    As buffers they are part of `state_dict`, and are averaged with the weights
    (`torch.optim.swa_utils`) and stored by formats that know tensors alone. A window is as wide in
    half precision as in double, and reading a number in each forward pass waits for no GPU; the
    step count of `torch.optim.Adam` stays on the CPU for the same reason.
    """

    _numbers: tuple[str, ...] = ()

    def register_number(self, name: str, value: float | tuple[float, ...]) -> None:
        """Keep a number, or several, as a buffer of that name."""
        self.register_buffer(name, torch.tensor(value, dtype=torch.float64, device="cpu"))
        self._numbers = (*self._numbers, name)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Change all else as `to`, `half` or `cuda` ask for; the numbers stay as they are."""
        buffers: Any = self._buffers
        numbers = {name: buffers[name] for name in self._numbers}
        try:
            return super()._apply(fn, recurse)
        finally:
            buffers.update(numbers)
