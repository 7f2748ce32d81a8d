"""Windows, the range of the inputs and the neuron model are state: they travel with the weights."""

import copy
import io
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import (
    AveragedModel,
    get_ema_avg_fn,
    get_ema_multi_avg_fn,
    get_swa_multi_avg_fn,
)

import ttfs
from ttfs.errors import UserError
from ttfs.snn import Encode, Fire, SpikingNetwork

NUMBERS = {"neuron_kind", "encode.input_range", "body._1.window_width", "body._4.window_width"}
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def images() -> Tensor:
    return torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(5))


def network(
    neuron: str = "b1", scale: float = 1.0, seed: int = 0, high: float = 1.0
) -> SpikingNetwork:
    torch.manual_seed(seed)
    ann = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 7), nn.ReLU(), nn.Linear(7, 3)
    )
    for parameter in ann.parameters():
        parameter.data *= scale
    return ttfs.convert(ann, high * images(), neuron, input_range=(0.0, high))


def widths(snn: SpikingNetwork) -> list[float]:
    return [layer.width for layer in snn.layers.values()]


@pytest.mark.parametrize("neuron", ["b1", "alpha1"])
def test_all_state_is_tensors_and_numbers_are_float64(neuron: str):
    state = network(neuron).state_dict()
    assert all(isinstance(value, Tensor) for value in state.values())
    assert set(state) >= NUMBERS
    assert {state[name].dtype for name in NUMBERS} == {torch.float64}
    assert len({value.data_ptr() for value in state.values()}) == len(
        state
    )  # formats such as safetensors ask for it


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_keep_their_digits_in_every_precision(dtype: torch.dtype):
    snn = network(high=0.7)
    before, latency = widths(snn), snn.latency
    moved = copy.deepcopy(snn).to(dtype)
    assert widths(moved) == before
    assert moved.latency == latency
    assert (moved.encode.low, moved.encode.high) == (0.0, 0.7)
    assert next(moved.parameters()).dtype == dtype
    assert moved((0.7 * images()).to(dtype)).dtype == dtype
    assert widths(moved.half().float().to(torch.bfloat16)) == before


def test_numbers_stay_on_the_processor():
    snn = network()
    before = widths(snn)
    assert next(snn.to("meta").parameters()).device.type == "meta"
    assert widths(snn) == before


def test_numbers_of_modules_made_on_another_device_are_on_the_processor():
    with torch.device("meta"):
        assert Fire(2.5).width == 2.5
        assert Encode(-1.0, 0.7).high == 0.7


@torch.no_grad()
@pytest.mark.parametrize("neuron", ["b1", "alpha1"])
def test_a_checkpoint_carries_all_that_a_network_is(neuron: str):
    one, other = network(neuron, high=1.0), network(neuron, scale=0.5, seed=1, high=2.0)
    assert one.windows != other.windows
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.windows == one.windows
    assert (other.encode.low, other.encode.high) == (0.0, 1.0)
    assert torch.equal(other(images()), one(images()))


@pytest.mark.parametrize(("mine", "theirs"), [("b1", "alpha1"), ("alpha1", "b1")])
def test_a_checkpoint_of_another_neuron_model_is_refused(mine: str, theirs: str):
    snn = network(mine)
    before = copy.deepcopy(snn.state_dict())
    with pytest.raises(
        UserError, match=f"of {theirs} neurons, this network of {mine} neurons; .*neuron='{theirs}'"
    ):
        snn.load_state_dict(network(theirs).state_dict())
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())
    unknown = before | {"neuron_kind": torch.tensor(7.0)}
    with pytest.raises(UserError, match=r"of unknown \(number 7\) neurons"):
        snn.load_state_dict(unknown)


@torch.no_grad()
@pytest.mark.parametrize("neuron", ["b1", "alpha1"])
@pytest.mark.parametrize(
    "average",
    [
        {"multi_avg_fn": get_ema_multi_avg_fn(0.9)},
        {"avg_fn": get_ema_avg_fn(0.9)},
        {"multi_avg_fn": get_swa_multi_avg_fn()},
        {},
    ],
    ids=["ema", "ema one by one", "swa", "default"],
)
def test_windows_are_averaged_with_the_weights(neuron: str, average: dict):
    snn = network(neuron)
    mean = AveragedModel(snn, use_buffers=True, **average)
    mean(images())  # what is read now must not be what is used later
    mean.update_parameters(snn)
    (first, second), (layer, _) = widths(snn), snn.layers.values()
    layer.width = 3.0 * first
    mean.update_parameters(snn)
    share = 0.1 if "avg_fn" in average or "ema" in str(average) else 0.5
    assert widths(mean.module) == pytest.approx([first + share * 2.0 * first, second], rel=1e-12)
    assert mean.module.neuron == neuron
    assert (mean.module.encode.low, mean.module.encode.high) == (0.0, 1.0)


@torch.no_grad()
def test_an_average_without_buffers_takes_the_windows_of_the_last_network():
    snn = network()
    mean = AveragedModel(snn, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for layer in snn.layers.values():
        layer.width *= 2.0
    mean.update_parameters(snn)
    assert widths(mean.module) == widths(snn)


@torch.no_grad()
def test_a_window_written_in_place_clips_at_once():
    snn = network()
    logits = snn(images())
    layer = snn.layers["_1"]
    layer.window_width.data.mul_(0.25)
    clipped = snn.charges(images())[1]["_1"]
    assert clipped.max() == torch.tensor(layer.width, dtype=clipped.dtype)
    assert not torch.equal(snn(images()), logits)


@pytest.mark.parametrize(
    "settings", [{}, {"jitter": 0.05, "time_bits": 4, "dead_neurons": 0.1, "weight_bits": 4}]
)
def test_a_chip_is_averaged_and_restored_too(settings: dict):
    hardware = ttfs.Hardware(window_quantile=0.9, **settings)
    chip = ttfs.deploy(network(), hardware, images())
    chip(images())
    mean = AveragedModel(chip, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    mean.update_parameters(chip)
    assert widths(mean.module) == widths(chip)
    other = ttfs.deploy(network(scale=0.5, seed=1), hardware, images())
    other.load_state_dict(chip.state_dict())
    again = ttfs.deploy(network(), hardware, images())
    assert torch.equal(other(images()), again(images()))  # both at the beginning of their chance


@pytest.mark.parametrize("neuron", ["b1", "alpha1"])
def test_safetensors_keeps_a_network(neuron: str, tmp_path: Path) -> None:
    stored = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    snn, other = network(neuron), network(neuron, scale=2.0, seed=1)
    stored.save_file(snn.state_dict(), tmp_path / "network.safetensors")
    other.load_state_dict(stored.load_file(tmp_path / "network.safetensors"))
    assert torch.equal(other(images()), snn(images()))
    assert other.windows == snn.windows
