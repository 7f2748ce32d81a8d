from pathlib import Path

import pytest
import torch
from torch import nn

import ttfs
from ttfs.config import read_yaml
from ttfs.errors import UserError
from ttfs.models import build, parse

ROOT = Path(__file__).parents[2]
SHIPPED = {path.stem: path for path in sorted((ROOT / "configs/models").glob("*.yaml"))}
GRAY, COLOR = (1, 28, 28), (3, 32, 32)


def shipped(name: str, shape: tuple[int, ...], classes: int = 10) -> nn.Module:
    return build(read_yaml(SHIPPED[name], "model"), shape, classes)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def outline(network: nn.Module) -> list[str]:
    """The modules as torch prints them, one a line."""
    return [f"{name} {module}" for name, module in network.named_children()]


def shapes(network: nn.Module, images: torch.Tensor) -> dict[str, tuple[int, ...]]:
    seen = {}
    for name, module in network.named_children():
        images = module(images)
        seen[name] = tuple(images.shape[1:])
    return seen


def test_the_notation_gives_exactly_these_modules(model):
    assert outline(model("layers: 16C5-P2-32C5-P2-800-128")) == [
        "conv1 Conv2d(1, 16, kernel_size=(5, 5), stride=(1, 1))",
        "relu1 ReLU()",
        "pool1 MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)",
        "conv2 Conv2d(16, 32, kernel_size=(5, 5), stride=(1, 1))",
        "relu2 ReLU()",
        "pool2 MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)",
        "flatten Flatten(start_dim=1, end_dim=-1)",
        "linear3 Linear(in_features=512, out_features=800, bias=True)",
        "relu3 ReLU()",
        "linear4 Linear(in_features=800, out_features=128, bias=True)",
        "relu4 ReLU()",
        "output Linear(in_features=128, out_features=10, bias=True)",
    ]


def test_suffixes_and_poolings(model):
    network = model("layers: 4C5s2-8C3p1-P3s2p1-A2-G\npadding: same", shape=(3, 30, 20), classes=7)
    assert shapes(network, torch.zeros(2, 3, 30, 20)) == {
        "conv1": (4, 15, 10),
        "relu1": (4, 15, 10),
        "conv2": (8, 15, 10),
        "relu2": (8, 15, 10),
        "pool1": (8, 8, 5),
        "pool2": (8, 4, 2),
        "pool3": (8, 1, 1),
        "flatten": (8,),
        "output": (7,),
    }
    assert [type(network.get_submodule(f"pool{n}")) for n in (1, 2, 3)] == [
        nn.MaxPool2d,
        nn.AvgPool2d,
        nn.AdaptiveAvgPool2d,
    ]


def test_a_padding_written_out_wins_over_the_key(model):
    assert model("layers: 4C3p0\npadding: same").conv1.padding == (0, 0)
    assert model("layers: 4C4p1\npadding: same").conv1.padding == (1, 1)


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("before", "conv1 norm1 relu1 pool1 flatten linear2 norm2 relu2 dropout2 output"),
        ("after", "conv1 relu1 norm1 pool1 flatten linear2 relu2 norm2 dropout2 output"),
        ("none", "conv1 relu1 pool1 flatten linear2 relu2 dropout2 output"),
    ],
)
def test_batch_norm_and_dropout_stand_where_the_keys_say(model, order: str, names: str):
    network = model(f"layers: 4C3-P2-20\nbatch_norm: {order}\ndropout: 0.25")
    assert " ".join(name for name, _ in network.named_children()) == names
    assert network.dropout2.p == 0.25
    if order != "none":
        assert isinstance(network.norm1, nn.BatchNorm2d)
        assert isinstance(network.norm2, nn.BatchNorm1d)


def test_no_bias_where_the_norm_that_follows_has_one(model):
    before, after = (model(f"layers: 4C3-20\nbatch_norm: {order}") for order in ("before", "after"))
    assert before.conv1.bias is None
    assert before.linear2.bias is None
    assert before.output.bias is not None
    assert after.conv1.bias is not None
    assert after.linear2.bias is not None


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("fc2", GRAY, 784 * 340 + 340 + 340 * 10 + 10),
        ("fc-600", GRAY, 784 * 600 + 600 + 600 * 10 + 10),
        ("fc8", GRAY, 785 * 340 + 6 * 341 * 340 + 341 * 10),
        ("fc16", GRAY, 785 * 340 + 14 * 341 * 340 + 341 * 10),
        ("lenet5", GRAY, 61_706),
        ("cnn", (1, 8, 8), 32 * 9 + 64 + 64 * 32 * 9 + 128 + 128 * 256 + 256 + 1290),
        ("vgg16-small", GRAY, 14_713_536 + 2 * 513 * 512 + 513 * 10),
        ("vgg16", COLOR, 14_991_946),  # trainable ones; its Keras original has as many
    ],
)
def test_parameter_counts(name: str, shape: tuple[int, ...], count: int):
    assert parameters(shipped(name, shape)) == count


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_network_runs_and_can_be_traced(name: str):
    network = shipped(name, COLOR, classes=7)
    assert network.training
    traced = torch.fx.symbolic_trace(network.eval())
    images = torch.rand(2, *COLOR)
    with torch.no_grad():
        logits = network(images)
        assert torch.equal(logits, traced(images))
    assert logits.shape == (2, 7)


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_the_seed_decides_the_weights(name: str):
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(shipped(name, COLOR).parameters())

    first = weights(3)
    assert torch.equal(first, weights(3))
    assert not torch.equal(first, weights(4))


