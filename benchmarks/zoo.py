"""Convert networks that nobody here wrote: each classifier of torchvision, weights as drawn.

    python benchmarks/zoo.py [name ...]

A line a network: error of the logits in float64 as a share of the largest, spikes per neuron,
seconds that the conversion took and seconds of one forward pass of its 2 images; or why it is
refused.
"""

import argparse
import time

import torch
import torchvision

import ttfs
from ttfs import ConversionError

SIZES = {"inception_v3": 96, "googlenet": 96}


def line(name: str) -> str:
    """Return what came of one network."""
    torch.manual_seed(0)
    size = SIZES.get(name, 64)
    options = {"init_weights": False, "aux_logits": False} if name in SIZES else {}
    ann = torchvision.models.get_model(name, weights=None, **options).eval()
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        begin = time.perf_counter()
        expected = ann(images)
        forward, begin = time.perf_counter() - begin, time.perf_counter()
        try:
            snn = ttfs.convert(ann, images)
        except ConversionError as error:
            return f"{name:24} refused: {error}"
        seconds = time.perf_counter() - begin
        exact = ann.double()(images.double())
        error = (snn.double()(images.double()) - exact).abs().max() / exact.abs().max()
        single = (expected - exact).abs().max() / exact.abs().max()
    spikes = ttfs.spikes_per_neuron(snn, images.double())
    return (
        f"{name:24} error {error:.1e} (the ANN's in float32 {single:.1e}), "
        f"spikes per neuron {spikes:.3f}, converted in {seconds:.1f} s, forward {forward:.2f} s"
    )


def main() -> None:
    """Print a line a network."""
    known = torchvision.models.list_models(torchvision.models)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="networks of torchvision; all without one")
    names = parser.parse_args().names or known
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"torchvision has no network {unknown[0]!r}")
    for name in names:
        print(line(name), flush=True)


if __name__ == "__main__":
    main()
