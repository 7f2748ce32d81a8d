"""Networks compiled, exported and as ONNX give the same bits; TorchScript is refused by name."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

import ttfs
from ttfs.errors import UserError
from ttfs.snn import Fire, SpikingNetwork

RANGE = (-1.0, 2.0)


def network(neuron: str) -> SpikingNetwork:
    """A network with inputs on another range than [0, 1], a batch norm, and narrow windows."""
    torch.manual_seed(0)
    ann = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(36, 10), nn.ReLU(), nn.Linear(10, 3),
    ).eval()  # fmt: skip
    snn = ttfs.convert(ann, images(20), neuron, input_range=RANGE)
    for layer in snn.layers.values():
        layer.width = 0.5 * layer.width  # some spikes are clipped
    return snn


def images(count: int) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.manual_seed(count)) * 3 - 1


def exported(snn: SpikingNetwork) -> nn.Module:
    shapes = ({0: torch.export.Dim("items")},)
    return torch.export.export(snn, (images(4),), dynamic_shapes=shapes).module()


WAYS: dict[str, Callable[[SpikingNetwork], Callable[[Tensor], Tensor]]] = {
    "torch.compile": lambda snn: torch.compile(snn, backend="eager", fullgraph=True),
    "torch.export": exported,
}


@pytest.mark.parametrize("neuron", ["b1", "alpha1"])
@pytest.mark.parametrize("way", WAYS)
def test_a_network_in_one_graph_gives_the_same_bits(neuron: str, way: str):
    snn, inputs = network(neuron), images(7)
    graph = WAYS[way](snn)
    assert torch.equal(graph(inputs), snn(inputs))
    next(iter(snn.layers.values())).width = 0.1  # a window is no constant of the graph
    if way == "torch.compile":
        assert torch.equal(graph(inputs), snn(inputs))


@pytest.mark.parametrize("neuron", ["b1", "alpha1"])
def test_a_compiled_network_learns_the_same(neuron: str):
    snn, inputs = network(neuron), images(7)
    gradients = []
    for forward in (snn, torch.compile(snn, backend="eager", fullgraph=True)):
        snn.zero_grad()
        forward(inputs).square().sum().backward()
        gradients.append([value.grad.clone() for value in snn.parameters()])
    assert len(gradients[0]) >= 4
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_compiled_neurons_have_the_same_gradient_at_both_ends_of_a_window():
    fire, gradients = Fire(width=2.0), []
    for neurons in (fire, torch.compile(fire, backend="eager", fullgraph=True)):
        potential = torch.tensor([-1.0, 0.0, 1.0, 2.0, 3.0], requires_grad=True)
        charges = neurons(potential)
        gradients.append(torch.autograd.grad(charges.sum(), potential)[0].tolist())
        assert charges.tolist() == [0.0, 0.0, 1.0, 2.0, 2.0]
    assert gradients == [[0.0, 0.0, 1.0, 0.0, 0.0]] * 2


@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
@pytest.mark.parametrize("neuron", ["b1", "alpha1"])
def test_an_onnx_model_gives_the_same_logits(neuron: str, tmp_path: Path):
    snn, inputs = network(neuron), images(7)
    torch.onnx.export(snn, (inputs,), tmp_path / "snn.onnx", verbose=False)
    model = onnx.load(tmp_path / "snn.onnx")
    onnx.checker.check_model(model)
    [name] = [one.name for one in model.graph.input]
    [logits] = ReferenceEvaluator(model).run(None, {name: inputs.numpy()})
    wanted = snn(inputs).detach()
    assert (torch.from_numpy(logits) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@torch.no_grad()
def test_a_network_on_a_chip_is_compiled_and_its_export_refused_by_name():
    chip, inputs = ttfs.deploy(network("b1"), ttfs.Hardware(time_bits=4)).eval(), images(7)
    assert torch.equal(torch.compile(chip, backend="eager")(inputs), chip(inputs))
    with pytest.raises(UserError, match="a network on a chip is not exported") as caught:
        torch.export.export(chip, (inputs,))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated")
def test_torchscript_is_refused_by_name():
    with pytest.raises(UserError, match=r"no TorchScript; use torch\.compile") as caught:
        torch.jit.script(network("b1"))
    assert "\n" not in str(caught.value)


def test_whole_numbers_are_encoded_alike_where_compiled():
    ann = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    pixels = torch.randint(0, 256, (5, 6), dtype=torch.uint8)
    snn = ttfs.convert(ann, pixels.float(), input_range=(0.0, 255.0))
    compiled = torch.compile(snn, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(pixels), snn(pixels), rtol=1e-6)
