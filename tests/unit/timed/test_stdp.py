"""Winner-take-all with STDP: the winner, the change of its weights, and that it learns."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from kit.data import shipped

from ttfs.data import load
from ttfs.errors import UserError
from ttfs.methods.stdp import STDP, _times
from ttfs.timed.stdp import SILENT, Constants, Winners, assign

NONE = np.inf


def layer(weights, thresholds, **constants) -> Winners:
    arrays = (np.array(values, dtype=np.float32) for values in (weights, thresholds))
    return Winners(*arrays, Constants(**constants))


def test_potentials_leak_between_spikes():
    found = layer([[1.0], [0.5], [9.0]], [1.0], membrane=2.0).potentials(np.array([0.6, 0.2, NONE]))
    assert found[0].tolist() == [0.2, 0.6]
    assert found[1][:, 0] == pytest.approx([0.5, 1.0 + 0.5 * np.exp(-0.2)])


def test_the_first_to_reach_its_threshold_wins():
    one = layer([[0.2, 0.6], [0.9, 0.1]], [1.0, 0.5])
    assert one.winner(np.array([0.1, 0.3])) == (1, 0.1)
    assert one.winner(np.array([0.7, 0.3])) == (1, 0.7)
    assert layer([[0.2], [0.1]], [1.0]).winner(np.array([0.1, 0.3])) == (SILENT, np.inf)
    assert layer([[1.0]], [1.0]).winner(np.array([0.3])) == (0, 0.3), "reached is enough"


def by_hand(one: Winners, times: np.ndarray) -> tuple[int, float]:
    """The definition: at each moment, the sum over the spikes until then, in float64."""
    for now in np.unique(times[np.isfinite(times)]):
        shares = np.where(times <= now, np.exp(-(now - times) / one.constants.membrane), 0.0)
        over = shares @ one.weights.astype(np.float64) - one.thresholds
        if (over >= 0).any():
            return int(over.argmax()), float(now)
    return SILENT, np.inf


@pytest.mark.parametrize("steps", [4, 2**20])
def test_the_winner_is_that_of_the_definition(steps):
    """With few steps many inputs spike at one moment, and are no earlier than one another."""
    rng = np.random.default_rng(steps)
    for _ in range(200):
        one = Winners(
            rng.uniform(0, 1, (12, 6)).astype(np.float32),
            rng.uniform(0.5, 4, 6).astype(np.float32),
            Constants(membrane=rng.choice([0.02, 0.3, 2.0])),
        )
        times = (rng.integers(0, steps, 12) / steps).astype(np.float32)
        times[rng.random(12) < 0.2] = NONE
        assert one.winner(times) == by_hand(one, times)


def learned(one: Winners, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and thresholds after a pattern, input by input, in float64."""
    weights, thresholds, own = one.weights.copy(), one.thresholds.copy(), one.constants
    winner, spike = by_hand(one, times)
    if winner == SILENT:
        return weights, thresholds * (1 - own.rise)
    for place, moment in enumerate(times):
        change = -own.offset
        if moment <= spike:
            change += np.exp((moment - spike) / own.before)
        elif moment < NONE:
            change -= own.depression * np.exp((spike - moment) / own.after)
        weight = weights[place, winner]
        weights[place, winner] += own.rate * change * (1 - weight if change > 0 else weight)
    before = thresholds.mean()
    thresholds[winner] *= 1 + own.rise
    return weights, thresholds * before / thresholds.mean()


def test_learning_is_that_of_the_definition():
    rng = np.random.default_rng(1)
    silent = 0
    for _ in range(20):
        low, high = ([0.1, 0.1, 0.1, 0.01, 0, 0, 0], [3, 2, 1, 0.5, 2, 0.6, 0.1])
        one = Winners(
            rng.random((15, 4)), rng.uniform(0.3, 4, 4), Constants(*rng.uniform(low, high))
        )
        for _ in range(30):
            times = np.where(rng.random(15) < 0.3, NONE, rng.integers(0, 20, 15) / 20)
            weights, thresholds = learned(one, times)
            silent += one.learn(times) == SILENT
            assert one.weights == pytest.approx(weights, abs=1e-6)
            assert one.thresholds == pytest.approx(thresholds, rel=1e-12)
    assert 0 < silent < 300


def test_only_the_winner_learns():
    one = layer(
        [[0.5, 0.1], [0.6, 0.1], [0.4, 0.1], [0.2, 0.1]], [1.0, 1.0],
        rate=0.1, offset=0.2, depression=1.0, after=0.3, before=1.0,
    )  # fmt: skip
    assert one.learn(np.array([0.1, 0.2, 0.5, NONE])) == 0
    changes = [
        0.1 * (np.exp(-0.1) - 0.2) * (1 - 0.5),
        0.1 * (1.0 - 0.2) * (1 - 0.6),
        -0.1 * (np.exp(-1.0) + 0.2) * 0.4,
        -0.1 * 0.2 * 0.2,
    ]
    assert one.weights[:, 0] - [0.5, 0.6, 0.4, 0.2] == pytest.approx(changes, abs=1e-6)
    assert (one.weights[:, 1] == np.float32(0.1)).all()
    assert one.thresholds[0] > 1 > one.thresholds[1]
    assert one.thresholds.mean() == pytest.approx(1.0)


