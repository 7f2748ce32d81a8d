"""Streams of random numbers: the chance of a chip from spike to spike and from step to step."""

from typing import Any

import torch
from torch import Tensor, nn

State = tuple[str, Tensor] | None
"""The device of a stream and how far it has come there; None before the first number."""


class Stream:
    """Random numbers of one part of a chip; each call of what draws them goes on in the stream.

    It begins at its seed on the device that first asks for numbers, and anew on another device.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self._generator: torch.Generator | None = None

    def on(self, device: torch.device) -> torch.Generator:
        """Return what draws the next numbers on a device."""
        if self._generator is None or self._generator.device != device:
            self._generator = torch.Generator(device).manual_seed(self.seed)
        return self._generator

    def normal(self, like: Tensor) -> Tensor:
        """Draw N(0, 1) of a tensor's shape, dtype and device, however it lies in memory."""
        return torch.randn(
            like.shape, generator=self.on(like.device), dtype=like.dtype, device=like.device
        )

    def uniform(self, like: Tensor) -> Tensor:
        """Draw from [0, 1) in float32 at least: numbers of few digits have another share below a
        small one.
        """
        dtype = torch.promote_types(like.dtype, torch.float32)
        return torch.rand(
            like.shape, generator=self.on(like.device), dtype=dtype, device=like.device
        )

    @property
    def state(self) -> State:
        """How far it has come; set it to go on from there."""
        if self._generator is None:
            return None
        return str(self._generator.device), self._generator.get_state()

    @state.setter
    def state(self, state: State) -> None:
        self._generator = None
        if state is not None:
            device, place = state
            self._generator = torch.Generator(device)
            self._generator.set_state(place)


def streams(chip: nn.Module) -> list[Stream]:
    """Return the streams of a chip's parts, in the order of its modules; of others, none."""
    found: list[Any] = []
    for module in chip.modules():
        parts = module, getattr(module, "imperfections", None), getattr(module, "reads", None)
        found += [getattr(part, "stream", None) for part in parts]
    return [stream for stream in found if isinstance(stream, Stream)]
