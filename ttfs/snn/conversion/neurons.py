"""The public conversion: one function for each neuron model."""

from collections.abc import Iterable

from torch import Tensor, nn

from ttfs.errors import ConversionError
from ttfs.snn.conversion.alpha1 import convert_to_alpha1
from ttfs.snn.conversion.convert import convert_to_b1
from ttfs.snn.network import SpikingNetwork

_MAPPINGS = {"b1": convert_to_b1, "alpha1": convert_to_alpha1}
"""The mapping to each neuron model."""


def convert(
    ann: nn.Module,
    calibration: Tensor | Iterable[Tensor],
    neuron: str = "b1",
    headroom: float = 0.5,
    input_range: tuple[float, float] = (0.0, 1.0),
) -> SpikingNetwork:
    """Map a feed-forward ReLU network exactly to a TTFS network; the ANN is left as it is.

    The weights of B1 neurons are the ANN's own, batch norm folded in (Stanojevic et al. 2024, Nat.
    Commun. 15:6793). α1 neurons store currents from which these weights follow, up to a scale of
    each neuron (`to_alpha1_`). Each window is (1 + headroom) times the largest activation of its
    layer over the calibration images (Stanojevic et al. 2023, Neural Networks, with headroom 0.5);
    a stronger activation is clipped to the opening of its window.

    Args:
        ann: any feed-forward module whose forward does not branch on values, made of what is
            piecewise linear: linear layers, convolutions, transposed ones too, batch norm, ReLU and
            its clipped and leaky kin, max and mean pools, maxout, upsampling, sums, constants,
            concatenation and all that moves values; as modules or functions, used once or more. It
            is mapped as in `eval()`. A module used twice becomes two sets of synapses.
        calibration: images [N, ...] as the ANN takes them, or an iterable of such batches.
        neuron: the neuron model, "b1", or "alpha1" for a chain of convolutions, linear layers and
            max pools.
        headroom: margin of the windows over the largest activation, >= 0.
        input_range: (low, high), the range of the inputs; low stays silent, high spikes at once.

    Returns:
        A SpikingNetwork with the ANN's inputs, outputs and dtype.

    Raises:
        ConversionError: naming the module and the reason, where there is no exact counterpart,
            calibration fails, or rounding to float32 would move the outputs by more than 1 %.
    """
    if not isinstance(neuron, str) or neuron not in _MAPPINGS:
        raise ConversionError(
            f"neuron {neuron!r} is not known; choose from: {', '.join(_MAPPINGS)}"
        )
    return _MAPPINGS[neuron](ann, calibration, headroom, input_range)