def test_thresholds_start_at_half_the_mean_highest_potential():
    rng = np.random.default_rng(0)
    patterns = rng.random((20, 9))
    one = Winners.drawn(patterns, 4, Constants(membrane=0.5), rng)
    assert ((one.weights >= 0) & (one.weights <= 0.6)).all()
    highest = [
        [(np.exp(-(t - times[times <= t]) / 0.5) @ one.weights[times <= t]) for t in times]
        for times in patterns
    ]
    wanted = np.max(highest, axis=1).mean() / 2
    assert one.thresholds == pytest.approx(4 * [wanted], rel=1e-5)


def test_silence_lowers_all_thresholds():
    one = layer([[0.1, 0.1]], [1.0, 2.0], rise=0.1)
    assert one.learn(np.array([0.5])) == SILENT
    assert one.thresholds == pytest.approx([0.9, 1.8])


def test_it_tells_patterns_apart_without_labels():
    rng = np.random.default_rng(0)
    classes = rng.random((3, 60))
    labels = rng.integers(0, 3, 400)
    patterns = np.where(rng.random((400, 60)) < 0.8, classes[labels], rng.random((400, 60)))
    one = Winners.drawn(patterns[:50], 12, Constants(), rng)
    for times in patterns[:300]:
        one.learn(times)
    says = assign(one.winners(patterns[:300]), labels[:300], 12, 3)
    right = says[one.winners(patterns[300:])].argmax(1) == labels[300:]
    assert right.mean() > 0.7  # a third by chance


def state(labels: int | None = None, **options) -> dict:
    """What the kind saves for the made-up files."""
    states: list = []
    job = SimpleNamespace(axes=("files", "-", 0), save=states.append, say=print)
    job.data = load(shipped("files", labels=labels))
    job.options = STDP.Options(neurons=8, **options).model_dump()
    STDP("stdp").make(job)
    [saved] = states
    return saved


def test_a_second_pass_goes_on_learning():
    assert not torch.equal(state()["weights"], state(passes=2)["weights"])


def test_a_charge_is_the_time_left_and_no_charge_no_spike():
    items = torch.tensor([[1.0, 0.25, 0.0]])
    for low, high in ((0.0, 1.0), (-1.0, 3.0)):
        job = SimpleNamespace(data=SimpleNamespace(input_range=(low, high)))
        assert _times(low + (high - low) * items, job).tolist() == [[0.0, 0.75, NONE]]


def test_a_blank_record_has_no_potential():
    blank = np.full((1, 9), np.inf)
    patterns = np.concatenate([np.random.default_rng(0).random((3, 9)), blank])
    with_it, without = (
        Winners.drawn(part, 4, Constants(), np.random.default_rng(1))
        for part in (patterns, patterns[:3])
    )
    assert with_it.thresholds == pytest.approx(0.75 * without.thresholds)


def test_weights_stay_on_0_to_1():
    constants = Constants(rate=1.0, depression=1.0, offset=1.0)
    one = Winners(np.full((3, 1), 0.5, np.float32), np.full(1, 0.1, np.float32), constants)
    for _ in range(5):
        one.thresholds[:] = 0.01
        one.learn(np.array([0.1, 0.10001, np.inf]))
    assert ((one.weights >= 0) & (one.weights <= 1)).all()


def test_synapses_of_weight_0_carry_no_spike():
    """Both pixels of both images spike; one of the four synapses is none."""
    saved = {
        "weights": torch.tensor([[0.5, 0.0], [0.5, 0.5]]), "thresholds": torch.full((2,), 0.2),
        "says": torch.eye(3, 2),
    }  # fmt: skip
    images, labels = torch.full((2, 1, 1, 2), 0.9), torch.tensor([0, 1])
    test = SimpleNamespace(batches=lambda size, device: [(images, labels)])
    data = SimpleNamespace(shape=(1, 1, 2), classes=2, input_range=(0.0, 1.0), test=test)
    job = SimpleNamespace(data=data, saved=lambda: saved, device="cpu")
    job.options = STDP.Options(neurons=2).model_dump()
    found = {r["metric"]: r["value"] for r in STDP("stdp").evaluate(job) if len(r) == 2}
    assert found["synaptic_operations"] == 3
    assert found["parameters"] == 6


def test_weights_are_learned_without_labels_and_labels_are_assigned_afterwards():
    made = {labels: state(labels) for labels in (None, 40)}
    assert torch.equal(made[None]["weights"], made[40]["weights"])
    assert not torch.equal(made[None]["says"], made[40]["says"])


def test_silent_records_at_the_beginning_give_no_threshold():
    """The first hundred hold no spike; where none does, there is nothing to learn."""
    values = torch.zeros(150, 4)
    values[100:, :2] = 0.9

    def job(values):
        split = SimpleNamespace(
            some=lambda count: SimpleNamespace(batches=lambda size: [(values[:count], kinds)]),
            batches=lambda size: [(values, torch.zeros(len(values), dtype=torch.long))],
        )
        kinds = torch.zeros(100, dtype=torch.long)
        data = SimpleNamespace(input_range=(0.0, 1.0), classes=2, train=split, unlabeled=None)
        saved: dict = {}
        made = SimpleNamespace(data=data, axes=("a", 0), say=print, save=saved.update, saved=saved)
        made.options = STDP.Options(neurons=3).model_dump()
        return made

    found = job(values)
    STDP("stdp").make(found)
    assert (found.saved["thresholds"] > 0).all()
    with pytest.raises(UserError, match="no training item has a spike to learn from"):
        STDP("stdp").make(job(values[:100]))
