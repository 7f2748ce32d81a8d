"""When and how the logits are read: early, in part, or by the first output neuron that spikes."""

import pytest
import torch
from kit.exactness import IMAGE, conv, draw, headed
from torch import Tensor, nn

from ttfs.snn import connectivity, convert, simulate

pytestmark = pytest.mark.usefixtures("seed")


class ThreeSources(nn.Module):
    """Logits that read the second hidden layer and, past it, the first and the input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 5)
        self.near, self.far, self.past = nn.Linear(5, 3), nn.Linear(5, 3), nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        early = torch.relu(self.first(images))
        late = torch.relu(self.second(early))
        return self.near(late) + self.far(early) + self.past(images)


@torch.no_grad()
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 0.8, 0.95, 1.0, 1.5])
def test_an_early_read_out_counts_the_spikes_that_came_by_then(share: float) -> None:
    images = torch.rand(7, 6).double()
    snn = convert(ThreeSources().double(), images)
    time, windows, times = share * snn.latency, snn.windows, snn.spike_times(images)
    *_, output = connectivity(snn)
    assert output.projection is not None
    expected = torch.from_numpy(output.projection.constant).repeat(len(images), 1)
    for name, matrix in output.projection.matrices.items():
        left = (min(time, windows[name][1]) - times[name]).clamp(min=0.0)
        expected += left @ torch.from_numpy(matrix.toarray()).T
    assert torch.allclose(snn.read_out(images, time), expected, rtol=0, atol=1e-12)
    assert torch.equal(snn.read_out(images, snn.latency), snn(images))


@torch.no_grad()
@pytest.mark.parametrize("neuron", ["b1", "alpha1"])
def test_the_first_output_spike_is_the_largest_logit(neuron: str) -> None:
    ann = headed(IMAGE, conv(), nn.ReLU(), conv(4, 6), nn.ReLU()).double()
    images = draw(IMAGE, n=40).double()
    snn = convert(ann, images, neuron)
    logits = snn(images)
    classes, times = snn.first_spike(images)
    assert torch.equal(classes, logits.argmax(1))
    assert torch.allclose(times, snn.latency + logits.max() - logits.amax(1))
    assert times.min() == snn.latency
    threshold = logits.max().item() + 0.5
    spikes = simulate(snn, images[:4], threshold).spike_times["output"]
    classes, times = snn.first_spike(images[:4], threshold)
    assert torch.equal(spikes.argmin(1), classes)
    assert torch.allclose(spikes.amin(1), times, rtol=0, atol=1e-9)


@torch.no_grad()
def test_output_spikes_at_the_same_time() -> None:
    ann = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 3)).double()
    for parameter in ann.parameters():
        parameter.fill_(0.0)
    ann[2].bias.copy_(torch.tensor([-1.0, 3.0, 4.0]))
    images = torch.rand(2, 1).double()
    snn = convert(ann, images)
    first, times = snn.first_spike(images)
    assert (first.tolist(), times.tolist()) == ([2, 2], [snn.latency] * 2)
    first, times = snn.first_spike(images, threshold=2.0)  # two are above it: the lower class
    assert (first.tolist(), times.tolist()) == ([1, 1], [snn.latency] * 2)
    spikes = simulate(snn, images, threshold=2.0).spike_times["output"]
    assert spikes[0].tolist() == [snn.latency + 3.0, snn.latency, snn.latency]
    with pytest.raises(ValueError, match="no images"):
        snn.first_spike(images[:0])
