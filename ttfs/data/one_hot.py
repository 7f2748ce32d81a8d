"""One feature for each value of a key: what linear classifiers of key-value records take."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from ttfs.data.correlative import Column, members, missing, numbers, rank
from ttfs.errors import UserError
from ttfs.memory import check_vectors

BINS = 10
"""Equal shares of the reference that a numeric key is cut into."""
FEWEST = 2
"""Records of the reference that a value must occur in: what is seen once teaches nothing."""


def one_hot(
    table: Mapping[str, Column], keys: Mapping[str, str], reference: Mapping[str, Column]
) -> np.ndarray:
    """Return features of 0 and 1, float32 [N, F]; a missing or unknown value has none.

    A categorical key has a feature for each value, and a set for each member, that two records of
    the reference have, a numeric key for each tenth of the ranks. Values, members and ranks are
    those of the reference, the training split. Raises UserError for text in a numeric key, no
    feature at all, or more than the memory holds.

    >>> reference = {"type": ["a", "a", "b", "b"]}
    >>> one_hot({"type": ["a", "b", ""]}, {"type": "categorical"}, reference).tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    blocks = [_block(table[key], kind, reference[key], key) for key, kind in keys.items()]
    features = sum(block.shape[1] for block in blocks)
    if not features:
        raise UserError(
            f"no value of {', '.join(keys)} is in {FEWEST} training records, so one-hot has no "
            "feature; choose other keys, or another encoding"
        )
    check_vectors(len(blocks[0]), features)
    return np.concatenate(blocks, axis=1)


def _block(column: Column, kind: str, reference: Column, key: str) -> np.ndarray:
    if kind == "numeric":
        ranks = rank(numbers(column, key), numbers(reference, key))
        rows = (~np.isnan(ranks)).nonzero()[0]
        block = np.zeros((len(column), BINS), dtype=np.float32)
        block[rows, np.minimum((ranks[rows] * BINS).astype(int), BINS - 1)] = 1
        return block
    symbols = members if kind == "set" else lambda value: [] if missing(value) else [str(value)]
    counts = Counter(symbol for value in reference for symbol in symbols(value))
    kept = sorted(symbol for symbol, count in counts.items() if count >= FEWEST)
    places = {symbol: place for place, symbol in enumerate(kept)}
    check_vectors(len(column), len(kept))
    block = np.zeros((len(column), len(kept)), dtype=np.float32)
    for row, value in enumerate(column):
        for symbol in symbols(value):
            if symbol in places:
                block[row, places[symbol]] = 1
    return block
