"""Files by their metadata: seconds of encoding, training and answers, beside scikit-learn.

    OMP_NUM_THREADS=1 python benchmarks/files.py [--dataset debian-packages] [--records 5000]

Processor time of one thread. The encodings take all rows of the table, the classifiers so many
labeled records. Training of scikit-learn is the whole fit, of networks one epoch in batches of 128,
of STDP one pass. Answers come for all records at once, and for one record at a time, as files
arrive.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ttfs import encode_metadata
from ttfs.config import read_named
from ttfs.data import DataSet, load
from ttfs.data.one_hot import one_hot
from ttfs.data.places import find
from ttfs.data.tables import read_table
from ttfs.results.provenance import processor
from ttfs.snn import convert
from ttfs.timed.stdp import Constants, Winners
from ttfs.timed.van_rossum import SpikePatterns, target_patterns

HIDDEN, BATCH, SINGLE = 256, 128, 200
CALLS = 5  # of an encoding
Answer = Callable[[Any], Any]


def seconds(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Return the processor time of a call, and what it returns."""
    begin = time.process_time()
    result = call(*arguments)
    return time.process_time() - begin, result


def usual_seconds(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Return the median processor time of several calls, and what the last returns.

    The first ones ask the kernel for memory, which can take longer than the encoding.
    """
    taken = []
    for _ in range(CALLS):
        time_of_call, result = seconds(call, *arguments)
        taken.append(time_of_call)
    return statistics.median(taken), result


def encodings(config: dict[str, Any], path: Any) -> Iterator[str]:
    """Yield a row for reading the table and for each encoding of all its rows."""
    taken, table = usual_seconds(read_table, path)
    rows, keys = len(table[config["label"]]), config["keys"]
    yield _encoded("read the table", rows, len(table), taken)
    for neurons in (16, 64, 256):
        encode = partial(encode_metadata, neurons_per_key=neurons)
        taken, times = usual_seconds(encode, table, keys)
        yield _encoded(f"correlative, {neurons} neurons a key", rows, times.shape[1], taken)
    taken, features = usual_seconds(one_hot, table, keys, table)
    yield _encoded("one-hot", rows, features.shape[1], taken)


def _encoded(name: str, rows: int, columns: int, taken: float) -> str:
    return f"| {name} | {columns} | {taken:.2f} | {rows / taken:,.0f} |"


def classifiers(config: dict[str, Any], records: int) -> Iterator[str]:
    """Yield a row for each classifier: microseconds a record of training and of answers."""
    for encoding in ("one-hot", config["encoding"]):
        data = load(config | {"encoding": encoding, "labels": records})
        items, labels = _arrays(data)
        name = "one-hot" if encoding == "one-hot" else "spikes"
        for method, train in FITTED.items():
            if name == "one-hot" or method != "gradient-boosted trees":
                yield _timed(f"{method}, {name}", items, *seconds(train, items, labels))
    for method, make in NETWORKS.items():
        yield _timed(f"{method}, spikes", items, *seconds(make, items, labels, data))


def _arrays(data: DataSet) -> tuple[np.ndarray, np.ndarray]:
    items, labels = zip(*data.train.batches(1000), strict=True)
    return torch.cat(items).numpy(), torch.cat(labels).numpy()


def _timed(name: str, items: np.ndarray, taken: float, answer: Answer) -> str:
    whole, _ = seconds(answer, items)
    single, _ = seconds(lambda: [answer(items[i : i + 1]) for i in range(SINGLE)])
    micro = [1e6 * taken / len(items), 1e6 * whole / len(items), 1e6 * single / SINGLE]
    return f"| {name} | " + " | ".join(f"{value:,.1f}" for value in micro) + " |"


def logistic_regression(items: np.ndarray, labels: np.ndarray) -> Answer:
    """Fit scikit-learn's to its optimum."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=2000).fit(items, labels).predict


def linear_svm(items: np.ndarray, labels: np.ndarray) -> Answer:
    """Fit liblinear to its optimum."""
    from sklearn.svm import LinearSVC

    return LinearSVC(max_iter=10_000).fit(items, labels).predict


def boosted_trees(items: np.ndarray, labels: np.ndarray) -> Answer:
    """Fit a hundred rounds of trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier().fit(items, labels).predict


def b1(items: np.ndarray, labels: np.ndarray, data: DataSet) -> Answer:
    """Train a TTFS network for an epoch."""
    ann = nn.Sequential(
        nn.Linear(items.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, data.classes)
    )
    snn = convert(ann, torch.from_numpy(items[:100]))
    return _epoch(snn, F.cross_entropy, items, labels)


def spike_pattern(items: np.ndarray, labels: np.ndarray, data: DataSet) -> Answer:
    """Train a network of leaky neurons for an epoch, through 16 time steps."""
    targets = target_patterns(data.classes, 50, 16, 4.0, torch.Generator().manual_seed(0))
    network = SpikePatterns(items.shape[1], HIDDEN, targets, tau=4.0, beta=0.9, alpha=2.0)
    return _epoch(network, network.loss, items, labels)


def stdp(items: np.ndarray, labels: np.ndarray, data: DataSet) -> Answer:
    """Show each record once to the winner-take-all layer."""

    def times(values: np.ndarray) -> np.ndarray:
        return np.where(values > 0, 1 - values, np.inf).astype(np.float32)

    patterns = times(items)
    layer = Winners.drawn(patterns[:100], HIDDEN, Constants(), np.random.default_rng(0))
    for pattern in patterns:
        layer.learn(pattern)
    return lambda values: layer.winners(times(values))


def _epoch(network: nn.Module, loss: Any, items: np.ndarray, labels: np.ndarray) -> Answer:
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for place in torch.randperm(len(items)).split(BATCH):
        optimizer.zero_grad()
        loss(network(torch.from_numpy(items)[place]), torch.from_numpy(labels)[place]).backward()
        optimizer.step()
    return torch.no_grad()(lambda values: network(torch.from_numpy(values)).argmax(1))


FITTED = {
    "logistic regression": logistic_regression,
    "linear SVM": linear_svm,
    "gradient-boosted trees": boosted_trees,
}
NETWORKS = {"B1": b1, "spike patterns": spike_pattern, "STDP": stdp}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=5000, help="that classifiers learn from")
    parser.add_argument("--dataset", default="debian-packages", help="of configs/datasets")
    arguments = parser.parse_args()
    config = read_named("dataset", arguments.dataset, "--dataset")
    path = find(config["source"]["table"])
    if path is None:
        parser.error(f"no file {config['source']['table']}; set TTFS_DATA")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{processor()}, one thread\n\n| encoding | columns | seconds | rows a second |")
    print("|---|---|---|---|")
    for row in encodings(config, path):
        print(row, flush=True)
    print("\nMicroseconds a record:\n\n| classifier | training | answers | one at a time |")
    print("|---|---|---|---|")
    for row in classifiers(config, arguments.records):
        print(row, flush=True)


if __name__ == "__main__":
    main()
