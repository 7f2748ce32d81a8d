"""Coincident spikes are weighted matches of records."""

import math
import time
from hashlib import blake2b

import numpy as np
import pandas as pd
import pytest

from ttfs import encode_metadata
from ttfs.data.correlative import neurons_by_information, rank
from ttfs.errors import UserError

PINNED = [0.41549307107925415, 0.1579606533050537, 0.8672771453857422]
MANY = 4000
"""Neurons of a key, so that a share has a standard deviation below 0.01."""


def share(a: np.ndarray, b: np.ndarray) -> float:
    """The share of neurons that spike in both records at the same time."""
    return float(((a == b) & np.isfinite(a)).mean())


def test_times_are_pinned():
    times = encode_metadata({"type": ["pdf"]}, {"type": "categorical"}, neurons_per_key=3)
    assert times.dtype == np.float32
    assert times.tolist() == [PINNED]


WORD = 2**64
GOLDEN = 0x9E3779B97F4A7C15


def hashed(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def mix(bits: int) -> int:
    """SplitMix64's output function, in Python's integers."""
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 % WORD
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % WORD
    return bits ^ bits >> 31


def uniform(bits: int) -> float:
    return (bits >> 40) / 2**24


def neuron(seed: int, key: str, place: int) -> int:
    return mix((hashed(f"{seed}\n{key}") + GOLDEN * (place + 1)) % WORD)


def number_time(bits: int, rank: float, breakpoints: int) -> float:
    points = [uniform(mix((bits + k * GOLDEN) % WORD)) for k in range(1, breakpoints + 1)]
    return uniform(mix(bits ^ mix((sum(p <= rank for p in points) + GOLDEN) % WORD)))


def test_times_are_those_of_an_implementation_neuron_by_neuron():
    rng = np.random.default_rng(5)
    words = [" ".join(rng.choice(list("vwxyz"), rng.integers(4), replace=False)) for _ in range(20)]
    table = {"c": list(map(str, rng.integers(0, 4, 20))), "n": list(range(20)), "s": words}
    kinds = {"c": "categorical", "n": "numeric", "s": "set"}
    times = encode_metadata(
        table, kinds, neurons_per_key=6, neurons_per_member=2, breakpoints=3, seed=7
    )
    own = {key: [neuron(7, key, place) for place in range(6)] for key in kinds}
    names = sorted({name for value in words for name in value.split()})
    member = [neuron(7, "s\nmembers", place) for place in range(2 * len(names))]
    for row, (category, number, value) in enumerate(zip(*table.values(), strict=True)):
        held = value.split()
        expected = [uniform(mix(hashed(category) ^ bits)) for bits in own["c"]]
        expected += [number_time(bits, (2 * number + 1) / 40, 3) for bits in own["n"]]
        for bits in own["s"]:
            first = min((mix(hashed(name) ^ bits) for name in held), default=None)
            expected.append(np.inf if first is None else uniform(mix(first)))
        for place, bits in enumerate(member):
            expected.append(uniform(mix(bits)) if names[place // 2] in held else np.inf)
        assert times[row].tolist() == expected


def test_coincidences_are_the_weighted_match():
    table = {"a": ["x", "x"], "b": ["y", "z"], "c": ["", "z"]}
    neurons = {"a": 300, "b": 500, "c": 200}
    kinds = dict.fromkeys(table, "categorical")
    first, second = encode_metadata(table, kinds, neurons_per_key=neurons)
    assert share(first, second) == 300 / 1000


def test_no_records_have_no_times():
    table, kinds = {"tags": []}, {"tags": "set"}
    found = encode_metadata(table, kinds, neurons_per_key=6, neurons_per_member=2)
    assert found.shape == (0, 6)


def test_missing_is_silence():
    table = {"a": ["", "x"], "n": [None, "1"], "s": ["", "p q"]}
    kinds = {"a": "categorical", "n": "numeric", "s": "set"}
    silent, spiking = encode_metadata(table, kinds, neurons_per_key=5, neurons_per_member=2)
    assert np.isinf(silent).all()
    assert np.isfinite(spiking).all()
    assert spiking.min() >= 0
    assert spiking.max() < 1


def test_a_missing_member_of_a_set_is_no_word():
    sets = [["a", None], ["b", None], ["c", math.nan], ["nan", "None"], ["a", ""], ["a"]]
    times = encode_metadata({"s": sets}, {"s": "set"}, neurons_per_key=500, neurons_per_member=2)
    assert not any((times[i] == times[j])[:500].any() for i in range(4) for j in range(i))
    assert np.array_equal(times[0], times[4])
    assert np.array_equal(times[0], times[5])


def test_times_are_uniform():
    table = {"a": [str(value) for value in range(200)]}
    times = encode_metadata(table, {"a": "categorical"}, neurons_per_key=100)
    counts = np.histogram(times, 20, (0, 1))[0] / times.size
    assert np.abs(counts - 0.05).max() < 0.005
    assert len(np.unique(times)) > 0.99 * times.size


@pytest.mark.parametrize("breakpoints", [1, 3])
def test_numeric_coincidences_fall_with_the_distance_of_ranks(breakpoints):
    values = [str(value) for value in range(101)]
    times = encode_metadata(
        {"n": values}, {"n": "numeric"}, neurons_per_key=MANY, breakpoints=breakpoints
    )
    for place in (0, 10, 37, 50, 88, 100):
        distance = place / 101  # of ranks: those of 0 … 100 lie 1/101 apart
        expected = (1 - distance) ** breakpoints
        assert share(times[0], times[place]) == pytest.approx(expected, abs=0.03)


def test_set_coincidences_are_the_jaccard_index():
    times = encode_metadata({"s": ["a b c", "b c d e", "x"]}, {"s": "set"}, neurons_per_key=MANY)
    assert share(times[0], times[1]) == pytest.approx(2 / 5, abs=0.03)
    assert share(times[0], times[2]) == 0


def test_members_have_neurons_besides():
    table = {"s": ["a b", "b c"]}
    times = encode_metadata(table, {"s": "set"}, neurons_per_key=1, neurons_per_member=2)[:, 1:]
    assert np.isfinite(times).tolist() == [
        [True, True, True, True, False, False],
        [False, False, True, True, True, True],
    ]
    assert (times[0, 2:4] == times[1, 2:4]).all()


def test_the_reference_ranks():
    alone = encode_metadata({"n": ["5"]}, {"n": "numeric"}, reference={"n": ["1", "9"]})
    both = encode_metadata({"n": ["5", "1000"]}, {"n": "numeric"}, reference={"n": ["1", "9"]})
    assert (alone[0] == both[0]).all()


def test_seeds_differ():
    column, kinds = {"a": ["x"]}, {"a": "categorical"}
    assert (
        share(encode_metadata(column, kinds, seed=0), encode_metadata(column, kinds, seed=1)) == 0
    )


def test_neurons_follow_information():
    labels = np.arange(600) % 3
    rng = np.random.default_rng(0)
    table = {"told": labels.astype(str), "noise": rng.integers(0, 3, 600).astype(str)}
    found = neurons_by_information(table, dict.fromkeys(table, "categorical"), labels, 100)
    assert found["told"] > 95
    assert 1 <= found["noise"] < 5


def test_information_is_that_of_the_formula():
    """I = H(V) + H(C) - H(V, C), with Miller's (values - 1) / 2N; worked by hand for N = 4."""
    table, labels = {"told": list("xxyy"), "half": list("xyyy")}, np.array([0, 0, 1, 1])
    found = neurons_by_information(table, dict.fromkeys(table, "categorical"), labels, 10_000)
    one = np.log(2) + 1 / 8  # of two equal shares
    quarter = np.log(4) - 0.75 * np.log(3) + 1 / 8  # of 1/4 and 3/4
    three = 1.5 * np.log(2) + 2 / 8  # of 1/4, 1/4 and 1/2
    told, half = one + one - one, quarter + one - three
    assert found["told"] == round(10_000 * told / (told + half))
    assert found["half"] == round(10_000 * half / (told + half))


@pytest.mark.parametrize(
    ("width", "neurons"), [(100, {"shares": 50, "told": 50}), (50, {"shares": 1, "told": 100})]
)
def test_numbers_tell_by_tenths_of_their_ranks_and_no_finer(width, neurons):
    values = list(range(1000))
    labels = np.array([value // width % 2 for value in values])  # shares that take turns
    table = {"shares": values, "told": labels.astype(str)}
    found = neurons_by_information(table, {"shares": "numeric", "told": "set"}, labels, 100)
    assert found == neurons


def test_information_below_zero_is_none():
    """Of independent values, Miller's correction takes 1 / 2N too much."""
    labels = np.arange(400) % 2
    table = {"told": labels.astype(str), "other": (np.arange(400) // 2 % 2).astype(str)}
    found = neurons_by_information(table, dict.fromkeys(table, "categorical"), labels, 10_000)
    assert found == {"told": 10_000, "other": 1}


def test_keys_that_tell_nothing_share_alike():
    labels = np.arange(400) % 2
    table = {name: ["the same"] * 400 for name in ("one", "two")}
    found = neurons_by_information(table, dict.fromkeys(table, "categorical"), labels, 128)
    assert found == {"one": 64, "two": 64}


def test_a_missing_number_is_a_value_too():
    labels = np.arange(200) % 2
    table = {
        "gone": [None if label else place for place, label in enumerate(labels)],
        "told": labels.astype(str),
    }
    found = neurons_by_information(table, {"gone": "numeric", "told": "categorical"}, labels, 100)
    assert found == {"gone": 50, "told": 50}


def test_ranks_among_nothing_are_in_the_middle():
    ranks = rank(np.array([3.0, np.nan, -np.inf]), np.array([np.nan]))
    assert ranks.tolist() == pytest.approx([0.5, np.nan, 0.5], nan_ok=True)


def test_equal_values_share_the_middle_of_their_ranks():
    values = np.array([1.0, 1.0, 2.0, np.nan, 0.0, 3.0])
    ranks = rank(values, np.array([1.0, np.nan, 1.0, 2.0]))
    assert ranks.tolist() == pytest.approx([2 / 6, 2 / 6, 5 / 6, np.nan, 0.0, 1.0], nan_ok=True)


def test_it_is_quick():
    rng = np.random.default_rng(0)
    table = {str(key): rng.integers(0, 4000, 20_000).astype(str) for key in range(8)}
    kinds = {key: "numeric" if int(key) % 2 else "categorical" for key in table}
    start = time.process_time()
    encode_metadata(table, kinds)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("table", "kinds", "said"),
    [
        ({"a": ["x"]}, {"a": "text"}, "choose from: categorical, numeric, set"),
        ({"a": ["x"]}, {"b": "set"}, "no column 'b'; the table has: a"),
        ({"a": ["x"]}, {"a": "numeric"}, "key 'a' is numeric, but a value is no number"),
        ({"a": ["2024_01"]}, {"a": "numeric"}, "key 'a' is numeric, but a value is no number"),
        ({"a": "pdf"}, {"a": "set"}, "column 'a' is one text; give a list of values"),
        ({"a": ["x"]}, ["a"], "keys are a list; give a mapping"),
    ],
)
def test_faults(table, kinds, said):
    with pytest.raises(UserError, match=said):
        encode_metadata(table, kinds)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"neurons_per_key": {"a": 3}}, "key 'n' has None neurons; give a whole number"),
        ({"neurons_per_key": 2.7}, "key 'a' has 2.7 neurons; give a whole number"),
        ({"neurons_per_key": "64"}, "key 'a' has '64' neurons; give a whole number"),
        ({"neurons_per_key": np.array(2.5)}, "give a whole number"),
        ({"neurons_per_key": -1}, "key 'a' has -1 neurons; give a whole number, 0 or more"),
        ({"neurons_per_member": -1}, "key 's' has -1 neurons"),
        ({"breakpoints": 0}, "breakpoints is 0; give a whole number, 1 or more"),
        ({"breakpoints": 1.5}, "breakpoints is 1.5; give a whole number"),
        ({"reference": {"n": [1]}, "neurons_per_member": 1}, "no column 's'; the table has: n"),
    ],
)
def test_faults_of_options(options, said):
    table = {"a": ["x"], "n": [1], "s": ["y"]}
    with pytest.raises(UserError, match=said):
        encode_metadata(table, {"a": "categorical", "n": "numeric", "s": "set"}, **options)


def test_records_are_whole():
    with pytest.raises(UserError, match="key 'b' has 1 values, key 'a' has 2; give one for each"):
        encode_metadata({"a": ["x", "y"], "b": ["z"]}, dict.fromkeys("ab", "categorical"))
    with pytest.raises(UserError, match="no key is given"):
        encode_metadata({"a": ["x"]}, {})


def alone_and_among_others(values: list, kind: str) -> None:
    """Times are those of a record alone, whatever other records the table has."""
    reference = {"k": [1, 2, 3]} if kind == "numeric" else None
    options = {"neurons_per_key": 9, "reference": reference}
    together = encode_metadata({"k": values}, {"k": kind}, **options)
    for value, row in zip(values, together, strict=True):
        [alone] = encode_metadata({"k": [value]}, {"k": kind}, **options)
        assert (alone == row).all(), value


def test_a_value_is_its_text():
    alone_and_among_others([True, 1, 1.0, "1", "1.0", "True", np.int64(1), None], "categorical")
    alone_and_among_others(["", None, np.nan, pd.NA, pd.NaT, float("nan")], "categorical")
    alone_and_among_others([(1, 2), (1.0, 2.0), [True, 2], "1 2", np.array(["1", "2"]), 5], "set")
    alone_and_among_others([True, 1, "1", " 1 ", None, pd.NA, np.inf], "numeric")
    column = [(1, 2), "2 1", np.array(["1", "2"]), {"1", "2"}]
    times = encode_metadata({"k": column}, {"k": "set"})
    assert (times == times[0]).all()


def test_a_frame_of_pandas_gives_the_times_of_its_texts(tmp_path):
    """Lists come back from Parquet as arrays, missing numbers as NA."""
    texts = {"a": ["x", "", "y"], "n": ["3", "1", ""], "s": ["p q", "", "q"]}
    frame = pd.DataFrame(texts).mask(lambda cells: cells == "", None)
    frame["n"] = pd.to_numeric(frame["n"]).astype("Int64")
    frame["s"] = [words.split() if isinstance(words, str) else None for words in frame["s"]]
    frame.to_parquet(tmp_path / "frame.parquet")
    kinds = {"a": "categorical", "n": "numeric", "s": "set"}
    for typed in (frame, pd.read_parquet(tmp_path / "frame.parquet")):
        times = encode_metadata(typed, kinds, neurons_per_key=4, neurons_per_member=1)
        expected = encode_metadata(texts, kinds, neurons_per_key=4, neurons_per_member=1)
        assert np.array_equal(times, expected)


def test_the_order_of_words_tells_nothing_of_the_class():
    labels = np.arange(400) % 2
    table = {
        "set": ["a b" if label else "b a" for label in labels],
        "told": labels.astype(str),
    }
    found = neurons_by_information(table, {"set": "set", "told": "categorical"}, labels, 100)
    assert found == {"set": 1, "told": 100}


def test_an_integer_beyond_floats_is_a_fault_in_words():
    with pytest.raises(UserError, match="key 'n' is numeric, but a value is no number"):
        encode_metadata({"n": [10**400]}, {"n": "numeric"})
