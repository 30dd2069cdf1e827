"""Each network against the nearest one of torchvision or timm: throughput, building, parameters. One run, side by side.

    python benchmarks/nets.py [--only resnet] [--work 4] [--batch 8] [--rounds 9] [--device cpu] [--train]
                              [--channels-last] [--dtype bfloat16] [--write benchmarks/results/NAME.md]

Both sides compute in the same type and memory layout, and take turns; the ratio is the median over the rounds, and what
follows it is half the width of their middle half. The architectures are the nearest, and the last column says what
differs: beside the throughput stand the parameters and the multiply-adds of both, and the ratio is also given per
multiply-add. Networks without a counterpart, or whose counterpart's package is not installed, are measured alone.
"""

from __future__ import annotations

import argparse
import copy
import functools
import importlib.util
import pkgutil
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from step_time import machine, synchronize
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import torchslim as slim
from torchslim import nets
from torchslim.nets import cyclegan, dcgan, nets_factory, pix2pix


class Counterpart(NamedTuple):
    """The nearest model elsewhere.

    Attributes:
        place: the function that builds it.
        difference: what it computes otherwise; nothing: the same, padding included.
        arguments: of the function.
    """

    place: str
    difference: str = ""
    arguments: Mapping[str, Any] = MappingProxyType({})

    @property
    def is_installed(self) -> bool:
        """Whether its package is."""
        return importlib.util.find_spec(self.place.partition(".")[0]) is not None

    @property
    def name(self) -> str:
        """As in the table: the parameters tell whether the arguments are right."""
        package, _, function = self.place.replace(":", ".").partition(".")
        return f"{package} {self.arguments.get('variant', function.rpartition('.')[2])}"

    @property
    def build(self) -> Callable[[], nn.Module]:
        """Builds the model, with weights of its own; its package is imported."""
        return functools.partial(pkgutil.resolve_name(self.place), **self.arguments)


_EVEN = "pads evenly"
_SAME = {"pad_type": "same"}  # as TensorFlow pads: what timm does for the weights that come from there
_LOGITS = {"aux_logits": False, "init_weights": False}
_DENSE = "fully connected layers, not convolutions"
COUNTERPARTS = {
    "alexnet_v2": Counterpart("torchvision.models:alexnet", "`conv1` pads; 256 maps, not 384, in `conv4`; " + _DENSE),
    **{name: Counterpart(f"torchvision.models:{theirs}", _DENSE)
       for name, theirs in (("vgg_a", "vgg11"), ("vgg_16", "vgg16"), ("vgg_19", "vgg19"))},
    "inception_v1": Counterpart("torchvision.models:googlenet", _EVEN, _LOGITS),
    "inception_v3": Counterpart("torchvision.models:inception_v3", "", _LOGITS),
    "inception_v4": Counterpart("timm.models:inception_v4"),
    "inception_resnet_v2": Counterpart("timm.models:inception_resnet_v2"),
    "s3dg": Counterpart("torchvision.models.video:s3d", f"no gates; {_EVEN}"),
    **{f"resnet_v1_{depth}": Counterpart(f"torchvision.models:resnet{depth}", "strides in the first unit of a block")
       for depth in (50, 101, 152)},
    "resnet_v1_200": Counterpart("timm.models:resnet200", "strides in the first unit of a block"),
    **{f"resnet_v2_{depth}": Counterpart(f"timm.models:resnetv2_{depth}", "strides in the first unit of a block")
       for depth in (50, 101, 152)},
    "resnet_v2_200": Counterpart(
        "timm.models:resnetv2_50", "strides in the first unit of a block", {"layers": [3, 24, 36, 3]}
    ),
    **{f"mobilenet_v1{suffix}": Counterpart(
           "timm.models.efficientnet:_gen_mobilenet_v1", "",
           {"variant": "mobilenetv1_100", "channel_multiplier": width, **_SAME})
       for suffix, width in (("", 1.0), ("_075", 0.75), ("_050", 0.5), ("_025", 0.25))},
    **{f"mobilenet_v2{suffix}": Counterpart(f"timm.models:mobilenetv2_{theirs}", "", _SAME)
       for suffix, theirs in (("", "100"), ("_140", "140"), ("_035", "035"))},
    **{f"mobilenet_v3_{kind}": Counterpart(f"timm.models:tf_mobilenetv3_{theirs}_100")
       for kind, theirs in (("small", "small"), ("large", "large"),
                            ("small_minimalistic", "small_minimal"), ("large_minimalistic", "large_minimal"))},
    **{f"mobilenet_edgetpu{suffix}": Counterpart(
           "timm.models:mobilenet_edgetpu_100", "", {"channel_multiplier": width, **_SAME})
       for suffix, width in (("", 1.0), ("_075", 0.75))},
    "nasnet_large": Counterpart("timm.models:nasnetalarge"),
    "pnasnet_large": Counterpart("timm.models:pnasnet5large"),
}  # fmt: skip

# Those that are in no factory, and what they are given.
GENERATORS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "dcgan": (dcgan.generator, (64,)),
    "cyclegan": (cyclegan.cyclegan_generator_resnet, (3, 256, 256)),
    "pix2pix": (
        lambda images: slim.arg_scope(pix2pix.pix2pix_arg_scope())(pix2pix.pix2pix_generator)(images, 3),
        (3, 256, 256),
    ),
}


