"""Convert networks that nobody here wrote: classifiers of torchvision and timm, weights as drawn.

    python benchmarks/zoo.py [name ...]

A row of a Markdown table a network; `torchvision` and `timm` stand for all networks listed here,
`timm/resnet18` for one of timm, which is no dependency: `pip install timm`. Scales of batch norm
are drawn of both signs, and its statistics are those of one batch, so that no layer is dead.

The smallest image of SIDES that a network takes is used. Errors are those of the logits, as a share
of the largest, from the ANN in float64.
"""

import argparse
import importlib
import time
from typing import Any

import torch
from torch import Tensor, nn

import ttfs
from ttfs import ConversionError

SIDES = (64, 96, 128, 160, 192, 224)
TORCHVISION = """
    alexnet vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn resnet18 resnet34 resnet50
    resnet101 resnet152 resnext50_32x4d resnext101_32x8d resnext101_64x4d wide_resnet50_2
    wide_resnet101_2 densenet121 densenet161 densenet169 densenet201 squeezenet1_0 squeezenet1_1
    googlenet inception_v3 mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2
    shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0 regnet_x_400mf
    regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_x_16gf regnet_x_32gf
    regnet_y_400mf mobilenet_v3_small efficientnet_b0 convnext_tiny swin_t vit_b_16
"""
TIMM = """
    resnet10t resnet18 resnet18d resnet26t resnet34 resnet50 resnet50c resnet50s resnetaa34d
    resnetaa50 resnetblur18 resnetblur50 resnext50_32x4d resnetv2_50 resnetv2_50d repvgg_a0 gernet_s
    mobileone_s0 res2net50_26w_4s res2next50 dpn48b dpn68 dpn68b dla34 dla46_c dla60_res2net
    densenet121 densenetblur121d vgg11 vgg11_bn hrnet_w18_small hrnet_w18 selecsls42 selecsls60
    legacy_xception xception41 inception_v3 inception_v4 inception_resnet_v2 vovnet39a cspresnet50
    cspresnext50 cspdarknet53 darknet53 regnetx_002 regnetx_004 mobilenetv1_100 mobilenetv2_100
    efficientnet_lite0 mnasnet_050 fbnetc_100 seresnet18 skresnet18 resnet50_gn convnext_atto
"""


def network(name: str) -> nn.Module:
    """Return a network with drawn weights, in float64."""
    torch.manual_seed(0)
    home, _, own = name.rpartition("/")
    options: dict[str, Any] = {}
    if home == "timm":
        build = importlib.import_module("timm").create_model
    else:
        build, options = importlib.import_module("torchvision.models").get_model, {"weights": None}
        if own in ("googlenet", "inception_v3"):
            options |= {"init_weights": False, "aux_logits": False}
    ann = build(own, **options).double()
    for norm in ann.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.affine:
            sign = torch.randint(0, 2, norm.weight.shape) * 2 - 1
            norm.weight.data = torch.empty_like(norm.weight).uniform_(0.5, 1.5) * sign
            norm.bias.data.normal_(0, 0.5)
            norm.momentum = None  # statistics are the mean over the batches seen: of one
    return ann


def images_for(ann: nn.Module) -> Tensor | None:
    """Return four images of the smallest side that the network takes; its batch norms see them."""
    for side in SIDES:
        images = torch.rand(4, 3, side, side, dtype=torch.float64)
        try:
            ann.train()(images)
        except (RuntimeError, ValueError, AssertionError, IndexError):
            continue
        ann.eval()
        return images
    return None


def row(name: str) -> str:
    """Return what came of one network."""
    ann = network(name)
    with torch.no_grad():
        images = images_for(ann)
        if images is None:
            return f"| {name} | | takes none of the images | | | | |"
        images = images[:2]
        size = f"{images.shape[-1]}"
        begin = time.perf_counter()
        try:
            snn = ttfs.convert(ann, images)
        except ConversionError as error:
            return f"| {name} | {size} | refused: {error} | | | | |"
        seconds = time.perf_counter() - begin
        exact = ann(images)
        errors = [_error(snn(images), exact)]
        spikes = ttfs.spikes_per_neuron(snn, images)
        errors += [_error(net.float()(images.float()), exact) for net in (snn, ann)]
    double, single, own = (f"{error:.1e}" for error in errors)
    return f"| {name} | {size} | {double} | {single} | {own} | {spikes:.3f} | {seconds:.1f} |"


def _error(logits: Tensor, exact: Tensor) -> float:
    return ((logits - exact).abs().max() / exact.abs().max()).item()


def main() -> None:
    """Print the table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=["torchvision"], help="networks; see above")
    names = parser.parse_args().names
    print("| network | px | float64 | float32 | float32 of the ANN | spikes per neuron | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        timm = [f"timm/{own}" for own in TIMM.split()]
        for each in {"torchvision": TORCHVISION.split(), "timm": timm}.get(name, [name]):
            print(row(each), flush=True)


if __name__ == "__main__":
    main()
