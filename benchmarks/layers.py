"""Each layer against the plain torch module that does the same, forward and backward. One run, ratios of medians.

    python benchmarks/layers.py [--only conv2d] [--rounds 15] [--device cpu] [--write benchmarks/results/NAME.md]

The sizes are those of real networks. Both sides get the same weights and must give the same output and gradient before
they are timed; then they take turns, in either order. `SAME` padding of an odd total is asymmetric, which PyTorch's
convolutions do not know: there the other side is `ZeroPad2d` and a convolution.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from step_time import machine, synchronize
from torch import nn

import torchslim as slim

Layer = Callable[[slim.Symbol], slim.Symbol]


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.forward = function


class Bias(nn.Module):
    """A learned number a feature, added."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, net: torch.Tensor) -> torch.Tensor:
        """`[..., features]` to the same shape."""
        return net + self.bias


class OneKernelForAll(nn.Conv2d):
    """One kernel for all channels."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__(1, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, net: torch.Tensor) -> torch.Tensor:
        """`[N, C, H, W]` to the same shape."""
        weight = self.weight.expand(net.shape[1], -1, -1, -1)
        return nn.functional.conv2d(net, weight, self.bias, padding=self.padding, groups=net.shape[1])


def normalized(module: nn.Module, channels: int) -> nn.Module:
    """A convolution, batch normalization, ReLU: without a learned scale, as the slim layer has none."""
    norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=1e-3)
    norm.weight.requires_grad_(False)
    return nn.Sequential(module, norm, nn.ReLU())


conv2d = functools.partial(slim.conv2d, activation_fn=None)
fc = functools.partial(slim.fully_connected, activation_fn=None)

# What: the slim layer, the module, the input.
CASES: dict[str, tuple[Layer, Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv2d 3x3, 64 @ 112": (
        lambda x: slim.conv2d(x, 64, 3),
        lambda: nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()),
        (4, 64, 112, 112),
    ),
    "conv2d 3x3, 256 @ 56": (lambda x: conv2d(x, 256, 3), lambda: nn.Conv2d(256, 256, 3, padding=1), (2, 256, 56, 56)),
    "conv2d 1x1, 256 to 64 @ 56": (lambda x: conv2d(x, 64, 1), lambda: nn.Conv2d(256, 64, 1), (8, 256, 56, 56)),
    "conv2d 3x3 / 2, odd size": (
        lambda x: conv2d(x, 128, 3, 2),
        lambda: nn.Conv2d(128, 128, 3, 2, 1),
        (8, 128, 57, 57),
    ),
    "conv2d 3x3 / 2, even size": (
        lambda x: conv2d(x, 32, 3, 2),
        lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 32, 3, 2)),
        (8, 3, 224, 224),
    ),
    "conv2d 7x7 / 2, even size": (
        lambda x: conv2d(x, 64, 7, 2),
        lambda: nn.Sequential(nn.ZeroPad2d((2, 3, 2, 3)), nn.Conv2d(3, 64, 7, 2)),
        (4, 3, 224, 224),
    ),
    "conv2d 3x3, rate 2": (
        lambda x: conv2d(x, 128, 3, rate=2),
        lambda: nn.Conv2d(128, 128, 3, padding=2, dilation=2),
        (4, 128, 56, 56),
    ),
    "conv2d 3x3 VALID": (
        lambda x: conv2d(x, 128, 3, padding="VALID"),
        lambda: nn.Conv2d(128, 128, 3),
        (4, 128, 56, 56),
    ),
    "conv2d + batch_norm": (
        lambda x: slim.conv2d(x, 128, 3, normalizer_fn=slim.batch_norm),
        lambda: normalized(nn.Conv2d(128, 128, 3, padding=1, bias=False), 128),
        (4, 128, 56, 56),
    ),
    "repeat(3, conv2d 3x3, 128)": (
        lambda x: slim.repeat(x, 3, slim.conv2d, 128, [3, 3]),
        lambda: nn.Sequential(*(m for _ in range(3) for m in (nn.Conv2d(128, 128, 3, padding=1), nn.ReLU()))),
        (4, 128, 56, 56),
    ),
    "conv1d 5": (
        lambda x: slim.conv1d(x, 256, 5, activation_fn=None),
        lambda: nn.Conv1d(256, 256, 5, padding=2),
        (16, 256, 256),
    ),
    "conv3d 3x3x3": (
        lambda x: slim.conv3d(x, 64, 3, activation_fn=None),
        lambda: nn.Conv3d(64, 64, 3, padding=1),
        (1, 64, 8, 28, 28),
    ),
    "conv2d_in_plane 3x3": (
        lambda x: slim.conv2d_in_plane(x, 3, activation_fn=None),
        lambda: OneKernelForAll(64, 3),
        (4, 64, 56, 56),
    ),
    "conv2d_transpose 4x4 / 2": (
        lambda x: slim.conv2d_transpose(x, 64, 4, 2, activation_fn=None),
        lambda: nn.ConvTranspose2d(128, 64, 4, 2, 1),
        (4, 128, 28, 28),
    ),
    "conv3d_transpose 4x4x4 / 2": (
        lambda x: slim.conv3d_transpose(x, 32, 4, 2, activation_fn=None),
        lambda: nn.ConvTranspose3d(64, 32, 4, 2, 1),
        (1, 64, 4, 14, 14),
    ),
    "separable_conv2d 3x3": (
        lambda x: slim.separable_conv2d(x, 128, 3, activation_fn=None),
        lambda: nn.Sequential(nn.Conv2d(128, 128, 3, padding=1, groups=128, bias=False), nn.Conv2d(128, 128, 1)),
        (8, 128, 56, 56),
    ),
    "separable_conv2d 3x3, depthwise only": (
        lambda x: slim.separable_conv2d(x, None, 3, activation_fn=None),
        lambda: nn.Conv2d(256, 256, 3, padding=1, groups=256),
        (8, 256, 28, 28),
    ),
    "fully_connected 4096": (lambda x: fc(x, 4096), lambda: nn.Linear(4096, 4096), (32, 4096)),
    "fully_connected on an image": (
        lambda x: fc(x, 1024),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(25088, 1024)),
        (16, 512, 7, 7),
    ),
    "max_pool2d 2x2": (lambda x: slim.max_pool2d(x, 2), lambda: nn.MaxPool2d(2), (4, 64, 112, 112)),
    "max_pool2d 3x3 / 2 SAME": (
        lambda x: slim.max_pool2d(x, 3, padding="SAME"),
        lambda: nn.Sequential(nn.ConstantPad2d((0, 1, 0, 1), -torch.inf), nn.MaxPool2d(3, 2)),
        (4, 64, 112, 112),
    ),
    "avg_pool2d 3x3 / 1 SAME": (
        lambda x: slim.avg_pool2d(x, 3, 1, padding="SAME"),
        lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        (4, 192, 28, 28),
    ),
    "max_pool3d 2": (lambda x: slim.max_pool3d(x, 2), lambda: nn.MaxPool3d(2), (2, 64, 8, 56, 56)),
    "avg_pool3d 2": (lambda x: slim.avg_pool3d(x, 2), lambda: nn.AvgPool3d(2), (2, 64, 8, 56, 56)),
    "batch_norm": (
        lambda x: slim.batch_norm(x, scale=True),
        lambda: nn.BatchNorm2d(128, eps=1e-3, momentum=1e-3),
        (8, 128, 56, 56),
    ),
    "layer_norm": (lambda x: slim.layer_norm(x), lambda: nn.LayerNorm(1024, eps=1e-12), (1024, 1024)),
    "instance_norm": (
        lambda x: slim.instance_norm(x),
        lambda: nn.InstanceNorm2d(128, eps=1e-6, affine=True),
        (8, 128, 56, 56),
    ),
    "group_norm": (lambda x: slim.group_norm(x), lambda: nn.GroupNorm(32, 128, eps=1e-6), (8, 128, 56, 56)),
    "unit_norm": (
        lambda x: slim.unit_norm(x, 1),
        lambda: Lambda(lambda net: net * (net.square().sum(1, keepdim=True) + 1e-7).rsqrt()),
        (8, 128, 56, 56),
    ),
    "softmax": (lambda x: slim.softmax(x), lambda: nn.Softmax(1), (512, 1001)),
    "bias_add": (
        lambda x: slim.bias_add(x, data_format="NHWC"),
        lambda: Bias(1024),
        (1024, 1024),
    ),
}


def build(layer: Layer, module: Callable[[], nn.Module], inputs: torch.Tensor) -> tuple[nn.Module, nn.Module]:
    """Both sides in training mode, with the same weights."""
    ours, theirs = slim.build(layer, inputs).to(inputs.device), module().to(inputs.device)
    kernels = iter([parameter for parameter in ours.parameters() if parameter.ndim > 1])
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if parameter.ndim > 1:
                parameter.copy_(next(kernels))
            elif name.endswith("bias"):
                parameter.zero_()  # as slim's start
    return ours.train(), theirs.train()


def step(module: nn.Module, inputs: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Forward and backward; the gradient of the input."""
    inputs.grad = None
    for parameter in module.parameters():
        parameter.grad = None
    output = module(inputs)
    output.backward(gradient)
    return output