@pytest.mark.parametrize(
    ("initialization", "squared_bounds"),
    [
        ("he-uniform", (6 / (16 * 9), 6 / 400, 6 / 300)),
        ("glorot-uniform", (6 / (16 * 9 + 64 * 9), 6 / (400 + 300), 6 / (300 + 200))),
    ],
)
def test_initialization_is_uniform_within_its_bound(
    model, initialization: str, squared_bounds: tuple[float, ...]
):
    torch.manual_seed(0)
    network = model(f"layers: 16C3-64C3-G-400-300\ninitialization: {initialization}", classes=200)
    for name, squared in zip(("conv2", "linear4", "output"), squared_bounds, strict=True):
        module = network.get_submodule(name)
        bound = squared**0.5
        assert 0.99 * bound < module.weight.abs().max() <= bound
        assert module.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
        assert not module.bias.any()


@pytest.mark.parametrize(
    ("notation", "said"),
    [
        ("16C5-Q3-10", r"token 2 'Q3' is not a layer; valid are 16C5 .*P2 .*A2 .*G .*128 "),
        ("16c5", "token 1 '16c5' is not a layer"),
        ("16C5--10", "token 2 '' is not a layer"),
        ("16C", "token 1 '16C' is not a layer"),
        ("0C3", "token 1 '0C3' is not a layer"),
        ("10-0", "token 2 '0' is not a layer"),
        ("16C5s0", "token 1 '16C5s0' is not a layer"),
        (
            "16C5-P2-100-P2",
            "token 4 'P2' needs an image or a sequence, but token 3 '100' is a dense layer",
        ),
        ("16C5-P2p2", "token 2 'P2p2' pads by 2, but a pooling window of 2 takes at most 1"),
    ],
)
def test_a_wrong_notation_names_token_and_position(notation: str, said: str):
    with pytest.raises(UserError, match=f"^model 'mine', key 'layers': {said}") as raised:
        parse(notation, "mine")
    assert "\n" not in str(raised.value)


def test_a_network_too_deep_for_the_image_names_layer_and_shape(model):
    said = (
        r"token 4 'P2' \(pool3\) got inputs of 8×1×1 \(channels×height×width\), "
        "smaller than its window of 2"
    )
    with pytest.raises(UserError, match=f"^model 'mine', key 'layers': {said}"):
        model("layers: 8C3p1-P2-P2-P2-10", shape=(1, 4, 4))
    with pytest.raises(UserError, match=r"token 1 '8C5' \(conv1\) got inputs of 1×4×9"):
        model("layers: 8C5", shape=(1, 4, 9))


def test_same_padding_of_an_even_kernel_is_refused(model):
    with pytest.raises(
        UserError, match=r"model 'mine', key 'padding': .*token 2 '8C2' .* as in 8C2p1"
    ):
        model("layers: 4C3-8C2\npadding: same")


@pytest.mark.parametrize(
    ("lines", "shape", "said"),
    [
        (
            "torchvision: resnet19",
            COLOR,
            "key 'torchvision': no network 'resnet19'; near it are .*resnet18",
        ),
        ("torchvision: resnet18", GRAY, "resnet18 takes images of 3 channels, these are 1×28×28 "),
        ("torchvision: vgg11", (3, 8, 8), "vgg11 does not take inputs of 3×8×8 "),
        (
            "torchvision: resnet18\narguments: {depth: 3}",
            COLOR,
            "key 'arguments': .*resnet18 refuses them: .*'depth'",
        ),
        (
            "torchvision: resnet18\narguments: {replace_stride_with_dilation: [false, true, true]}",
            COLOR,
            "key 'arguments': .*resnet18 refuses them: Dilation",
        ),
        (
            "torchvision: resnet18\narguments: {weights: DEFAULT}",
            COLOR,
            r"key 'arguments\.weights': remove it",
        ),
    ],
)
def test_errors_of_torchvision_models(model, lines: str, shape: tuple[int, ...], said: str):
    with pytest.raises(UserError, match=f"^model 'mine'.*{said}") as raised:
        model(lines, shape)
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_auxiliary_heads_are_tried_before_they_train(model):
    arguments = "torchvision: inception_v3\narguments: {init_weights: false, aux_logits: %s}"
    with pytest.raises(UserError, match=r"auxiliary heads.*3×75×75.*; set arguments: {aux_logits"):
        model(arguments % "true", (3, 75, 75))
    assert model(arguments % "false", (3, 75, 75)).aux_logits is False


