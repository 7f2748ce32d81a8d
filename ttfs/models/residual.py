"""Residual networks in the form for CIFAR (He et al. 2016, arXiv 1512.03385, section 4.2)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.models.notation import size_of


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut, a 1×1 convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False)


class PostBlock(Block):
    """The ReLU follows the sum: relu(norm(conv(relu(norm(conv(x))))) + shortcut(x))."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__(before, after, stride)
        self.norm1, self.norm2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        if not isinstance(self.shortcut, nn.Identity):
            self.shortcut = nn.Sequential(self.shortcut, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """Map activations [N, C, H, W]."""
        y = self.relu1(self.norm1(self.conv1(x)))
        return self.relu2(self.norm2(self.conv2(y)) + self.shortcut(x))


class PreBlock(Block):
    """The shortcut starts after the ReLU, and no ReLU follows the sum.

    a = relu(norm(x)); conv(relu(norm(conv(a)))) + shortcut(a). So a spiking network sends spikes
    over the shortcut, and never fires at the sum, which flows into the next block: the block of the
    public code of DSR (Meng et al. 2022).
    """

    def __init__(self, before: int, after: int, stride: int):
        super().__init__(before, after, stride)
        self.norm1, self.norm2 = nn.BatchNorm2d(before), nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        """Map sums [N, C, H, W]."""
        a = self.relu1(self.norm1(x))
        y = self.relu2(self.norm2(self.conv1(a)))
        return self.conv2(y) + self.shortcut(a)


def build_residual(config: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the residual network `config["residual"]`; see `ttfs.models.build`.

    A convolution of `width` filters, stages of `blocks` with width, 2 width, 4 width, … filters on
    maps halved from stage to stage, global average pooling and a linear layer. `depth` = 6 n + 2
    layers with weights stand for three stages of n blocks. Convolutions are drawn as in He et al.
    2015 (normal, fan_out), but the last one of a `pre` block starts at 0, as the last scale does in
    Goyal et al. 2017 (arXiv 1706.02677, section 5.1): no norm bounds the sums of these blocks, and
    a hundred layers of drawn ones hardly learn. Raises UserError for another depth, and for inputs
    that are no images.
    """
    options, model = config["residual"], f"model '{config['id']}'"
    if len(shape) != 3:
        raise UserError(f"{model}: a residual network takes images, these are {size_of(shape)}")
    width, pre = options["width"], options["block"] == "pre"
    kind = PreBlock if pre else PostBlock
    network = nn.Sequential()
    network.add_module("conv", nn.Conv2d(shape[0], width, 3, 1, 1, bias=False))
    if not pre:
        _add_norm(network, width)
    before = width
    for stage, count in enumerate(_blocks(options, model), start=1):
        after = width * 2 ** (stage - 1)
        for number in range(1, count + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            network.add_module(f"block{stage}_{number}", kind(before, after, stride))
            before = after
    if pre:
        _add_norm(network, before)
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("output", nn.Linear(before, classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for module in network.modules():
        if isinstance(module, PreBlock):
            nn.init.zeros_(module.conv2.weight)
    return network


def _add_norm(network: nn.Sequential, channels: int) -> None:
    network.add_module("norm", nn.BatchNorm2d(channels))
    network.add_module("relu", nn.ReLU())


def _blocks(options: Mapping[str, Any], model: str) -> list[int]:
    """The number of blocks of each stage."""
    if "blocks" in options:
        return list(options["blocks"])
    depth = options["depth"]
    if depth < 8 or depth % 6 != 2:
        near = max(8, depth - (depth - 2) % 6)
        raise UserError(f"{model}, key 'residual.depth': {depth} is not 6 n + 2; take {near}, say")
    return [(depth - 2) // 6] * 3
