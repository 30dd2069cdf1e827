"""Batch normalization over a batch that is spread over several processes.

PyTorch's `SyncBatchNorm` knows neither the modules of `slim.batch_norm` nor the CPU. Here the statistics are sums over
all processes that autograd sees through, for every kind of batch norm.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import distributed, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d, SyncBatchNorm, _BatchNorm


class Moments(NamedTuple):
    """The mean and the biased variance of each channel, and the number of values that they are of."""

    mean: torch.Tensor
    variance: torch.Tensor
    number: torch.Tensor

    @property
    def unbiased_variance(self) -> torch.Tensor:
        """The variance that is stored where TensorFlow's fused kernel would run."""
        return self.variance * (self.number / (self.number - 1).clamp(min=1))


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        total = value.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _SumOverProcesses.forward(ctx, gradient)


class _Normalize(torch.autograd.Function):
    """PyTorch's normalization by given statistics, with gradients for these, too; it keeps nothing but its inputs."""

    @staticmethod
    def forward(ctx: Any, net: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, *rest: Any) -> torch.Tensor:
        weight, bias, ctx.epsilon = rest
        ctx.save_for_backward(net, mean, variance, weight)
        return functional.batch_norm(net, mean, variance, weight, bias, False, 0.0, ctx.epsilon)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        net, mean, variance, weight = ctx.saved_tensors
        # It gives the sums of `gradient * normalized` and of `gradient` for a weight only.
        scale = torch.ones_like(mean) if weight is None else weight
        of_net, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, net, scale, mean, variance, None, None, False, ctx.epsilon, [True, True, True]
        )
        precision = (variance + ctx.epsilon).reciprocal()
        of_mean, of_variance = -scale * precision.sqrt() * of_bias, -0.5 * scale * precision * of_weight
        of_weight, of_bias = (
            g if n else None for g, n in zip((of_weight, of_bias), ctx.needs_input_grad[3:5], strict=True)
        )
        return of_net, of_mean, of_variance, of_weight, of_bias, None


def is_spread() -> bool:
    """Whether there are several processes that train together."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def sum_over_processes(value: torch.Tensor) -> torch.Tensor:
    """The sum of the values that all processes have; gradients flow back to all of them."""
    return _SumOverProcesses.apply(value)


def moments_over_processes(net: torch.Tensor, axes: Sequence[int]) -> Moments:
    """The moments over the axes of `net` and over all processes, as vectors.

    The squares are taken around the mean of all, so nothing cancels however far apart the processes are.
    """
    wide = net.to(torch.promote_types(net.dtype, torch.float32))
    variance, mean = torch.var_mean(wide, list(axes), correction=0)
    number = mean.new_full((1,), net.numel() / mean.numel())
    sums = sum_over_processes(torch.cat([mean * number, number]))
    total = sums[-1:].detach()
    mean_of_all = sums[:-1] / total
    squares = sum_over_processes((variance + (mean - mean_of_all).square()) * number)
    return Moments(mean_of_all, squares / total, total)


def normalize(
    net: torch.Tensor,
    moments: Moments,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    epsilon: float,
) -> torch.Tensor:
    """`(net - mean) / sqrt(variance + epsilon) * weight + bias` along the channels, dimension 1."""
    return _Normalize.apply(net, moments.mean, moments.variance, weight, bias, epsilon)


def synchronize_batch_norm(module: nn.Module, synchronized: bool) -> None:
    """Has all batch norms of a module normalize by the statistics of all processes while they train, or not any more.

    Raises:
        ValueError: for a batch norm that is neither slim's nor PyTorch's own.
    """
    for path, layer in module.named_modules():
        if not isinstance(layer, _BatchNorm) or isinstance(layer, SyncBatchNorm):
            continue
        if hasattr(layer, "synchronized"):
            layer.synchronized = synchronized  # type: ignore[assignment]
        elif type(layer) not in (BatchNorm1d, BatchNorm2d, BatchNorm3d):
            if synchronized:
                raise ValueError(
                    "train: `sync_batch_norm` knows the batch norms of slim and of PyTorch. "
                    f"Got a {type(layer).__name__} at {path!r}: have it synchronize itself."
                )
        elif synchronized:
            layer.forward = types.MethodType(_forward, layer)  # type: ignore[method-assign]
        else:
            layer.__dict__.pop("forward", None)


def _forward(self: _BatchNorm, input: torch.Tensor) -> torch.Tensor:
    """The forward pass of PyTorch's batch norm, over all processes."""
    if not (self.training and is_spread()):
        return type(self).forward(self, input)
    self._check_input_dim(input)
    moments = moments_over_processes(input, [axis for axis in range(input.ndim) if axis != 1])
    if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            moved = self.num_batches_tracked.reciprocal() if self.momentum is None else self.momentum
            self.running_mean.lerp_(moments.mean, moved)
            self.running_var.lerp_(moments.unbiased_variance, moved)
    return normalize(input, moments, self.weight, self.bias, self.eps)
