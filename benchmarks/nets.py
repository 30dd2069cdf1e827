"""Each network against the nearest one of torchvision: throughput, building, parameters. One run, ratios of medians.

    python benchmarks/nets.py [--only resnet] [--batch 8] [--rounds 9] [--device cpu] [--train] [--channels-last]
                              [--dtype bfloat16] [--write benchmarks/results/NAME.md]

Both sides compute in the same type and memory layout, and take turns. The architectures are the nearest, not always
the same (docs/nets.md says where): beside the throughput stand the parameters and the multiply-adds of both, and the
ratio of throughputs is also given per multiply-add.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from step_time import machine, synchronize
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import torchslim as slim
from torchslim import nets
from torchslim.nets import nets_factory

# torchslim's name, torchvision's name and its arguments.
PAIRS: dict[str, tuple[str, dict[str, object]]] = {
    "alexnet_v2": ("alexnet", {}),
    "vgg_a": ("vgg11", {}),
    "vgg_16": ("vgg16", {}),
    "vgg_19": ("vgg19", {}),
    "inception_v1": ("googlenet", {"aux_logits": False, "init_weights": False}),
    "inception_v3": ("inception_v3", {"init_weights": False}),
    "resnet_v1_50": ("resnet50", {}),
    "resnet_v1_101": ("resnet101", {}),
    "resnet_v1_152": ("resnet152", {}),
    "mobilenet_v2": ("mobilenet_v2", {}),
    "mobilenet_v2_140": ("mobilenet_v2", {"width_mult": 1.4}),
    "mobilenet_v3_small": ("mobilenet_v3_small", {}),
    "mobilenet_v3_large": ("mobilenet_v3_large", {}),
}


def build_ours(name: str, classes: int = 1000) -> nn.Module:
    """The network with its logits alone: no predictions, and no second classifier."""
    network = nets_factory.get_network_fn(name, classes, is_training=None)
    with slim.Graph() as graph:
        return graph.module(network(slim.placeholder((None, *nets.card(name).input_shape)))[0])


def build_theirs(name: str) -> nn.Module:
    """The nearest of torchvision."""
    function, arguments = PAIRS[name]
    return getattr(torchvision.models, function)(**arguments)


def timed(action: Callable[[], nn.Module]) -> tuple[nn.Module, float]:
    """What it gives, and the seconds that it takes, the second time."""
    action()
    start = time.perf_counter()
    return action(), time.perf_counter() - start


def multiply_adds(module: nn.Module, images: torch.Tensor) -> float:
    """Of one picture."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(images)
    return counter.get_total_flops() / 2 / len(images)


def step(module: nn.Module, images: torch.Tensor, dtype: torch.dtype, train: bool) -> None:
    """Logits, and the gradients of their sum."""
    with torch.set_grad_enabled(train), torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        logits = module(images)
    if train:
        module.zero_grad(set_to_none=True)
        getattr(logits, "logits", logits).sum().backward()


def compare(name: str, arguments: argparse.Namespace) -> tuple[str, float]:
    """The line of a network, and its ratio of throughputs."""
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    (ours, our_start), (theirs, their_start) = timed(lambda: build_ours(name)), timed(lambda: build_theirs(name))
    layout = torch.channels_last if arguments.channels_last else torch.contiguous_format
    sides = [module.to(device, memory_format=layout).train(arguments.train) for module in (ours, theirs)]
    images = torch.randn(arguments.batch, *nets.card(name).input_shape, device=device).to(memory_format=layout)
    costs = [multiply_adds(side, images) for side in sides]
    times: list[list[float]] = [[], []]
    for turn in range(arguments.rounds + 1):
        for side in (0, 1) if turn % 2 else (1, 0):
            sides[side].train(arguments.train)
            synchronize(device)
            start = time.perf_counter()
            step(sides[side], images, dtype, arguments.train)
            synchronize(device)
            times[side].append(time.perf_counter() - start)
    seconds = [statistics.median(side[1:]) for side in times]  # the first round warms up
    ratio = seconds[1] / seconds[0]
    sizes = [sum(parameter.numel() for parameter in side.parameters()) / 1e6 for side in sides]
    line = (
        f"| {name} | {PAIRS[name][0]} | {arguments.batch / seconds[0]:.1f} | {arguments.batch / seconds[1]:.1f} | "
        f"{ratio:.2f} | {ratio * costs[0] / costs[1]:.2f} | {sizes[0]:.1f} / {sizes[1]:.1f} | "
        f"{costs[0] / 1e9:.2f} / {costs[1] / 1e9:.2f} | {our_start:.2f} / {their_start:.2f} |"
    )
    return line, ratio


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--batch", type=int, default=8)
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
    lines += ["| network | torchvision | images/s | theirs | ratio | per multiply-add | parameters (M) | "
              "multiply-adds (G) | build (s) |", "|" + " --- |" * 9]  # fmt: skip
    print(*lines, sep="\n")
    ratios = []
    for name in (name for name in PAIRS if arguments.only in name):
        line, ratio = compare(name, arguments)
        ratios.append(ratio)
        lines.append(line)
        print(line, flush=True)
    lines.append(f"\nMedian of the ratios {statistics.median(ratios):.2f}, smallest {min(ratios):.2f}.")
    print(lines[-1])
    if arguments.write:
        arguments.write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
