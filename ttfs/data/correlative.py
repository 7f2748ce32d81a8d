"""Correlative temporal encoding: key-value records to spike times whose coincidences are matches.

After Stanojevic et al. 2020 (ISCAS, "File classification based on spiking neural networks"), whose
constants are not published; the construction is ours and has the properties that they state.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from ttfs.arguments import as_whole
from ttfs.errors import UserError
from ttfs.memory import check_vectors

Column = Sequence[Any]
"""The values [N] of one key. None, "", NaN and pandas' NA are missing. A value is its text, so 1
and 1.0 differ; a set is a text of words, or texts.
"""
KINDS = ("categorical", "numeric", "set")


def encode_metadata(
    table: Mapping[str, Column],
    keys: Mapping[str, str],
    *,
    reference: Mapping[str, Column] | None = None,
    neurons_per_key: int | Mapping[str, int] = 64,
    neurons_per_member: int = 0,
    breakpoints: int = 3,
    seed: int = 0,
) -> np.ndarray:
    """Return the spike times of records, float32 [N, neurons] on [0, 1); inf is silence.

    Key f owns n_f neurons, in the order of `keys`. Its neuron i spikes once, at
    U(hash(seed, f, i, symbol)), uniform on [0, 1), so two records agree on it if they have the same
    symbol there, else by chance of 2^-24. The symbol depends on the kind of the key:

    - categorical: the value itself. The share of coincident spikes is 1 or 0.
    - numeric: between which of `breakpoints` random points of [0, 1] the rank u of the value lies,
      u = (share of reference values below it + share not above it) / 2. Two records agree with
      probability (1 − |u − u'|)^breakpoints: linear in |u − u'| for one breakpoint.
    - set: the member with the smallest of pseudo-random numbers (MinHash, Broder 1997). Two records
      agree with probability |A ∩ B| / |A ∪ B|. With `neurons_per_member` each member that the
      reference has owns as many neurons besides, which spike if it is in the set: |A ∩ B| agree.

    A missing value, or an empty set, is silence. Over all keys the share of coincident spikes
    is expected to be Σ n_f match_f / Σ n_f: the weighted match of the two records.

    Args:
        table: {key: values [N]}; other columns are left aside.
        keys: {key: "categorical", "numeric" or "set"}.
        reference: the records that ranks and members are taken from, the training split;
            `table` if None.
        neurons_per_key: n_f, one number or {key: number}.
        neurons_per_member: of each member of a set, after the key's.
        breakpoints: of each neuron of a numeric key.
        seed: other seeds give other times; the same seed gives the same on every machine.

    Raises UserError for an unknown kind, a missing column, columns that differ in length, text in a
    numeric key, numbers below those that make sense, or more vectors than the memory holds.

    >>> table = {"type": ["pdf", "mp3", "pdf", None]}
    >>> times = encode_metadata(table, {"type": "categorical"}, neurons_per_key=2)
    >>> bool((times[0] == times[2]).all()), bool((times[0] == times[1]).any()), times[3].tolist()
    (True, False, [inf, inf])
    """
    _check(table, keys, breakpoints)
    ranked = table if reference is None else reference
    records, columns, blocks = len(table[next(iter(keys))]), 0, []
    for key, kind in keys.items():
        columns += (count := _count(neurons_per_key, key))
        check_vectors(records, columns)
        if kind == "numeric":
            ranks = rank(numbers(table[key], key), numbers(_column(ranked, key), key))
            blocks.append(_numeric(ranks, _neurons(seed, key, count), breakpoints))
        else:
            encode = _categorical if kind == "categorical" else _set
            values, index = distinct(table[key])
            blocks.append(encode(values, _neurons(seed, key, count))[index])
        if kind == "set" and neurons_per_member:
            known = distinct(_column(ranked, key))[0]
            names = sorted({name for value in known for name in members(value)})
            columns += (count := len(names) * _count(neurons_per_member, key))
            check_vectors(records, columns)
            own = _neurons(seed, f"{key}\nmembers", count)
            blocks.append(_members(values, names, own)[index])
    return np.concatenate(blocks, axis=1)


def neurons_by_information(
    table: Mapping[str, Column], keys: Mapping[str, str], labels: np.ndarray, total: int
) -> dict[str, int]:
    """Return {key: neurons}, in proportion to the mutual information of key and class, each rounded
    and 1 at least, so that the sum is near the total; equal shares where no key tells anything.

    I(V; C) = H(V) + H(C) − H(V, C), each with the bias correction (values − 1) / 2N of Miller 1955.
    A missing value counts as a value, numbers by tenths of their ranks, sets as wholes.
    Shapes: columns and labels [N].
    """
    information = {}
    for key, kind in keys.items():
        column = table[key]
        if kind == "numeric":
            ranks = rank(numbers(column, key), numbers(column, key))
            column = np.where(np.isnan(ranks), -1.0, np.floor(ranks * 10)).tolist()
        elif kind == "set":
            column = ["\n".join(members(value)) for value in column]
        _, index = distinct(column)
        joint = _entropy(index) + _entropy(labels) - _entropy(index * (labels.max() + 1) + labels)
        information[key] = max(joint, 0.0)
    whole = sum(information.values())
    if not whole:
        information, whole = dict.fromkeys(keys, 1.0), float(len(keys))
    return {key: max(1, round(total * value / whole)) for key, value in information.items()}


def numbers(column: Column, key: str) -> np.ndarray:
    """Return the values of a numeric key as float64 [N], NaN where missing."""
    try:
        return np.array([np.nan if missing(value) else _number(value) for value in column])
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"key {key!r} is numeric, but a value is no number ({error}); "
            "correct the value, or call the key categorical"
        ) from None


def _number(value: Any) -> float:
    if isinstance(value, str) and "_" in value:  # which Python takes: 2024_01 is a name
        raise ValueError(f"could not convert string to float: {value!r}")
    return float(value)


def missing(value: Any) -> bool:
    """Return whether a value is missing: None, NaN, pandas' NA or an empty text."""
    if isinstance(value, str) or value is None:
        return not value
    if isinstance(value, Iterable):
        return False
    try:
        return bool(value != value)
    except TypeError:  # NA neither equals itself nor differs
        return True


def members(value: Any) -> list[str]:
    """Return the members of a set: the words of a text, the texts of a sequence, or one number."""
    if missing(value):
        return []
    if isinstance(value, str):
        return sorted(set(value.split()))
    return sorted(set(map(str, _held(value) if _is_several(value) else [value])))


def _is_several(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def _held(members: Iterable[Any]) -> list[Any]:
    """Return the members of a sequence that are not missing."""
    return [member for member in members if not missing(member)]


def rank(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return ranks on [0, 1] of values [N] among reference values, NaN where the value is missing.

    u = (share of the reference below the value + share not above it) / 2.
    """
    known = np.sort(reference[~np.isnan(reference)])
    if not len(known):
        return np.where(np.isnan(values), np.nan, 0.5)
    below, up_to = (np.searchsorted(known, values, side) for side in ("left", "right"))
    return np.where(np.isnan(values), np.nan, (below + up_to) / (2 * len(known)))


def distinct(column: Column) -> tuple[list[Any], np.ndarray]:
    """Return the different values of a column, as texts, tuples of texts, or None where missing,
    and for each record the place [N] of its value.
    """
    places: dict[Any, int] = {}
    texts = ((value or None) if isinstance(value, str) else _text(value) for value in column)
    index = np.array([places.setdefault(value, len(places)) for value in texts], dtype=np.int64)
    return list(places), index


def _text(value: Any) -> Any:
    if missing(value):
        return None
    return tuple(map(str, _held(value))) if _is_several(value) else str(value)


def _check(table: Mapping[str, Column], keys: Mapping[str, str], breakpoints: int) -> None:
    if not isinstance(keys, Mapping):
        raise UserError(f"keys are a {type(keys).__name__}; give a mapping of column and kind")
    if not keys:
        raise UserError("no key is given; name one column, or more, and its kind")
    for key, kind in keys.items():
        if kind not in KINDS:
            raise UserError(f"key {key!r} is {kind!r}; choose from: {', '.join(KINDS)}")
        _column(table, key)
    lengths = {key: len(table[key]) for key in keys}
    [first, *_] = keys
    for key, length in lengths.items():
        if length != lengths[first]:
            raise UserError(
                f"key {key!r} has {length} values, key {first!r} has {lengths[first]}; give one "
                "for each record, None where it is missing"
            )
        if isinstance(table[key], str | bytes):
            raise UserError(f"column {key!r} is one text; give a list of values, one a record")
    if (as_whole(breakpoints) or 0) < 1:
        raise UserError(f"breakpoints is {breakpoints}; give a whole number, 1 or more")


def _column(table: Mapping[str, Column], key: str) -> Column:
    if key not in table:
        raise UserError(f"no column {key!r}; the table has: {', '.join(map(str, table))}")
    return table[key]


def _count(neurons: int | Mapping[str, int], key: str) -> int:
    """Return how many neurons a key has, or one of its members."""
    count = neurons.get(key) if isinstance(neurons, Mapping) else neurons
    whole = as_whole(count)
    if whole is None or whole < 0:
        raise UserError(f"key {key!r} has {count!r} neurons; give a whole number, 0 or more")
    return whole


def _categorical(values: list[Any], neurons: np.ndarray) -> np.ndarray:
    """Return the times [values, neurons]."""
    hashes = _hashes(["" if value is None else str(value) for value in values])
    times = _uniform(_mix(hashes[:, None] ^ neurons))
    times[[value is None for value in values]] = np.inf
    return times


def _numeric(ranks: np.ndarray, neurons: np.ndarray, breakpoints: int) -> np.ndarray:
    """Return the times [N, neurons] of values of these ranks [N]."""
    streams = np.arange(1, breakpoints + 1, dtype=np.uint64)
    points = np.sort(_uniform(_mix(neurons[:, None] + streams * _GOLDEN)), axis=1)
    intervals = np.arange(breakpoints + 1, dtype=np.uint64)
    by_interval = _uniform(_mix(neurons[:, None] ^ _mix(intervals + _GOLDEN)))
    times = np.empty((len(ranks), len(neurons)), dtype=np.float32)
    for neuron in range(len(neurons)):
        interval = np.searchsorted(points[neuron], ranks, "right")  # 0 … breakpoints
        times[:, neuron] = by_interval[neuron, np.minimum(interval, breakpoints)]
    times[np.isnan(ranks)] = np.inf
    return times


def _set(values: list[Any], neurons: np.ndarray) -> np.ndarray:
    """Return the times [values, neurons]."""
    sets = [members(value) for value in values]
    names = sorted({name for one in sets for name in one})
    places = {name: place for place, name in enumerate(names)}
    order = _mix(_hashes(names)[:, None] ^ neurons)  # [names, neurons]; the smallest leads a set
    times = np.full((len(sets), len(neurons)), np.inf, dtype=np.float32)
    for row, one in enumerate(sets):
        if one:
            times[row] = _uniform(_mix(order[[places[name] for name in one]].min(axis=0)))
    return times


def _entropy(symbols: np.ndarray) -> float:
    counts = np.unique(symbols, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum() + (len(counts) - 1) / (2 * counts.sum()))


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _members(values: list[Any], names: Sequence[str], neurons: np.ndarray) -> np.ndarray:
    """Return the times [values, neurons]; the neurons of a name lie side by side."""
    per_member = len(neurons) // max(len(names), 1)  # no name is known of a key always missing
    times = _uniform(_mix(neurons)).reshape(len(names), per_member)
    places = {name: place for place, name in enumerate(names)}
    spikes = np.full((len(values), *times.shape), np.inf, dtype=np.float32)
    for row, value in enumerate(values):
        held = [places[name] for name in members(value) if name in places]
        spikes[row, held] = times[held]
    return spikes.reshape(len(values), times.size)


def _neurons(seed: int, key: str, count: int) -> np.ndarray:
    """Return a hash of (seed, key, i) for each neuron i, uint64 [count]."""
    [base] = _hashes([f"{seed}\n{key}"])
    return _mix(base + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64))


def _hashes(texts: Sequence[str]) -> np.ndarray:
    """Return 64 bits of BLAKE2b for each text, uint64."""
    digests = (blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8) for text in texts)
    joined = b"".join(digest.digest() for digest in digests)
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)


def _mix(bits: np.ndarray) -> np.ndarray:
    """Return the output function of SplitMix64 (Steele, Lea, Flood 2014) of uint64, modulo 2^64."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _uniform(bits: np.ndarray) -> np.ndarray:
    """Return float32 on [0, 1) from the upper 24 bits, exactly: 1 − t is a float32, too."""
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
