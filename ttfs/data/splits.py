"""One part of a data set, and how it is batched."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat

import torch
from torch import Tensor

from ttfs.data.augment import Augment, Moves
from ttfs.data.inputs import Inputs

FEW = 0.1
"""A split lies class by class where classes change less often than this share of chance."""
GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, without their whole part, are evenly spread on [0, 1], however many there are."""


@dataclass(frozen=True)
class Normalize:
    """y = (x − mean) / std for each channel, or each feature of a vector."""

    mean: Tensor
    std: Tensor

    def __call__(self, inputs: Tensor) -> Tensor:
        """Normalize float32 inputs [N, C, ...] in place."""
        column = (-1, *[1] * (inputs.ndim - 2))
        mean, std = (
            value.to(inputs.device, non_blocking=True).view(column)
            for value in (self.mean, self.std)
        )
        return inputs.sub_(mean).div_(std)

    def range(self, low: float, high: float) -> tuple[float, float]:
        """Return the smallest and the largest y for x in [low, high], over all channels."""
        lowest, highest = (self(torch.full((1, len(self.mean)), end)) for end in (low, high))
        return float(lowest.min()), float(highest.max())


@dataclass(frozen=True)
class Split:
    """Inputs and their labels (int64 [N]): the training, validation or test part of a data set."""

    inputs: Inputs
    labels: Tensor
    augment: Augment
    normalize: Normalize | None
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def some(self, count: int) -> "Split":
        """Return `count` inputs, or all where there are fewer: the first ones, or evenly spread
        ones where the split lies class by class, as folders of images do, in an order whose
        beginnings are evenly spread, too.
        """
        places = torch.arange(min(count, len(self)))
        if self._lies_by_class():
            order = (places.double() * GOLDEN % 1.0).argsort()
            places = (places * len(self) // len(places))[order]
        return replace(self, inputs=self.inputs.subset(places), labels=self.labels[places])

    def _lies_by_class(self) -> bool:
        """Whether the class changes from input to input far less often than by chance."""
        shares = self.labels.bincount().double() / len(self)
        by_chance = (len(self) - 1) * (1.0 - shares.square().sum().item())
        return int((self.labels.diff() != 0).sum()) < FEW * by_chance

    def one_batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Return `some` inputs, float32 [n, *shape], and their labels, on the CPU."""
        return next(iter(self.some(count).batches(count)))

    def batches(
        self,
        batch_size: int,
        generator: torch.Generator | None = None,
        augment: bool = False,
        device: str | torch.device = "cpu",
        rank: int = 0,
        ranks: int = 1,
    ) -> "Batches":
        """Return the batches of an epoch: (inputs float32 [n, *shape], labels int64 [n], or, where
        cutmix mixes images, their shares of the classes, float32 [n, classes]).

        With a generator (of the CPU) the inputs are shuffled and, where asked, augmented. The same
        state gives the same batches on every device, however many workers read. Each epoch draws an
        order and one seed from the generator, so the orders are the same with and without
        augmentation, and whether or not an epoch is run to its end.

        Without a generator the inputs come in order. The last batch may be small; no input is
        dropped. Where shuffled, for training, a last input alone joins the batch before it, because
        batch norm cannot learn from one input.

        Of `ranks` processes that learn together, this one has its part of each batch: the parts,
        in order of rank, are the batch that one process alone would have, and differ in size by one
        at most. Cutmix alone takes its boxes from the process's own part. A last batch in order
        with fewer inputs than ranks joins the batch before it.
        """
        if augment and generator is None:
            raise ValueError("augmentation is drawn from a generator: give one")
        device = torch.device(device)
        return Batches(self, batch_size, generator, augment, device, rank, ranks)


@dataclass
class Batches:
    """The batches of one split; each iteration is a new epoch."""

    split: Split
    batch_size: int
    generator: torch.Generator | None
    augment: bool
    device: torch.device
    rank: int = 0
    ranks: int = 1
    epoch: int = 0
    """Epochs so far; images that are mirrored in every other one go by it."""

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """Inputs in each batch, over all ranks."""
        full, rest = divmod(len(self.split), self.batch_size)
        least = self.ranks if self.generator is None else 2
        if full and 0 < rest < least:
            return [self.batch_size] * (full - 1) + [self.batch_size + rest]
        return [self.batch_size] * full + [rest] * (rest > 0)

    def _part(self, size: int) -> slice:
        """The part of a batch of a size that this rank has."""
        return slice(size * self.rank // self.ranks, size * (self.rank + 1) // self.ranks)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        split = self.split
        moves = torch.Generator()
        if self.generator is None:
            order = torch.arange(len(split))
        else:
            order = torch.randperm(len(split), generator=self.generator)
            moves.manual_seed(int(torch.randint(2**62, (), generator=self.generator)))
        own = [places[self._part(len(places))] for places in order.split(self.sizes)]
        order, counts = torch.cat(own), [len(places) for places in own]
        turned = self._turned(order).split(counts) if self._alternates else repeat(None)
        self.epoch += 1
        labels = split.labels[order].to(self.device).split(counts)
        inputs = split.inputs.batches(own, self.device)
        rows = zip(self.sizes, inputs, labels, turned, strict=False)
        for size, stored, classes, mirrored in rows:
            values = stored.float().div_(255) if stored.dtype == torch.uint8 else stored
            if self.augment:
                drawn = self._moves(values, size, moves, mirrored)
                values = split.augment.move(values, drawn)
                values, classes = split.augment.mix(values, classes, drawn, split.classes)
            if split.normalize is not None:
                values = split.normalize(values)
            yield values, classes

    def _moves(
        self, values: Tensor, size: int, generator: torch.Generator, mirrored: Tensor | None
    ) -> Moves:
        """The moves of this rank's part of a batch; those of the whole batch are drawn."""
        shape = torch.Size((size, *values.shape[1:]))
        moves = self.split.augment.draw(shape, generator).of(self._part(size))
        moves = moves if mirrored is None else moves._replace(flip=mirrored)
        return moves.to(values.device)

    @property
    def _alternates(self) -> bool:
        return self.augment and self.split.augment.flip == "alternating"

    def _turned(self, order: Tensor) -> Tensor:
        """Which of these are mirrored in this epoch: at random in the first, by turns after it."""
        assert self.generator is not None
        drawn = torch.Generator().manual_seed(self.generator.initial_seed())
        first = torch.randint(2, (len(self.split),), generator=drawn).bool()
        return first[order] ^ bool(self.epoch % 2)


def hold_out(labels: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split the places 0 … N−1 at random into (kept, held out [count]), both ascending.

    Systematic sampling: shuffle, sort by class, take every (N / count)-th. So each class gives its
    share of `count`, ± 1.
    """
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    taken = by_class[(2 * torch.arange(count) + 1) * len(labels) // (2 * count)]
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[taken] = True
    return (~held).nonzero().view(-1), held.nonzero().view(-1)
