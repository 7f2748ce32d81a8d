"""The event-driven simulator against sums done by hand, a dense time grid, and without the closed
form's help.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kit.exactness import IMAGE, Net, conv, draw, headed, norm, randomise
from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.methods._measuring import check_simulation, simulation_errors
from ttfs.snn import (
    EarliestSpike,
    Encode,
    Fire,
    OneToOne,
    SpikingNetwork,
    Synapses,
    connectivity,
    convert,
    simulate,
    to_alpha1_,
)

SILENT = math.inf


def neuron(weights: list[float], bias: float, width: float, alpha1: bool = False) -> SpikingNetwork:
    """One hidden neuron with a window of the given width; the logit is twice its charge, plus 1.

    Of an α1 neuron the weights are the currents.
    """
    ann = nn.Sequential(nn.Linear(len(weights), 1), nn.ReLU(), nn.Linear(1, 1)).double()
    state = {"0.weight": [weights], "0.bias": [bias], "2.weight": [[2.0]], "2.bias": [1.0]}
    ann.load_state_dict({key: torch.tensor(value).double() for key, value in state.items()})
    snn = convert(ann, torch.rand(4, len(weights)).double())
    if alpha1:
        to_alpha1_(snn, drawn=True)
    (fire,) = snn.layers.values()
    fire.width = width
    return snn


def run(snn: SpikingNetwork, pixels: list[float]) -> tuple[float, float, float]:
    """Return the neuron's spike time, the logit and the early-fire rate."""
    seen = simulate(snn, torch.tensor([pixels]).double())
    return seen.spike_times["_1"].item(), seen.logits.item(), seen.early_fire_rate


@pytest.mark.parametrize(
    ("weights", "bias", "width", "pixels", "time", "logit"),
    [
        # V = 2 * 0.5 + 1 * 0.25 = 1.25 at t = 1; theta = 3 - 0.5 = 2.5; so it fires at 1 + 1.25,
        # 1.75 before 4
        ([2.0, 1.0], 0.5, 3.0, [0.5, 0.25], 2.25, 4.5),
        # a silent pixel leaves nothing: V = 1, theta = 2.5, 1 + 1.5
        ([2.0, 1.0], 0.5, 3.0, [0.5, 0.0], 2.5, 4.0),
        # V = 1.75 with the bias, more than the window is wide: it fires as the window opens, its
        # charge is 1.5
        ([2.0, 1.0], 0.5, 1.5, [0.5, 0.25], 1.0, 4.0),
        # V = -0.5 with the bias: silent
        ([-2.0, 1.0], 0.25, 3.0, [0.5, 0.25], SILENT, 1.0),
        # V = 0 with the bias, to the last bit: it would fire as the window closes, so it is silent
        ([-2.0, 2.0], 0.0, 3.0, [0.5, 0.5], SILENT, 1.0),
        # no input at all, the bias alone fires
        ([2.0, 1.0], 0.5, 3.0, [0.0, 0.0], 3.5, 2.0),
        # no input and no bias: silent, in a window whose width is not exact in binary
        ([2.0, 1.0], 0.0, 0.1, [0.0, 0.0], SILENT, 1.0),
    ],
)
def test_one_neuron(weights, bias, width, pixels, time, logit) -> None:
    assert run(neuron(weights, bias, width), pixels)[:2] == pytest.approx((time, logit), abs=1e-14)


@pytest.mark.parametrize(
    ("weights", "width", "pixels", "time", "early"),
    [
        # theta = 2. The first pixel spikes at 0.1: V(0.5) = 6 * 0.4 = 2.4 crosses; then 8 is taken
        # off, V(1) = 1.4
        ([6.0, -8.0], 2.0, [0.9, 0.5], 1.6, 1.0),
        # inhibition first: V(0.5) = -3.2, V(1) = -4.2, never above
        ([6.0, -8.0], 2.0, [0.5, 0.9], SILENT, 0.0),
        # V(0.7) = 1.2, V(1) = 0.6: below theta all along
        ([6.0, -8.0], 2.0, [0.5, 0.3], 2.4, 0.0),
        # above theta from before the opening on: it fires at the opening, and hardware without a
        # gate before it
        ([6.0, -8.0], 2.0, [0.9, 0.1], 1.0, 1.0),
        # the same with no spike after it: V(1) = 2.7
        ([3.0, -8.0], 2.0, [0.9, 0.0], 1.0, 1.0),
        # V(0.5) = 2 reaches theta as the second pixel pulls it down again: V(1) = 0
        ([4.0, -8.0], 2.0, [1.0, 0.5], SILENT, 1.0),
        # V(1) = 2 reaches theta as the window opens, no sooner
        ([4.0, 0.0], 2.0, [0.5, 0.0], 1.0, 0.0),
    ],
)
def test_early_firing_is_seen(weights, width, pixels, time, early) -> None:
    seen = run(neuron(weights, 0.0, width), pixels)
    assert (seen[0], seen[2]) == pytest.approx((time, early))


