"""Threads that share a network see what one thread alone sees: looking at a network changes nothing
in it.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ttfs
from ttfs.metrics import multiply_accumulates
from ttfs.snn import SpikingNetwork

THREADS = 8
CALLS = int(os.environ.get("TTFS_THREAD_CALLS", 60))
"""Calls of each thread, for each way to look. TTFS_THREAD_CALLS=1000 makes more."""


@pytest.fixture(autouse=True)
def quick_switches():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def relu_network() -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 2),
        nn.ReLU(),
        nn.Flatten(),
    ]
    return nn.Sequential(*layers, nn.Linear(24, 10), nn.ReLU(), nn.Linear(10, 3))


def network(kind: str) -> SpikingNetwork:
    ann, images = relu_network(), torch.rand(20, 1, 8, 8)
    snn = ttfs.convert(ann, images, "alpha1" if kind == "alpha1" else "b1")
    return ttfs.deploy(snn, ttfs.Hardware(time_bits=4, dead_neurons=0.1)) if kind == "chip" else snn


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return all(map(equal, one, other))
    return one == other


LOOKS: dict[str, Callable[[SpikingNetwork, Tensor, float], Any]] = {
    "charges": lambda snn, images, share: snn.charges(images, pooled=True),
    "spike_times": lambda snn, images, share: snn.spike_times(images),
    "read_out": lambda snn, images, share: snn.read_out(images, share * snn.latency),
    "spikes_per_neuron": lambda snn, images, share: ttfs.spikes_per_neuron(snn, images),
    "multiply_accumulates": lambda snn, images, share: multiply_accumulates(snn),
    "logits": lambda snn, images, share: snn(images),
}


@torch.no_grad()
@pytest.mark.parametrize("kind", ["b1", "alpha1", "chip"])
def test_eight_threads_see_what_one_sees(kind: str):
    """Each thread looks in each way at images and read-out times of its own, while the others
    do.
    """
    snn = network(kind)
    jobs = [(name, torch.rand(5, 1, 8, 8), (1 + i % 7) / 7) for i in range(CALLS) for name in LOOKS]
    alone = [LOOKS[name](snn, images, share) for name, images, share in jobs]
    start = threading.Barrier(THREADS)

    def work(offset: int) -> list[str]:
        start.wait()
        turned = [*range(offset, len(jobs)), *range(offset)]
        seen = [(i, LOOKS[jobs[i][0]](snn, *jobs[i][1:])) for i in turned]
        return [jobs[i][0] for i, value in seen if not equal(value, alone[i])]

    with ThreadPoolExecutor(THREADS) as pool:
        wrong = [name for names in pool.map(work, range(0, THREADS * 7, 7)) for name in names]
    assert wrong == []


@torch.no_grad()
@pytest.mark.parametrize("kind", ["b1", "alpha1", "chip"])
def test_eight_threads_simulate_what_one_simulates(kind: str):
    snn = network(kind).double()
    batches = [torch.rand(1, 1, 8, 8).double() for _ in range(THREADS)]
    alone = [ttfs.simulate(snn, images) for images in batches]
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(lambda images: ttfs.simulate(snn, images), batches))
    for one, other in zip(alone, together, strict=True):
        assert equal((one.logits, one.spike_times), (other.logits, other.spike_times))
        assert one.early_fire_rate == other.early_fire_rate


@torch.no_grad()
def test_threads_run_a_rate_coded_network_for_steps_of_their_own():
    rate = ttfs.convert_to_rate(relu_network(), torch.rand(20, 1, 8, 8), steps=16)
    jobs = [(torch.rand(5, 1, 8, 8), 1 + i % 16) for i in range(CALLS)]
    alone = [rate(images, steps) for images, steps in jobs]
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(3):
            together = list(pool.map(lambda job: rate(*job), jobs))
            assert all(map(torch.equal, alone, together))
    assert rate.clock.steps == 16


@torch.no_grad()
def test_looking_leaves_no_hook():
    snn = network("b1")
    for look in LOOKS.values():
        look(snn, torch.rand(2, 1, 8, 8), 0.5)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in snn.modules())
