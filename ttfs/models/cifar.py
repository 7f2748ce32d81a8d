"""Networks that reach the most on CIFAR-10 for their operations, with ReLU alone."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.models.notation import size_of
from ttfs.models.whitening import IMAGES, Whitening


def convolution(before: int, after: int, pool: bool = False) -> nn.Sequential:
    """Return conv 3×3 → (max pool 2 →) batch norm → ReLU, the pool first because it is cheaper so.

    The convolution passes its inputs on at first (`dirac`, Jordan 2024), where it has filters
    enough, and the rest is drawn.
    """
    conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight[:before])
    parts = [conv, *[nn.MaxPool2d(2)] * pool, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*parts)


class Residual(nn.Module):
    """x + f(x), and no ReLU after the sum."""

    def __init__(self, *parts: nn.Module):
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """Map activations [N, C, H, W]."""
        return x + self.parts(x)


def branch(channels: int) -> Residual:
    """Return a residual branch of two convolutions."""
    return Residual(convolution(channels, channels), convolution(channels, channels))


class ScaledLinear(nn.Linear):
    """Logits (x W^T) · scale, which keeps them small while learning rates are large."""

    def __init__(self, features: int, classes: int, scale: float):
        super().__init__(features, classes, bias=False)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Map features [N, F] to logits."""
        return super().forward(x) * self.scale


class Whitened(nn.Sequential):
    """A network whose first layer whitens; `prepare` sets it from training images."""

    prepared_by = IMAGES

    def prepare(self, images: Tensor) -> None:
        """Set the weights of the first layer from training images [N, C, H, W]."""
        first = self[0]
        assert isinstance(first, Whitening)
        first.whiten_(images)


def build_cifar(config: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the network that `config` names: `airbench` or `resnet9`; see `ttfs.models.build`.

    Raises UserError for inputs that are no images, or too small for its poolings.
    """
    [(family, builder)] = ((key, BUILDERS[key]) for key in BUILDERS if key in config)
    if len(shape) != 3 or min(shape[1:]) < 17:
        raise UserError(
            f"model '{config['id']}': {family} takes images of 17×17 pixels or more, these are "
            f"{size_of(shape)}"
        )
    return builder(config[family], shape, classes)


def _airbench(options: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> nn.Module:
    """Whitening, then groups conv-pool-norm-ReLU, conv-norm-ReLU (`residual`: a branch of two in
    the place of the second), and the maximum over what is left of the image (Jordan 2024).
    """
    first = Whitening(shape[0])
    network = Whitened(first)
    before = first.channels
    for after in options["widths"]:
        network.append(convolution(before, after, pool=True))
        network.append(branch(after) if options["residual"] else convolution(after, after))
        before = after
    return _finish(network, before, classes, 1 / 9)


def _resnet9(options: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> nn.Module:
    """Convolutions of w, 2 w, 4 w and 8 w filters, the second and the last with a residual branch
    of two (Page 2019).
    """
    width = options["width"]
    network = nn.Sequential(
        convolution(shape[0], width),
        convolution(width, 2 * width, pool=True),
        branch(2 * width),
        convolution(2 * width, 4 * width, pool=True),
        convolution(4 * width, 8 * width, pool=True),
        branch(8 * width),
    )
    return _finish(network, 8 * width, classes, 1 / 8)


def _finish(body: nn.Sequential, channels: int, classes: int, scale: float) -> nn.Module:
    body.append(nn.AdaptiveMaxPool2d(1))
    body.append(nn.Flatten())
    body.append(ScaledLinear(channels, classes, scale))
    return body


BUILDERS: dict[str, Callable[..., nn.Module]] = {"airbench": _airbench, "resnet9": _resnet9}