@pytest.mark.parametrize(
    ("currents", "bias", "width", "pixels", "time", "logit", "early"),
    [
        # B = 1 + 1.5; V(1) = 0.5 + 0.125; theta = 2.5 * (2 - 0.25) = 4.375; 1 + (4.375 - 0.625) /
        # 2.5, 0.5 before 3
        ([1.0, 0.5], 0.25, 2.0, [0.5, 0.25], 2.5, 2.0, 0.0),
        # a black pixel spikes as its window closes, so that its current is there from then on
        ([1.0, 0.5], 0.25, 2.0, [0.5, 0.0], 2.55, 1.9, 0.0),
        # B = 1 - 0.5; V(1) = -0.75; theta = 0.875 would be reached at 1 + 3.25: forced at 3
        ([-1.0, 0.5], 0.25, 2.0, [0.8, 0.1], 3.0, 1.0, 0.0),
        # B = 0 and B < 0: never, so forced at 3, though V(1) is positive with the bias
        ([-1.5, 0.5], 0.9, 2.0, [0.1, 0.9], 3.0, 1.0, 0.0),
        ([-3.0, 0.5], 0.9, 2.0, [0.1, 0.9], 3.0, 1.0, 0.0),
        # B = 2; theta = 2 * 0.25 is crossed before the window opens: V(1) = 0.6; it fires at the
        # opening
        ([1.0, 0.0], 0.0, 0.25, [0.6, 0.0], 1.0, 1.5, 1.0),
    ],
)
def test_one_alpha1_neuron(currents, bias, width, pixels, time, logit, early) -> None:
    assert run(neuron(currents, bias, width, alpha1=True), pixels) == pytest.approx(
        (time, logit, early), abs=1e-14
    )


@pytest.mark.parametrize("alpha1", [False, True])
def test_a_black_pixel_spikes_last_where_every_neuron_spikes_and_else_never(alpha1: bool) -> None:
    seen = simulate(neuron([0.5, 0.25], 0.0, 3.0, alpha1), torch.tensor([[0.25, 0.0]]).double())
    assert seen.spike_times["input"].tolist() == [[0.75, 1.0 if alpha1 else SILENT]]


def test_a_threshold_below_rest_is_crossed_from_the_start() -> None:
    assert run(neuron([1.0], 2.0, 1.5), [0.5])[::2] == (1.0, 1.0)  # theta = 1.5 - 2
    assert run(neuron([1.0], 1.5, 1.5), [0.0])[::2] == (1.0, 1.0)  # theta = 0 at rest


def test_the_early_fire_rate_is_a_share_of_neurons_and_images() -> None:
    images = torch.tensor([[0.9, 0.5], [0.5, 0.9], [0.5, 0.3], [0.9, 0.1]]).double()
    assert simulate(neuron([6.0, -8.0], 0.0, 2.0), images).early_fire_rate == 0.5
    assert (
        simulate(convert(nn.Linear(2, 2), torch.rand(2, 2)), torch.rand(2, 2)).early_fire_rate
        == 0.0
    )


def skipping() -> SpikingNetwork:
    """x -> a -> b, and c takes a and b: the currents of a end when b's window opens, before c's
    does.
    """
    net = Net(
        lambda net, x: net.head(F.relu((a := F.relu(net.a(x))) + F.relu(net.b(a)))),
        a=nn.Linear(1, 1), b=nn.Linear(1, 1), head=nn.Linear(1, 1),
    ).double()  # fmt: skip
    for layer, weight, bias in ((net.a, 2.0, 0.0), (net.b, -1.0, 3.0), (net.head, 1.0, 0.0)):
        layer.weight.data.fill_(weight)
        layer.bias.data.fill_(bias)
    snn = convert(net, torch.rand(4, 1).double())
    for fire, width in zip(snn.layers.values(), (4.0, 8.0, 16.0), strict=True):
        fire.width = width
    return snn


def test_currents_end_with_the_window_of_their_spike() -> None:
    # a = 2 * 0.5 = 1, spikes at 5 - 1; b = 3 - 1 = 2, spikes at 13 - 2; c = 1 + 2, spikes at 29 -
    # 3.
    # Were a's current to run on to c's opening at 13, c would get 9 of it.
    snn = skipping()
    assert list(snn.windows.values()) == [(0, 1), (1, 5), (5, 13), (13, 29)]
    seen = simulate(snn, torch.tensor([[0.5]]).double())
    assert [times.item() for times in seen.spike_times.values()] == pytest.approx(
        [0.5, 4.0, 11.0, 26.0]
    )
    assert seen.logits.item() == pytest.approx(3.0)


@torch.no_grad()
def test_the_latest_spike_of_a_field_passes_where_the_scale_is_negative() -> None:
    ann = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.BatchNorm2d(1), nn.MaxPool2d(2), nn.Flatten()
    )
    ann[0].weight.fill_(1.0)
    ann[2].weight.fill_(-2.0)
    ann[2].eps = 0.0
    images = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.0, 0.2, 0.3, 0.4]]).reshape(2, 1, 2, 2).double()
    seen = simulate(convert(ann.double().eval(), images), images)
    assert seen.logits.flatten().tolist() == pytest.approx(
        [-0.2, 0.0]
    )  # a silent neuron in the field: no spike


