"""Windows that follow the potentials while a TTFS network learns."""

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ttfs.snn._network import SpikingNetwork


class WindowGrowth:
    """After each training batch, T <- max(T, growth x largest potential of the batch), layer by layer.

    Windows never shrink (Stanojevic et al. 2024, published code, with growth 10). Times count from the end of a window,
    so a wider one changes no charge: it only makes room. A potential above T is clipped in the batch where it first
    appears, which a growth of 10 makes rare.

    Call `start` before training, `grow` after each batch, `stop` when the network is to outlive its training.
    """

    def __init__(self, snn: SpikingNetwork, growth: float):
        self._layers = list(snn.layers.values())
        self._growth = growth
        self._largest: dict[nn.Module, Tensor] = {}
        self._hooks: list[RemovableHandle] = []

    def start(self) -> None:
        """Listen to the potentials that reach each layer."""
        self._hooks = [layer.register_forward_pre_hook(self._measure) for layer in self._layers]

    def grow(self) -> None:
        """Widen the windows that the last batch came close to."""
        for layer in self._layers:
            layer.width = max(layer.width, self._growth * self._largest[layer].item())

    def stop(self) -> None:
        """Listen no more."""
        for hook in self._hooks:
            hook.remove()

    def _measure(self, layer: nn.Module, inputs: tuple[Tensor]) -> None:
        if layer.training:
            self._largest[layer] = inputs[0].detach().amax()
