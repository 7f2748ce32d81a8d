"""Windows of a chip, shorter than those of the ideal network."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ttfs.errors import UserError
from ttfs.snn import INPUT, SpikingNetwork, images_of
from ttfs.snn.windows import check_range

BINS = 2**16
MOST = 2**24
"""Charges that are counted at once: `torch.histc` counts in float32, which ends here."""


class EmittedCharges:
    """Histograms of the charges that each hidden layer of an ideal network emits over calibration
    images [N, ...] or batches of them, of 2^16 bins from 0 to the width of its window.

    Raises UserError where there is no image, and ConversionError where images are not finite or
    leave the network's input range.
    """

    @torch.no_grad()
    def __init__(self, snn: SpikingNetwork, calibration: Tensor | Iterable[Tensor]):
        self._widths = {name: fire.width for name, fire in snn.layers.items()}
        self._counts = dict.fromkeys(snn.layers, torch.zeros(BINS, dtype=torch.float64))
        seen = 0
        for images in images_of(calibration):
            seen += len(images)
            if len(images):
                check_range(images, snn.encode.low, snn.encode.high)
            for name, charges in snn.charges(images)[1].items():
                if name != INPUT:
                    width = self._widths[name]
                    emitted = charges[charges > 0].float().cpu()  # `histc` of a GPU may refuse
                    emitted.clamp_(max=width)  # which half precision may round up
                    for part in emitted.split(MOST):
                        counts = torch.histc(part, BINS, 0.0, width)
                        self._counts[name] = self._counts[name] + counts.double()
        if not seen:
            raise UserError("deploy: calibration holds no image; give at least one")

    def close_(self, snn: SpikingNetwork, quantile: float) -> None:
        """Let each window of the network, or of a copy, close at this quantile of the layer's
        charges; a layer that emits none keeps the width that it had.
        """
        for name, layer in snn.layers.items():
            layer.width = self._width(name, quantile)

    def _width(self, name: str, quantile: float) -> float:
        counts = self._counts[name]
        if not counts.sum() > 0:
            return self._widths[name]
        share = counts.cumsum(0) / counts.sum()
        enough = int(torch.searchsorted(share, quantile - 1e-12)) + 1
        return self._widths[name] * min(enough, BINS) / BINS
