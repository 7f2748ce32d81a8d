"""Residual networks of the CIFAR form: their layers, both kinds of block, and their mappings."""

import pytest
import torch
from kit.exactness import randomise, scale_free
from torch import nn

import ttfs
from ttfs.errors import UserError
from ttfs.models import build
from ttfs.timed import to_leaky


def config(depth: int, width: int = 4, block: str = "post") -> dict:
    return {"id": "made", "residual": {"depth": depth, "width": width, "block": block}}


def drawn(block: str, shape: tuple[int, int, int]) -> nn.Sequential:
    """A network whose every convolution is drawn, as after some training."""
    network = build(config(8, block=block), shape, 10)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return network


@pytest.mark.parametrize("block", ["post", "pre"])
@pytest.mark.parametrize("depth", [8, 20])
def test_depth_counts_layers_with_weights_besides_shortcuts(depth, block):
    network = build(config(depth, block=block), (3, 32, 32), 10)
    weighted = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    shortcuts = [m for m in weighted if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert len(weighted) - len(shortcuts) == depth
    assert len(shortcuts) == 2
    assert sum(isinstance(m, nn.ReLU) for m in network.modules()) == depth - 1


def test_parameters_of_resnet_20_are_those_of_the_paper():
    """0.27 million (He et al. 2016, table 6), with shortcuts that have no parameters."""
    network = build(config(20, 16), (3, 32, 32), 10)
    own = [m for name, m in network.named_modules() if "shortcut" not in name]
    count = sum(p.numel() for m in own for p in m.parameters(recurse=False))
    assert round(count / 1e6, 2) == 0.27


@pytest.mark.usefixtures("seed")
@pytest.mark.parametrize("block", ["post", "pre"])
def test_a_block_is_its_formula(block):
    network = randomise(drawn(block, (3, 8, 8)))
    part = network.block2_1
    x = torch.randn(2, 4, 8, 8)
    if block == "post":
        y = part.norm2(part.conv2(part.norm1(part.conv1(x)).relu()))
        assert torch.allclose(part(x), (y + part.shortcut(x)).relu())
    else:
        a = part.norm1(x).relu()
        y = part.conv2(part.norm2(part.conv1(a)).relu())
        assert torch.allclose(part(x), y + part.shortcut(a))
        assert (part(x) < 0).any()


def test_a_pre_block_starts_as_its_shortcut():
    block = build(config(8, block="pre"), (3, 8, 8), 10).block1_1
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(x), block.norm1(x).relu())
    block(x).square().sum().backward()
    assert block.conv2.weight.grad.abs().max() > 0


@pytest.mark.usefixtures("seed")
@pytest.mark.parametrize("block", ["post", "pre"])
def test_it_maps_to_b1_exactly_to_rates_in_the_limit_and_to_leaky_neurons(block):
    network = drawn(block, (1, 12, 12)).double()
    images = torch.rand(8, 1, 12, 12).double()
    network.train()(images)  # statistics near those of the images
    randomised = network.eval()
    wanted = randomised(images)
    assert scale_free(ttfs.convert(randomised, images)(images), wanted) < 1e-10
    rate = ttfs.convert_to_rate(randomised, images, steps=4096)
    assert scale_free(rate(images), wanted) < 0.05
    leaky = to_leaky(network, images[:1], steps=3)
    assert leaky(images).shape == wanted.shape
    assert leaky.layers.keys() == ttfs.convert(randomised, images).layers.keys()


@pytest.mark.parametrize("depth", [9, 21])
def test_another_depth_is_refused(depth):
    with pytest.raises(UserError, match=f"key 'residual.depth': {depth} is not 6 n . 2; take"):
        build(config(depth), (3, 32, 32), 10)


def test_vectors_are_refused():
    with pytest.raises(UserError, match="takes images, these are 4 \\(features\\)"):
        build(config(8), (4,), 10)
