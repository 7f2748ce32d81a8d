"""Random networks: graphs of everything that conversion maps, in every order that makes sense."""

import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from kit.exactness import IMAGE
from torch import Tensor, nn

Operation = nn.Module | Callable[..., Tensor]
RECTIFIERS: list[Operation] = [F.relu, torch.relu, nn.ReLU(), lambda x: x.relu()]
INPLACE_RECTIFIERS: list[Operation] = [torch.relu_, nn.ReLU(inplace=True), lambda x: x.relu_()]


NAMES = [
    "relu",
    "relu",
    "norm",
    "dropout",
    "max",
    "conv",
    "conv",
    "conv",
    "mean",
    "add",
    "add",
    "cat",
]
REACH: dict[str, list[Operation]] = {
    "clipped": [
        F.relu6, lambda x: x.clamp(-0.2, 0.7), lambda x: x.clamp(max=0.4), nn.Hardtanh(-1, 0.3),
    ],
    "leaky": [lambda x: F.leaky_relu(x, 0.3), nn.LeakyReLU(-0.5), lambda x: x.abs()],
    "scaled": [lambda x: 1 - 2 * x, lambda x: x / 4 + 0.5, lambda x: -x],
    "moved": [
        lambda x: x.flip(1), lambda x: x[:, :, 1:].clone(),
        lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
        lambda x: F.pad(x, (1, 0, 0, 1)), nn.ReflectionPad2d(1),
        lambda x: x.transpose(2, 3).contiguous(),
    ],
    "resized": [
        lambda x: F.interpolate(x[:, :, ::2, ::2], scale_factor=2),
        lambda x: F.interpolate(x, x.shape[2:][::-1], mode="bilinear"),
        lambda x: F.conv_transpose2d(
            x, torch.eye(x.shape[1]).to(x)[:, :, None, None] * torch.ones(2, 2).to(x), None, 2
        )[:, :, 1:6, 1:6],
        lambda x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1), "reflect"), 2, 1),
    ],
    "larger": [
        lambda x: torch.maximum(x, x.flip(2)), lambda x: torch.max(1 - x, x),
        lambda x: x.amax(1, keepdim=True), lambda x: torch.minimum(x.flip(1), 1 - x),
        lambda x: torch.minimum(torch.linspace(-0.2, 0.6, x.shape[3]).to(x), x),
        lambda x: x.clamp(min=torch.linspace(-0.3, 0.4, x.shape[2]).to(x)[:, None]),
    ],
    "summed": [
        lambda x: x.sum(2, keepdim=True).repeat(1, 1, x.shape[2], 1),
        lambda x: F.adaptive_max_pool2d(x, 3),
    ],
}  # fmt: skip


class RandomNetwork(nn.Module):
    """A random graph: each step applies an operation to one or two of the last values, inplace or
    not.
    """

    def __init__(self, steps: int):
        super().__init__()
        self.plan: list[tuple[Operation, list[int]]] = []
        self.learned = nn.ModuleList()
        values, self.kinds, self.aliased = [torch.zeros(1, *IMAGE)], ["spikes"], [False]
        while len(self.plan) < steps:
            operation, sources, kind = self._draw([value.shape for value in values])
            try:
                value = operation(*(values[i].clone() for i in sources))
            except RuntimeError:  # padding or a kernel larger than the image
                continue
            if value.shape[1] > 16 or min(value.shape[2:]) < 2:
                continue
            self._mark_aliases(operation, sources)
            self.plan.append((operation, sources))
            if isinstance(operation, nn.Module):
                self.learned.append(operation)
            values.append(value)
            self.kinds.append(kind)
        self.mean = random.random() < 0.5
        self.head = nn.Linear(values[-1].shape[1] if self.mean else values[-1].numel(), 5)

    def _draw(self, shapes: list[torch.Size]) -> tuple[Operation, list[int], str]:
        """Return an operation, the values it takes, and what comes out: "spikes" or "potential"."""
        source = random.randrange(max(0, len(shapes) - 4), len(shapes))
        kind, channels = self.kinds[source], shapes[source][1]
        others = [i for i, shape in enumerate(shapes) if shape[2:] == shapes[source][2:]]
        alike = [i for i in others if shapes[i] == shapes[source]]
        name = random.choice([*NAMES, *NAMES, *REACH])
        if name in REACH:
            return random.choice(REACH[name]), [source], "potential"
        if name == "relu":
            inplace = [] if self.aliased[source] else INPLACE_RECTIFIERS
            return random.choice([*RECTIFIERS, *inplace]), [source], "spikes"
        if name == "norm":
            return nn.BatchNorm2d(channels, affine=random.random() < 0.8).eval(), [source], kind
        if name == "dropout":
            return (
                random.choice([nn.Dropout(), nn.Identity(), nn.Dropout2d()]).eval(),
                [source],
                kind,
            )
        if name == "max":
            pool = nn.MaxPool2d(
                *random.choice([(2, 2, 0), (3, 1, 1), (3, 2, 1), (2, 1, 0)]),
                ceil_mode=random.random() < 0.3,
            )
            return pool, [source], kind
        if name == "mean":
            counts = random.random() < 0.5
            return (
                nn.AvgPool2d(3, random.choice([1, 2]), 1, count_include_pad=counts),
                [source],
                "potential",
            )
        if name == "add":
            return torch.add, [source, random.choice(alike)], "potential"
        if name == "cat":
            other = random.choice(others)
            same = {kind, self.kinds[other]} == {"spikes"}
            return (
                lambda *parts: torch.cat(parts, 1),
                [source, other],
                "spikes" if same else "potential",
            )
        return self._convolution(channels), [source], "potential"

    def _convolution(self, channels: int) -> nn.Conv2d:
        kernel, mode = (
            random.choice([1, 2, 3]),
            random.choice(["zeros", "zeros", "reflect", "replicate", "circular"]),
        )
        stride, dilation = random.choice([1, 1, 2]), random.choice([1, 1, 2])
        padding = random.choice([0, 1, "valid"] + (["same"] if stride == 1 and kernel != 2 else []))
        groups = random.choice([g for g in (1, 2, channels) if channels % g == 0])
        after = groups * random.randint(1, max(1, 8 // groups))
        return nn.Conv2d(
            channels, after, kernel, stride, padding, dilation, groups, random.random() < 0.7, mode
        )

    def _mark_aliases(self, operation: Operation, sources: list[int]) -> None:
        """Nothing writes into a value that another value shares memory with: no graph shows
        that.
        """
        writes = operation in INPLACE_RECTIFIERS
        alias = writes or isinstance(operation, nn.Dropout | nn.Dropout2d | nn.Identity)
        self.aliased[sources[0]] |= alias
        self.aliased.append(alias)
        if writes:
            self.kinds[sources[0]] = "spikes"

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for operation, sources in self.plan:
            values.append(operation(*(values[i] for i in sources)))
        return self.head(values[-1].mean((2, 3)) if self.mean else values[-1].flatten(1))
