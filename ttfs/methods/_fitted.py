"""Classifiers that scikit-learn fits, kept as tensors: reading tensors runs no code."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ttfs.data import Split
from ttfs.errors import UserError
from ttfs.methods._job import Job, Row
from ttfs.metrics import Subject, measure
from ttfs.seeds import seed

DENSE = 0.1
"""Share of values other than 0 from which inputs are fitted as a dense matrix."""


def inputs(split: Split) -> tuple[Any, np.ndarray]:
    """Return inputs [N, F], a dense or a sparse matrix, and classes [N] of a split, in order."""
    from scipy.sparse import csr_matrix

    items, labels = zip(*split.batches(1000), strict=True)
    values = torch.cat(items).flatten(1).numpy()
    sparse = np.count_nonzero(values) < DENSE * values.size
    return csr_matrix(values) if sparse else values, torch.cat(labels).numpy()


def fit(estimator: Any, job: Job) -> Any:
    """Return the estimator, fitted on the training split; UserError where it did not converge."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils import get_tags

    items, labels = inputs(job.data.train)
    missing = set(range(job.data.classes)) - set(labels.tolist())
    if missing:
        raise UserError(f"class {min(missing)} has no training item; a fit needs one of each class")
    if not get_tags(estimator).input_tags.sparse and not isinstance(items, np.ndarray):
        items = items.toarray()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return estimator.fit(items, labels)
        except ConvergenceWarning as error:
            reason = " ".join(str(error).split())[:100]
            raise UserError(f"not converged ({reason}); raise key 'iterations'") from None


def random_state(job: Job) -> int:
    """Return the seed of the fit: scikit-learn takes 32 bits."""
    return seed(*job.axes, "fit") % 2**32


def measure_fitted(classifier: "Fitted", job: Job) -> list[Row]:
    """Return the rows of a classifier over the test split."""
    from ttfs.methods._answers import answers

    subject = Subject(job.data.classes, facts={"parameters": classifier.numbers})
    return list(measure(subject, answers(classifier, job)))


class Fitted(nn.Module, ABC):
    """Items [N, ...] to logits [N, classes], from arrays that a fit left."""

    def __init__(self, arrays: Mapping[str, Any]):
        super().__init__()
        for name, array in arrays.items():
            self.register_buffer(name, torch.as_tensor(array))

    @property
    def numbers(self) -> int:
        """How many numbers the fit left."""
        return sum(buffer.numel() for buffer in self.buffers())

    def forward(self, items: Tensor) -> Tensor:
        """Return the decision function in float64."""
        return self.decide(items.flatten(1).double())

    @abstractmethod
    def decide(self, items: Tensor) -> Tensor:
        """Return the logits of items [N, F]."""