def test_arguments_reach_torchvision(model):
    network = model("torchvision: resnet18\narguments: {zero_init_residual: true}", COLOR)
    assert not network.layer1[0].bn2.weight.any()


def test_a_sequence_gets_the_same_layers_in_one_dimension(model):
    network = model(
        "layers: 4C5s2p2-P3s2p1-8C3-A2-G-20\nbatch_norm: before", shape=(2, 64), classes=7
    )
    assert [f"{name} {type(module).__name__}" for name, module in network.named_children()] == [
        "conv1 Conv1d",
        "norm1 BatchNorm1d",
        "relu1 ReLU",
        "pool1 MaxPool1d",
        "conv2 Conv1d",
        "norm2 BatchNorm1d",
        "relu2 ReLU",
        "pool2 AvgPool1d",
        "pool3 AdaptiveAvgPool1d",
        "flatten Flatten",
        "linear3 Linear",
        "norm3 BatchNorm1d",
        "relu3 ReLU",
        "output Linear",
    ]
    sizes = shapes(network, torch.rand(3, 2, 64))
    wanted = {
        "conv1": (4, 32),
        "pool1": (4, 16),
        "conv2": (8, 14),
        "pool2": (8, 7),
        "pool3": (8, 1),
        "output": (7,),
    }
    assert wanted.items() <= sizes.items()


def test_a_sequence_is_an_image_of_one_row(model):
    """The same weights along the middle row of a kernel give the same logits."""
    notation = "layers: 4C3-8C3-20\npadding: same"
    line, plane = model(notation, (2, 31)), model(notation, (2, 1, 31))
    for flat, square in zip(line.parameters(), plane.parameters(), strict=True):
        with torch.no_grad():
            if flat.dim() == 3:
                square.zero_()
                square[:, :, 1] = flat
            else:
                square.copy_(flat)
    sequences = torch.rand(5, 2, 31)
    assert torch.allclose(line(sequences), plane(sequences[:, :, None]), atol=1e-6)


def test_a_vector_goes_into_dense_layers(model):
    network = model("layers: 30-20\nbatch_norm: after\ndropout: 0.1", shape=(4,), classes=3)
    names = "linear1 relu1 norm1 dropout1 linear2 relu2 norm2 dropout2 output"
    assert " ".join(name for name, _ in network.named_children()) == names
    assert network(torch.rand(5, 4)).shape == (5, 3)


@pytest.mark.parametrize(
    ("notation", "shape", "said"),
    [
        (
            "16C5-10",
            (4,),
            r"token 1 '16C5' needs images or sequences, but inputs are 4 \(features\)",
        ),
        ("P2-10", (4,), "token 1 'P2' needs images or sequences"),
        ("G", (4,), "token 1 'G' needs images or sequences"),
        (
            "8C5-P4",
            (2, 6),
            r"token 2 'P4' \(pool1\) got inputs of 8×2 \(channels×length\), smaller than",
        ),
    ],
)
def test_layers_that_inputs_do_not_fit(model, notation: str, shape: tuple[int, ...], said: str):
    with pytest.raises(UserError, match=f"^model 'mine', key 'layers': {said}") as raised:
        model(f"layers: {notation}", shape)
    assert "\n" not in str(raised.value)


@torch.no_grad()
@pytest.mark.parametrize(
    ("lines", "shape"),
    [
        ("layers: 30-20\nbatch_norm: before", (4,)),
        ("layers: 6C5s2-P2-8C3-G-20\nbatch_norm: after\npadding: same", (2, 40)),
    ],
    ids=["vector", "sequence"],
)
def test_networks_of_vectors_and_sequences_are_mapped_exactly(
    model, lines: str, shape: tuple[int, ...]
):
    torch.manual_seed(0)
    network = model(lines, shape, classes=5).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.normal_(1, 0.3)
            module.bias.normal_(0, 0.1)
    inputs = 4 * torch.rand(20, *shape) - 1
    snn = ttfs.convert(network, inputs, input_range=(-1.0, 3.0))
    logits = network(inputs)
    assert (snn(inputs) - logits).abs().max() <= 1e-5 * logits.abs().max()
    assert (
        ttfs.simulate(snn, inputs[:2]).logits - logits[:2]
    ).abs().max() <= 1e-5 * logits.abs().max()


@pytest.mark.parametrize(
    "lines",
    [
        "padding: same",
        "layers: 10\ntorchvision: resnet18",
        "torchvision: resnet18\nbatch_norm: after",
        "layers: 10\narguments: {}",
        "layers: 10\nmodule: nets:Net",
        "module: nets:Net\nbatch_norm: after",
        "module: nets",
        "module: nets.Net()",
        "layers: 10\nbatch_norm: between",
        "layers: 10\ndropout: 1.0",
        "layers: 10\nlayer: 10",
        "layers: ''",
    ],
)
def test_the_schema_refuses(model, lines: str):
    with pytest.raises(UserError, match=r"mine\.yaml: "):
        model(lines)
