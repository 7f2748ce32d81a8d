"""A conversion is never silently wrong: it equals what the network itself answers, or is refused in
one line.
"""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

import ttfs
from ttfs import ConversionError
from ttfs.errors import UserError

pytestmark = pytest.mark.usefixtures("seed")


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)).eval()


class Written(nn.Module):
    """A network of a function of its layers and the inputs, optional arguments included."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, v: Tensor, mask: Tensor | None = None, flag: bool = True) -> Tensor:
        assert v.shape[1] == 6
        assert v.dim() == 2
        if v.shape[-1] > 3 and flag and mask is None:
            v = self.one(v)
        return self.two(nn.ReLU()(v))


class Called(Written):
    def __call__(self, v: Tensor) -> Tensor:  # type: ignore[override]
        return 3 * super().__call__(v)


def x(n: int = 1000) -> Tensor:
    return torch.rand(n, 6)


@torch.no_grad()
def equal(snn: ttfs.SpikingNetwork, ann: nn.Module) -> bool:
    images = x()
    return torch.allclose(snn(images), ann(images), atol=1e-5)


@pytest.mark.parametrize("change", [lambda out: 3 * out + 1, lambda out: 1.0001 * out])
@pytest.mark.parametrize("place", [None, 0, 1, 2])
def test_hooks_that_change_values_are_refused(place: int | None, change: Callable) -> None:
    ann = net()
    module = ann if place is None else ann[place]
    module.register_forward_hook(lambda _, __, out: change(out))
    with pytest.raises(ConversionError, match=r"differ by .*hooks of .* change values"):
        ttfs.convert(ann, x())


def test_hooks_before_a_module_are_refused() -> None:
    ann = net()
    ann[2].register_forward_pre_hook(lambda _, inputs: (2 * inputs[0],))
    with pytest.raises(ConversionError, match="hooks of 2 change values"):
        ttfs.convert(ann, x())


@pytest.mark.parametrize("place", [None, 0])
def test_hooks_that_watch_are_no_part_of_the_network(place: int | None) -> None:
    ann, seen = net(), []
    module = ann if place is None else ann[place]
    module.register_forward_hook(lambda _, __, out: seen.append(out.detach().mean().item()))
    snn = ttfs.convert(ann, x())
    assert not any(m._forward_hooks for m in snn.modules())
    assert equal(snn, ann)


@pytest.mark.parametrize("place", [None, 0])
def test_a_replaced_forward_is_refused(place: int | None) -> None:
    ann = net()
    module = ann if place is None else ann[place]
    forward = module.forward
    module.forward = lambda v: 3 * forward(v)
    with pytest.raises(ConversionError, match="its forward was replaced"):
        ttfs.convert(ann, x())


def test_a_redefined_call_is_refused() -> None:
    with pytest.raises(ConversionError, match="a redefined __call__"):
        ttfs.convert(Called().eval(), x())


def test_a_module_is_no_more_than_its_class() -> None:
    class Twice(nn.ReLU):
        def forward(self, v: Tensor) -> Tensor:
            return 2 * super().forward(v)

    ann = nn.Sequential(nn.Linear(6, 8), Twice(), nn.Linear(8, 4)).eval()
    assert equal(ttfs.convert(ann, x()), ann)  # its forward is read
    ann = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), torch.ao.nn.qat.Linear(8, 4, qconfig=QAT)
    ).eval()
    with pytest.raises(ConversionError, match=r"2 \(Linear\).*qat.*is more than the Linear"):
        ttfs.convert(ann, x())


QAT = torch.ao.quantization.QConfig(
    activation=torch.ao.quantization.NoopObserver,
    weight=torch.ao.quantization.default_weight_fake_quant,
)


def test_a_checkpoint_brings_its_input_range() -> None:
    ann = net()
    one, other = ttfs.convert(ann, x()), ttfs.convert(ann, x(), input_range=(-1, 2))
    other.load_state_dict(one.state_dict())
    images = x()
    assert torch.equal(other(images), one(images))
    with pytest.raises(UserError, match="alpha1 neurons"):
        one.load_state_dict(ttfs.convert(ann, x(), neuron="alpha1").state_dict())


def test_the_simulator_takes_the_images_of_the_network() -> None:
    snn = ttfs.convert(
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)),
        torch.rand(8, 2, 8, 8),
    )
    for wrong in (torch.rand(2, 8, 8, 2), torch.rand(2, 128)):
        with pytest.raises(ValueError, match=r"the network takes \[N, ...\] of \[2, 8, 8\]"):
            ttfs.simulate(snn, wrong)
    with pytest.raises(ValueError, match="NaN"):
        ttfs.simulate(snn, torch.full((1, 2, 8, 8), float("nan")))
    for look in (ttfs.simulate, ttfs.spikes_per_neuron):
        with pytest.raises(ValueError, match="no images"):
            look(snn, torch.rand(0, 2, 8, 8))


def test_images_out_of_range_are_told_once() -> None:
    snn = ttfs.convert(net(), x())
    with pytest.warns(
        UserWarning, match=r"images lie on \[0, 255\] and are clipped to the input range \(0, 1\)"
    ):
        snn(torch.tensor([[0.0, 255.0, 1, 1, 1, 1]]))
    snn(torch.full((1, 6), 255.0))
    ttfs.convert(net(), x())(x())


def test_dead_code_has_no_neurons() -> None:
    class Dead(Written):
        def forward(self, v: Tensor) -> Tensor:  # type: ignore[override]
            v = self.one(v)
            F.gelu(v)
            self.one(F.relu(v)[:, :6]).relu()
            return self.two(F.relu(v))

    ann = Dead().eval()
    snn = ttfs.convert(ann, x())
    assert len(snn.layers) == 1
    assert equal(snn, ann)


def test_a_write_in_place_is_not_dead() -> None:
    class Inplace(Written):
        def forward(self, v: Tensor) -> Tensor:  # type: ignore[override]
            v = self.one(v)
            F.relu_(v)
            return self.two(v)

    ann = Inplace().eval()
    assert equal(ttfs.convert(ann, x()), ann)


def test_averages_of_weights_average_windows_too() -> None:
    snn = ttfs.convert(net(), x())
    average = AveragedModel(snn)
    snn.layers["_1"].width *= 3
    average.update_parameters(snn)
    assert average.module.windows == snn.windows


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_comparison_is_as_exact_in_low_precision(dtype: torch.dtype) -> None:
    layers = [layer for _ in range(12) for layer in (nn.Linear(6, 6), nn.ReLU())]
    ann = nn.Sequential(*layers, nn.Linear(6, 4)).to(dtype).eval()
    snn = ttfs.convert(ann, x().to(dtype))
    assert next(snn.parameters()).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_weights_that_are_buffers_give_the_dtype_of_the_images(dtype: torch.dtype) -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("one", torch.randn(8, 6))
            self.register_buffer("two", torch.randn(4, 8))

        def forward(self, v: Tensor) -> Tensor:
            return F.linear(F.relu(F.linear(v, self.one)), self.two)

    ann, images = Frozen().to(dtype), x().to(dtype)
    snn = ttfs.convert(ann, images)
    assert {parameter.dtype for parameter in snn.parameters()} == {dtype}
    assert snn(images).dtype == dtype
    assert torch.allclose(snn(images), ann(images), rtol=1e-2 if dtype.itemsize == 2 else 1e-4)


def test_arguments_flags_and_shapes() -> None:
    ann = Written().eval()
    assert equal(ttfs.convert(ann, x()), ann)


def test_inputs_may_come_as_positions_or_have_a_default() -> None:
    class Open(Written):
        def forward(self, v: Tensor, *others: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(v, *others)

    class Packed(Written):
        def forward(self, *inputs: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(inputs[0])

    class Default(Written):
        def forward(self, v: Tensor | None = None) -> Tensor:  # type: ignore[override]
            assert v is not None
            return super().forward(v)

    for kind in (Open, Packed, Default):
        ann = kind().eval()
        assert equal(ttfs.convert(ann, x()), ann), kind


def test_networks_that_other_threads_run_meanwhile_are_no_part_of_it() -> None:
    other, seen = net(), []

    class Watched(Written):
        def forward(self, v: Tensor) -> Tensor:  # type: ignore[override]
            with ThreadPoolExecutor(1) as pool:
                seen.append(pool.submit(other, torch.rand(2, 6, dtype=torch.float64)).result())
            return super().forward(v)

    other.double()
    snn = ttfs.convert(ann := Watched().eval(), x())
    assert seen
    assert len(snn.layers) == 1
    assert equal(snn, ann)


def test_values_that_are_cast_keep_their_places() -> None:
    """Places are numbers, which low precision would round."""

    class Casting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 300), nn.Linear(300, 4)

        def forward(self, v: Tensor) -> Tensor:
            return self.two(F.relu(self.one(v)).to(torch.bfloat16).to(v.dtype))

    ann, images = Casting().eval(), x()
    assert torch.allclose(ttfs.convert(ann, images)(images), ann(images), atol=2e-2)


def test_nan_is_no_agreement() -> None:
    """inf - relu(inf - v) is NaN, where the network gives v."""
    ann = nn.Sequential(net(), nn.Hardtanh(-torch.inf, torch.inf))
    with pytest.raises(ConversionError, match="differ"):
        ttfs.convert(ann, x())


def test_what_overflows_in_float64_too_is_told_by_its_layer() -> None:
    ann = nn.Sequential(*(nn.Linear(6, 6) if i % 2 == 0 else nn.ReLU() for i in range(7))).double()
    for i in (0, 2, 4):
        ann[i].weight.data.fill_(1e150)
    with pytest.raises(ConversionError, match="layer _5: an activation is inf"):
        ttfs.convert(ann, x().double())


def test_casts_between_precisions() -> None:
    class Casting(Written):
        def forward(self, v: Tensor) -> Tensor:  # type: ignore[override]
            return self.two(F.relu(self.one(v.float()).to(torch.float32)).type_as(v))

    ann = Casting().eval()
    assert equal(ttfs.convert(ann, x()), ann)


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, AveragedModel, torch.compile, lambda m: nn.DataParallel(AveragedModel(m))],
)
def test_wrappers_are_taken_off(wrap) -> None:
    ann = net()
    assert equal(ttfs.convert(wrap(ann), x()), ann)


def test_what_is_no_network_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(net(), x())
    for other in (scripted, torch.export.export(net(), (x(),))):
        with pytest.raises(
            ConversionError, match=r"convert the nn.Module that it was scripted or exported from"
        ):
            ttfs.convert(other, x())
    with pytest.raises(ConversionError, match=r"function: is no nn.Module"):
        ttfs.convert(F.relu, x())
    with pytest.raises(ConversionError, match="no shape yet; run it once"):
        ttfs.convert(nn.Sequential(nn.LazyLinear(4)), x())


def test_threads_convert_at_once() -> None:
    ann, images = net(), x()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ttfs.convert(ann, images), range(16)))
    assert all(torch.equal(snn(images), found[0](images)) for snn in found)


def test_calibration_takes_what_loaders_give() -> None:
    images, ann = x(), net()
    expected = ttfs.convert(ann, images).windows
    pairs = DataLoader(TensorDataset(images, images), 8)
    labels = torch.zeros(len(images))
    dicts = [{"label": labels, "image": images}], [{"features": images, "label": labels}]
    for loader in (pairs, *dicts, [(images, 3)]):
        assert ttfs.convert(ann, loader).windows["_1"] == pytest.approx(expected["_1"])
    with pytest.raises(ConversionError, match="calibration gives str; give images"):
        ttfs.convert(ann, ["images"])
    with pytest.raises(ConversionError, match=r"calibration is None .*; give images \[N"):
        ttfs.convert(ann, None)  # type: ignore[arg-type]
    for pair in ((images, labels), [images, torch.zeros(len(images), 10)]):
        with pytest.raises(ConversionError, match=r"one pair as \[\(images, labels\)\]"):
            ttfs.convert(ann, pair)
    for number in (torch.tensor(0.5), [torch.tensor(0.5)]):
        with pytest.raises(ConversionError, match="calibration gives a single number; give"):
            ttfs.convert(ann, number)
    with pytest.raises(ConversionError, match="input_range is None; give"):
        ttfs.convert(ann, images, input_range=None)  # type: ignore[arg-type]


def test_the_error_of_a_loader_is_told() -> None:
    """A loader may fail with TypeError when its workers start."""

    class Loader:
        def __iter__(self) -> Iterator[Tensor]:
            raise TypeError("cannot pickle the data set")

    with pytest.raises(ConversionError, match="cannot pickle the data set"):
        ttfs.convert(net(), Loader())  # type: ignore[arg-type]


def test_a_network_made_in_inference_mode_learns() -> None:
    with torch.inference_mode():
        snn = ttfs.convert(net(), x())
        chip = ttfs.deploy(snn, ttfs.Hardware(weight_bits=4, time_bits=4))
    for network in (snn, chip):
        network(x()).sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


def test_softmax_at_the_end_is_to_be_left_out() -> None:
    for last in (nn.Softmax(1), nn.LogSoftmax(1)):
        with pytest.raises(ConversionError, match="leave it out: the argmax stays"):
            ttfs.convert(nn.Sequential(net(), last), x())
    for function in (F.softmax, F.log_softmax, torch.softmax):
        with pytest.raises(ConversionError, match=r"softmax.*leave it out: the argmax stays"):
            ttfs.convert(Softened(function), x())


class Softened(nn.Module):
    """A network that ends with a function."""

    def __init__(self, function: Callable[..., Tensor]):
        super().__init__()
        self.function, self.net = function, net()

    def forward(self, v: Tensor) -> Tensor:
        return self.function(self.net(v), 1)