class Linear(Fitted):
    """Logits x W^T + b; `weight` [classes, F], `bias` [classes]. Of two classes the first has 0."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, estimator: Any) -> "Linear":
        """Return the classifier of a linear estimator."""
        weight, bias = estimator.coef_.astype(np.float64), estimator.intercept_.astype(np.float64)
        if len(weight) == 1:  # of two classes
            weight, bias = np.vstack([0 * weight, weight]), np.append(0 * bias, bias)
        return cls({"weight": weight, "bias": bias})

    @property
    def numbers(self) -> int:
        """How many numbers the fit left; of two classes, one has none."""
        return super().numbers // (2 if len(self.bias) == 2 else 1)

    def decide(self, items: Tensor) -> Tensor:
        """Return the logits of items [N, F]."""
        return items @ self.weight.T + self.bias


class Kernel(Fitted):
    """Support vectors with a Gaussian kernel exp(−γ |x − s|²), one classifier a pair of classes.

    `vectors` [S, F], sorted by class; `dual` [classes − 1, S], `bias` [pairs], `counts` [classes]
    vectors of each class, `gamma`. Pair (i, j) votes for i where Σ dual · kernel + bias > 0.
    """

    vectors: Tensor
    dual: Tensor
    bias: Tensor
    counts: Tensor
    gamma: Tensor

    @classmethod
    def of(cls, machine: Any) -> "Kernel":
        """Return the classifier of a fitted `sklearn.svm.SVC`."""
        vectors, dual = machine.support_vectors_, machine.dual_coef_
        vectors, dual = (a if isinstance(a, np.ndarray) else a.toarray() for a in (vectors, dual))
        bias = machine.intercept_
        if len(machine.n_support_) == 2:  # scikit-learn turns the signs of two classes around
            dual, bias = -dual, -bias
        arrays = {"vectors": vectors, "dual": dual, "bias": bias}
        doubles = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
        gamma = np.float64(machine._gamma)
        return cls(doubles | {"counts": machine.n_support_.astype(np.int64), "gamma": gamma})

    def decide(self, items: Tensor) -> Tensor:
        """Return the votes [N, classes]; sums of decisions, below 1/3, part equal votes."""
        kernel = torch.exp(-self.gamma * torch.cdist(items, self.vectors).square())
        parts = kernel.split(self.counts.tolist(), dim=1)
        duals = self.dual.split(self.counts.tolist(), dim=1)
        classes = len(parts)
        votes, sums = (items.new_zeros(len(items), classes) for _ in range(2))
        pairs = ((i, j) for i in range(classes) for j in range(i + 1, classes))
        for bias, (i, j) in zip(self.bias, pairs, strict=True):
            decision = parts[i] @ duals[i][j - 1] + parts[j] @ duals[j][i] + bias
            votes[:, i] += decision > 0
            votes[:, j] += decision <= 0
            sums[:, i] += decision
            sums[:, j] -= decision
        return votes + sums / (3 * (sums.abs() + 1))


class Trees(Fitted):
    """Sums of regression trees: from a node to `left` where feature <= threshold, else to `right`.

    All nodes of all trees are in one list; a leaf is its own left and right. `roots` [rounds, trees
    a round], `depth` steps reach a leaf, `start` holds the first logits.
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    value: Tensor
    roots: Tensor
    depth: Tensor
    start: Tensor

    @classmethod
    def of(cls, boosted: Any) -> "Trees":
        """Return the classifier of a fitted `sklearn.ensemble.HistGradientBoostingClassifier`."""
        trees = [tree.nodes for row in boosted._predictors for tree in row]
        ends = np.cumsum([len(nodes) for nodes in trees])
        first = ends - [len(nodes) for nodes in trees]
        nodes = np.concatenate(trees)
        own, base = np.arange(len(nodes)), np.repeat(first, ends - first)
        leaf = nodes["is_leaf"].astype(bool)
        feature = np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64)
        arrays = {
            "feature": feature,
            "threshold": nodes["num_threshold"].astype(np.float64),
            "left": np.where(leaf, own, base + nodes["left"]),
            "right": np.where(leaf, own, base + nodes["right"]),
            "value": nodes["value"].astype(np.float64),
            "roots": first.reshape(len(boosted._predictors), -1),
            "depth": np.int64(nodes["depth"].max()),
            "start": np.asarray(boosted._baseline_prediction, dtype=np.float64).reshape(-1),
        }
        return cls(arrays)

    def decide(self, items: Tensor) -> Tensor:
        """Return the logits of items [N, F]; two classes have 0 and the one sum."""
        logits = self.start.repeat(len(items), 1)
        rows = torch.arange(len(items))[:, None]
        for roots in self.roots:
            node = roots.repeat(len(items), 1)  # [N, trees of the round]
            for _ in range(int(self.depth)):
                low = items[rows, self.feature[node]] <= self.threshold[node]
                node = torch.where(low, self.left[node], self.right[node])
            logits = logits + self.value[node]
        return torch.cat([0 * logits, logits], 1) if logits.shape[1] == 1 else logits