def input_shape(name: str) -> tuple[int, ...]:
    """Of one picture, video or noise."""
    return GENERATORS[name][1] if name in GENERATORS else nets.card(name).input_shape


def build_ours(name: str) -> nn.Module:
    """The network with its logits alone: no predictions, and no second classifier."""
    if name in GENERATORS:
        network = GENERATORS[name][0]
    else:
        known = nets.card(name)
        network = nets_factory.get_network_fn(name, known.num_classes - known.background, is_training=None)
    with slim.Graph() as graph:
        return graph.module(network(slim.placeholder((None, *input_shape(name))))[0])


def timed(action: Callable[[], nn.Module]) -> tuple[nn.Module, float]:
    """What it gives, and the seconds that it takes."""
    start = time.perf_counter()
    return action(), time.perf_counter() - start


def multiply_adds(module: nn.Module, shape: tuple[int, ...]) -> float:
    """Of one example."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(module).to("meta").eval()(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops() / 2


def seconds_of(module: nn.Module, images: torch.Tensor, dtype: torch.dtype, train: bool) -> float:
    """Of the logits, and of the gradients of their sum."""
    module.train(train)
    synchronize(images.device)
    start = time.perf_counter()
    with torch.set_grad_enabled(train), torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        logits = module(images)
    if train:
        module.zero_grad(set_to_none=True)
        getattr(logits, "logits", logits).sum().backward()
    synchronize(images.device)
    return time.perf_counter() - start


def compare(name: str, arguments: argparse.Namespace) -> tuple[str, float | None]:
    """The line of a network, and its ratio of throughputs."""
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    counterpart = COUNTERPARTS.get(name)
    there = counterpart if counterpart and counterpart.is_installed else None
    built = [timed(functools.partial(build_ours, name)), *([timed(there.build)] if there else [])]
    costs = [multiply_adds(module, input_shape(name)) for module, _ in built]
    batch = arguments.batch or max(1, min(64, round(arguments.work * 1e9 / costs[0])))
    layout = torch.channels_last if arguments.channels_last and len(input_shape(name)) == 3 else torch.contiguous_format
    sides = [module.to(device, memory_format=layout) for module, _ in built]
    images = torch.randn(batch, *input_shape(name), device=device).to(memory_format=layout)
    rounds = []
    for turn in range(arguments.rounds + 1):
        order = range(len(sides)) if turn % 2 else reversed(range(len(sides)))
        times = {side: seconds_of(sides[side], images, dtype, arguments.train) for side in order}
        rounds.append([times[side] for side in range(len(sides))])
    rounds = rounds[1:]  # the first warms up
    seconds = [statistics.median(side) for side in zip(*rounds, strict=True)]
    sizes = [sum(parameter.numel() for parameter in side.parameters()) / 1e6 for side in sides]
    ours, build = f"{batch / seconds[0]:.1f}", built[0][1]
    if there is None:
        missing = f"{counterpart.name} (not installed)" if counterpart else "none"
        line = (
            f"| {name} | {missing} | {batch} | {ours} | | | | {sizes[0]:.1f} | {costs[0] / 1e9:.2f} | {build:.2f} | |"
        )
        return line, None
    ratios = [theirs / mine for mine, theirs in rounds]
    ratio, spread = statistics.median(ratios), spread_of(ratios)
    line = (
        f"| {name} | {there.name} | {batch} | {ours} | {batch / seconds[1]:.1f} | {ratio:.2f} ± {spread:.2f} | "
        f"{ratio * costs[0] / costs[1]:.2f} | {sizes[0]:.1f} / {sizes[1]:.1f} | "
        f"{costs[0] / 1e9:.2f} / {costs[1] / 1e9:.2f} | {build:.2f} / {built[1][1]:.2f} | {there.difference} |"
    )
    return line, ratio


def spread_of(values: list[float]) -> float:
    """Half of the range that holds the middle half."""
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (0.0, 0.0, 0.0)
    return (high - low) / 2


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--work", type=float, default=4, help="billions of multiply-adds in a batch, about")
    parser.add_argument("--batch", type=int, help="examples in a batch, whatever the work")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--train", action="store_true", help="forward and backward in training mode")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    what = "forward and backward" if arguments.train else "inference"
    layout = "channels last" if arguments.channels_last else "contiguous"
    lines = [f"# Networks, {what}, {arguments.dtype}, {layout}, {machine(torch.device(arguments.device))}\n"]
    lines += ["| network | nearest | batch | images/s | theirs | ratio | per multiply-add | parameters (M) | "
              "multiply-adds (G) | build (s) | what theirs has otherwise |", "|" + " --- |" * 11]  # fmt: skip
    print(*lines, sep="\n")
    build_ours("lenet")  # what PyTorch imports at its first shape is no network's time
    ratios = []
    for name in (name for name in (*nets_factory.networks_map, *GENERATORS) if arguments.only in name):
        line, ratio = compare(name, arguments)
        ratios += [] if ratio is None else [ratio]
        lines.append(line)
        print(line, flush=True)
    if ratios:
        lines.append(f"\nMedian of the ratios {statistics.median(ratios):.2f}, smallest {min(ratios):.2f}.")
        print(lines[-1])
    if arguments.write:
        arguments.write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