def test_membranes_see_the_spikes_of_several_layers_in_the_order_of_time() -> None:
    # The threshold of c is 4; its membrane is 1 from 5 on, when the current of a ends, and 3 at 13.
    snn = skipping()
    *_, last = snn.layers
    snn.layers[last].width = 4.0
    seen = simulate(snn, torch.tensor([[0.5]]).double())
    assert seen.early_fire_rate == 0.0
    assert seen.spike_times[last].item() == 14.0


def test_float32_images_are_simulated_in_float64() -> None:
    pixels = torch.tensor([[0.1, 0.7]])
    seen = simulate(neuron([2.0, 1.0], 0.5, 3.0), pixels)
    assert torch.equal(seen.spike_times["input"], 1.0 - pixels.double())
    time = 1.0 + 2.5 - (2.0 * pixels[0, 0].double() + pixels[0, 1].double())
    assert seen.spike_times["_1"].item() == pytest.approx(time.item(), abs=1e-14)


@pytest.mark.usefixtures("seed")
def test_a_dense_time_grid_sees_the_same() -> None:
    """V(t) on a grid of 1e-4 tau_c, the current of each pixel drawn as a step: no events, no closed
    form.
    """
    ann = nn.Sequential(nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 2)).double()
    nn.init.normal_(ann[0].weight, std=2.0)
    pixels = torch.rand(1, 6).double()
    snn = convert(ann, pixels, headroom=0.0)
    t_min, t_max = snn.windows["_1"]
    seen = simulate(snn, pixels)
    step, spikes = 1e-4, 1 - pixels.numpy()
    weight, bias = (part.detach().numpy() for part in (ann[0].weight, ann[0].bias))
    early, membrane, threshold = np.zeros(30, bool), np.zeros(30), t_max - t_min - bias
    fired = np.full(30, np.inf)
    for time in np.arange(0.0, t_max, step):
        before = time < t_min
        membrane += step * (weight @ (spikes[0] <= time) if before else 1.0)
        early |= before & (membrane >= threshold)
        fired = np.where(~before & (membrane >= threshold) & np.isinf(fired), time, fired)
    times = seen.spike_times["_1"][0].numpy()
    clear = ~(np.abs(times - t_max) < 0.01)  # silence itself is a matter of the last step
    assert np.array_equal(np.isinf(times)[clear], np.isinf(fired)[clear])
    spiking = clear & np.isfinite(times)
    assert np.abs(times[spiking] - fired[spiking]).max(initial=0) < 0.01
    assert abs(early.mean() - seen.early_fire_rate) <= 2 / 30


@pytest.mark.usefixtures("seed")
@torch.no_grad()
def test_a_difference_from_the_simulator_is_found_in_its_layer() -> None:
    """A late spike counts by its delay, a missing one by its charge."""
    ann = headed(IMAGE, conv(), nn.ReLU(), conv(4, 3), nn.ReLU()).double()
    images = draw(IMAGE, n=2).double()
    snn = convert(ann, images)
    found = simulate(snn, images)
    assert max(simulation_errors(snn, found, images).values()) < 1e-9
    charges = snn.charges(images)[1]
    first, second = snn.layers
    place = charges[first].flatten().argmax()
    found.spike_times[first].view(-1)[place] += 0.01
    assert simulation_errors(snn, found, images)[first] == pytest.approx(0.01)
    found.spike_times[second].view(-1)[charges[second].argmax()] = math.inf
    errors = simulation_errors(snn, found, images)
    assert errors[second] == pytest.approx(charges[second].max().item())
    with pytest.raises(UserError, match=rf"^layer {first}: .* 4e\+06 tau_c, by 5e-10: raise"):
        check_simulation(errors, 1e-9, 4e6)
    check_simulation(errors, math.inf, 4e6)


def test_the_closed_form_is_never_called(monkeypatch) -> None:
    layers = [
        conv(),
        norm(),
        nn.ReLU(),
        norm(),
        nn.MaxPool2d(2),
        norm(),
        nn.ReLU(),
        conv(4, 4),
        nn.ReLU(),
    ]
    snn = convert(randomise(headed(IMAGE, *layers)), draw(IMAGE, -1, 1), input_range=(-1, 1))

    def fail(*_: object) -> Tensor:
        raise AssertionError("the simulator asked the closed form")

    for kind in (
        SpikingNetwork,
        Encode,
        Fire,
        Synapses,
        OneToOne,
        EarliestSpike,
        nn.Conv2d,
        nn.Linear,
    ):
        monkeypatch.setattr(kind, "forward", fail)
    for name in ("charges", "spike_times"):
        monkeypatch.setattr(SpikingNetwork, name, fail)
    assert len(simulate(snn, draw(IMAGE, -1, 1, n=1)).spike_times) == 4
    assert len(list(connectivity(snn))) == 6