def seconds(module: nn.Module, inputs: torch.Tensor, gradient: torch.Tensor, repeat: int) -> float:
    """Of one step, over `repeat` of them."""
    synchronize(inputs.device)
    start = time.perf_counter()
    for _ in range(repeat):
        step(module, inputs, gradient)
    synchronize(inputs.device)
    return (time.perf_counter() - start) / repeat


def compare(name: str, device: torch.device, rounds: int) -> tuple[float, float]:
    """Median seconds of torchslim's layer and of the module."""
    layer, module, shape = CASES[name]
    inputs = torch.randn(shape, device=device, requires_grad=True)
    sides = build(layer, module, inputs.detach())
    outputs = [sides[0](inputs), sides[1](inputs)]
    gradient = torch.randn_like(outputs[0])
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-3, atol=1e-4)
    gradients = [torch.autograd.grad(output, inputs, gradient)[0] for output in outputs]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-4)
    repeat = max(1, round(0.03 / seconds(sides[1], inputs, gradient, 2)))
    times: list[list[float]] = [[], []]
    for turn in range(rounds):
        for side in (0, 1) if turn % 2 else (1, 0):
            times[side].append(seconds(sides[side], inputs, gradient, repeat))
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="layers whose line contains this")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    lines = [f"# Layers, forward and backward, float32, {machine(device)}\n"]
    lines += ["| layer | torchslim (ms) | torch (ms) | ratio |", "| --- | --- | --- | --- |"]
    print(*lines, sep="\n")
    ratios = []
    for name in (name for name in CASES if arguments.only in name):
        ours, theirs = compare(name, device, arguments.rounds)
        ratios.append(ours / theirs)
        lines.append(f"| {name} | {ours * 1e3:.3g} | {theirs * 1e3:.3g} | {ratios[-1]:.3f} |")
        print(lines[-1], flush=True)
    lines.append(f"\nMedian of the ratios {statistics.median(ratios):.3f}, largest {max(ratios):.3f}.")
    print(lines[-1])
    if arguments.write:
        arguments.write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
