"""The Yin-Yang set against formulas apart from its code: the curve of the S, areas of the parts."""

import math

import numpy as np
import pytest
import torch
from kit.data import CONFIGS, everything, fault, shipped
from torch import nn

from ttfs.config import read_yaml
from ttfs.data import load
from ttfs.data.yin_yang import DOT, YANG, YIN, class_of, yin_yang
from ttfs.models import build


def expected_class(x: float, y: float) -> int | None:
    """Take the S as a curve around the center: v = sign(u) sqrt(|u| (1/2 - |u|))."""
    u, v = x - 0.5, y - 0.5
    if math.hypot(u, v) > 0.5:
        return None
    if min(math.dist((x, y), (0.25, 0.5)), math.dist((x, y), (0.75, 0.5))) < 0.1:
        return DOT
    return YIN if v > math.copysign(math.sqrt(max(0.0, abs(u) * (0.5 - abs(u)))), u) else YANG


def test_classes_are_those_of_the_curve():
    points = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    answers = [class_of(x, y) for x, y in points.tolist()]
    assert answers == [expected_class(x, y) for x, y in points.tolist()]
    assert set(answers) == {None, YIN, YANG, DOT}


def test_turning_the_symbol_by_half_a_turn_swaps_yin_and_yang():
    swapped = {YIN: YANG, YANG: YIN, DOT: DOT, None: None}
    for x, y in torch.rand(1000, 2, generator=torch.Generator().manual_seed(1)).tolist():
        assert class_of(1 - x, 1 - y) == swapped[class_of(x, y)]


def test_points_are_uniform_in_their_class_and_classes_are_balanced():
    points, labels = yin_yang("train")
    assert np.bincount(labels) / 5000 == pytest.approx([1 / 3] * 3, abs=0.02)
    x, y = points[:, 0], points[:, 1]
    # Areas over pi: all 1/4, a dot 1/100, the small disk around it 1/16, yin (1/4 - 2/100) / 2.
    around_dot = np.hypot(x - 0.25, y - 0.5) < 0.25
    assert around_dot[labels == YIN].mean() == pytest.approx((1 / 16 - 1 / 100) / 0.115, abs=0.04)
    assert not around_dot[labels == YANG].any()
    dots = labels == DOT
    assert (x[dots] < 0.5).mean() == pytest.approx(0.5, abs=0.04)
    inner = np.hypot(np.abs(x - 0.5) - 0.25, y - 0.5) < 0.05
    assert inner[dots].mean() == pytest.approx(1 / 4, abs=0.04)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_each_point_has_its_class_and_mirrored_coordinates(part):
    points, labels = yin_yang(part)
    assert points.dtype == np.float32
    assert points[:, 2:] == pytest.approx(1 - points[:, :2], abs=1e-7)
    near_a_border = 0
    for (x, y, *_), label in zip(points.tolist(), labels.tolist(), strict=True):
        near_a_border += expected_class(x, y) != label  # float32 moved it over
    assert near_a_border <= 1


def test_the_set_is_the_same_on_every_machine():
    data = load(shipped("yin-yang"))
    assert (len(data.train), len(data.validation), len(data.test)) == (5000, 1000, 1000)
    assert (data.shape, data.classes, data.input_range) == ((4,), 3, (0.0, 1.0))
    assert data.digest == "e988e6bc176dd89c"


def test_its_parts_share_no_point():
    data = load(shipped("yin-yang"))
    parts = [everything(split)[0] for split in (data.train, data.validation, data.test)]
    assert len(torch.cat(parts).unique(dim=0)) == 7000


def test_what_it_cannot_be():
    source = {"generated": "yin-yang"}
    assert "key 'validation': this source has a validation set already" in fault(
        source, shape=[4], validation=0.1
    )
    assert "inputs have 4 features, 'shape' asks for 5" in fault(source, shape=[5])
    assert "labels run from 0 to 2" in fault(source, shape=[4], classes=2)


def accuracy_after_training(network: nn.Module, epochs: int = 25, rate: float = 0.05) -> float:
    data, order = load(shipped("yin-yang")), torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(network.parameters())
    for epoch in range(epochs):
        for group in adam.param_groups:
            group["lr"] = rate * (1 - epoch / epochs)
        for points, labels in data.train.batches(50, order):
            adam.zero_grad()
            nn.functional.cross_entropy(network(points), labels).backward()
            adam.step()
    points, labels = everything(data.test)
    return 100 * (network(points).argmax(1) == labels).float().mean().item()


def test_thirty_hidden_neurons_learn_it_and_a_linear_classifier_does_not():
    """The published values are 97.6 ± 1.5 and 63.8 ± 1.0 %."""
    torch.manual_seed(0)
    deep = build(read_yaml(CONFIGS / "models/fc-30.yaml", "model"), (4,), 3)
    assert accuracy_after_training(nn.Linear(4, 3)) == pytest.approx(63.8, abs=4)
    assert accuracy_after_training(deep) == pytest.approx(97.6, abs=3)
