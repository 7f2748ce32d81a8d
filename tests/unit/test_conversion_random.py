"""Conversion is exact for random graphs of everything it maps, in every order that makes sense."""

import random

import pytest
from kit.exactness import IMAGE, assert_exact
from kit.random_networks import RandomNetwork


@pytest.mark.parametrize("number", range(60))
@pytest.mark.usefixtures("seed")
def test_random_network(number: int) -> None:
    span = random.choice([(0.0, 1.0), (-3.0, 3.0), (-0.5, 2.25)])
    network = RandomNetwork(steps=random.randint(3, 14))
    for operation, sources in network.plan:
        print(getattr(operation, "__name__", operation), sources)
    assert_exact(network, IMAGE, *span)
