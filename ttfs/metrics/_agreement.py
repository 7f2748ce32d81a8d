"""How right a network is, and how like another."""

from torch import Tensor


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the top-1 accuracy in percent: 100 / N * sum over images of [argmax of logits = label].

    Shapes: logits [N, classes], labels [N]. The first of equal logits wins.

    >>> from torch import tensor
    >>> accuracy(tensor([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]), tensor([1, 0, 0, 1]))
    75.0
    """
    return 100.0 * (logits.argmax(1) == labels).double().mean().item()


def agreement(logits: Tensor, reference: Tensor) -> float:
    """Return the share of images, in percent, for which both networks answer the same class.

    100 / N * sum over images of [argmax of logits = argmax of reference]; both [N, classes]. It says whether a
    mapping is faithful, which equal accuracies do not: two networks can be wrong on different images.

    >>> from torch import tensor
    >>> agreement(tensor([[2.0, 1.0], [0.0, 1.0]]), tensor([[5.0, 3.0], [1.0, 0.0]]))
    50.0
    """
    return accuracy(logits, reference.argmax(1))
