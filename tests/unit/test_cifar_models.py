"""Networks for CIFAR-10: whitening, airbench, ResNet-9, residual stages of any number."""

import numpy as np
import pytest
import torch
from torch import nn

import ttfs
from ttfs.data import load
from ttfs.errors import UserError
from ttfs.methods import Job
from ttfs.models import build
from ttfs.models.whitening import FLOOR, Whitening, patch_filters

IMAGE = (3, 32, 32)


@pytest.fixture
def images() -> torch.Tensor:
    """Smooth images, whose neighboring pixels are alike as those of photographs are."""
    noise = torch.rand(64, 3, 36, 36, generator=torch.Generator().manual_seed(0))
    return nn.functional.avg_pool2d(noise, 5, 1)


def test_whitened_patches_are_uncorrelated_and_of_variance_one(images):
    filters = patch_filters(images, 2)
    assert filters.shape == (24, 3, 2, 2)
    assert filters[12:].equal(-filters[:12])
    found = nn.functional.conv2d(images.double(), filters[:12].double())
    values = found.movedim(1, 0).flatten(1)  # [filters, patches]
    moments = values @ values.T / values.shape[1]
    patches = nn.functional.unfold(images.double(), 2).movedim(1, 0).flatten(1)
    variances = torch.linalg.eigvalsh(patches @ patches.T / patches.shape[1]).flip(0)
    wanted = torch.diag(variances / (variances + FLOOR))
    torch.testing.assert_close(moments, wanted, rtol=0, atol=1e-5)
    assert wanted.diagonal()[0] > 0.99  # the floor is small beside the largest variance


def test_the_signs_of_filters_do_not_depend_on_the_solver(images, monkeypatch):
    found = patch_filters(images, 2)
    solve = torch.linalg.eigh

    def other(matrix):
        values, vectors = solve(matrix)
        return values, vectors * torch.tensor([1.0, -1.0] * 6, dtype=vectors.dtype)

    monkeypatch.setattr(torch.linalg, "eigh", other)
    assert patch_filters(images, 2).equal(found)


def test_a_whitening_layer_keeps_its_weights_and_learns_its_biases(images):
    layer = Whitening(3)
    layer.whiten_(images)
    layer(images).sum().backward()
    assert layer.conv.weight.grad is None
    assert layer.conv.bias.grad.abs().sum() > 0


MODELS = {
    "airbench": {"airbench": {"widths": [4, 6, 8], "residual": False}},
    "airbench, residual": {"airbench": {"widths": [4, 6], "residual": True}},
    "resnet9": {"resnet9": {"width": 3}},
    "stages": {"residual": {"blocks": [1, 2, 1], "width": 3, "block": "post"}},
}


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_after_some_learning_each_is_mapped_exactly_and_simulated(config, images):
    """Batch norms have learned scales of both signs: pools before them become latest-spike pools
    where they are negative.
    """
    torch.manual_seed(0)
    network = build({"id": "made", **config}, IMAGE, 10)
    if hasattr(network, "prepare"):
        network.prepare(images)
    network.train()(images)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.normal_()
                module.bias.normal_(0, 0.1)
    network.eval().double()
    items = images.double()[:4]
    snn = ttfs.convert(network, items, headroom=0.5)
    logits = network(items)
    assert (snn(items) - logits).abs().max() <= 1e-10 * logits.abs().max()
    assert logits.std() > 0
    simulation = ttfs.simulate(snn, items[:1])
    assert (simulation.logits - snn(items[:1])).abs().max() <= 1e-10 * logits.abs().max()


def test_convolutions_begin_by_passing_their_inputs_on():
    network = build({"id": "made", **MODELS["resnet9"]}, IMAGE, 10)
    conv = network[1][0]
    assert conv.weight.shape == (6, 3, 3, 3)
    wanted = nn.init.dirac_(torch.empty(3, 3, 3, 3))
    assert conv.weight[:3].equal(wanted)
    assert not conv.weight[3:].eq(0).any()


def test_resnet18_has_its_eighteen_layers_and_eleven_million_weights():
    network = build(
        {"id": "made", "residual": {"blocks": [2, 2, 2, 2], "width": 64, "block": "post"}},
        IMAGE,
        10,
    )
    assert sum(p.numel() for p in network.parameters()) == 11_173_962
    kinds = (nn.Conv2d, nn.Linear)
    weighted = [name for name, m in network.named_modules() if isinstance(m, kinds)]
    assert sum("shortcut" not in name for name in weighted) == 18


@pytest.mark.parametrize("shape", [(4,), (3, 16, 16)])
@pytest.mark.parametrize("config", list(MODELS.values())[:3], ids=list(MODELS)[:3])
def test_inputs_that_are_no_images_or_too_small_are_refused(config, shape):
    with pytest.raises(UserError, match=r"model 'made': .* images of 17×17 pixels or more"):
        build({"id": "made", **config}, shape, 10)


class Drawn(Job):
    """A job of one network, on data that are given."""

    axes = ("made", "airbench", 0)

    def build(self) -> nn.Module:
        return build({"id": "made", **MODELS["airbench"]}, IMAGE, 10)


def test_a_drawn_network_is_whitened_by_its_training_images(tmp_path, monkeypatch):
    """The same seed whitens alike for each method; the filters are those of normalized images."""
    monkeypatch.setenv("TTFS_DATA", str(tmp_path))
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "made.npz", x=images, y=np.arange(40) % 10)
    norm = {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
    source = {"id": "made", "source": {"npz": "made.npz"}, "shape": list(IMAGE), "classes": 10}
    data = load({**source, "validation": 0.2, "test": 0.2, "normalize": norm})
    job = Drawn("make", None, None)
    job.data = data
    first, second = job.draw(), job.draw()
    items, _ = next(iter(data.train.batches(5000)))
    assert first[0].conv.weight.equal(patch_filters(items, 2))
    assert second[0].conv.weight.equal(first[0].conv.weight)
