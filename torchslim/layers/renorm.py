"""The modules of `slim.batch_norm` for what PyTorch's batch norm cannot do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from torchslim.graph import Symbol, is_symbolic
from torchslim.initializers import initialize_
from torchslim.layers.batch_statistics import BatchNorm
from torchslim.layers.synchronized import Moments, moments_over_processes, normalize, sum_over_processes

_DEBIAS = {"running_mean_biased": "biased", "running_mean_step": "local_step"}
_RENORM = {
    "running_std": "moving_stddev",
    "renorm_mean": "renorm_mean",
    "renorm_std": "renorm_stddev",
}


class OwnBatchNorm(BatchNorm):
    """A batch norm with weighted examples, a debiased mean, or updates that wait to be run.

    Attributes:
        collections: where its updates are collected; empty: it updates its statistics itself.
        pending: statistics that wait for `update`.
        zero_debias: whether the mean is debiased; in `__init__` the kind of variables that this takes, or None.
    """

    running_mean_biased: torch.Tensor
    running_mean_step: torch.Tensor

    def __init__(
        self, num_features: int, *, zero_debias: str | None, collections: tuple[str, ...] = (), **options: Any
    ) -> None:
        super().__init__(num_features, **options)
        self.collections = collections
        self.pending: dict[str, torch.Tensor] = {}
        self.zero_debias = zero_debias is not None and self.is_training is not False
        if self.zero_debias:
            self.register_buffer("running_mean_biased", torch.zeros(num_features))
            self.register_buffer("running_mean_step", torch.zeros(()))
            for attribute in _DEBIAS:
                self.initializers[attribute] = nn.init.zeros_
                self.kinds[attribute] = str(zero_debias)

    def made_in(self, scope: str) -> None:
        """Names the variables of the debiased mean: TensorFlow puts the mean's own name below the layer's scope."""
        if self.zero_debias:
            names = {attribute: f"{scope}/moving_mean/{name}" for attribute, name in _DEBIAS.items()}
            self.slim_names = {**self.slim_names, **names}

    def forward(self, inputs: torch.Tensor, batch_weights: torch.Tensor | None = None) -> torch.Tensor:
        """Computes the layer on `[N, C, ...]` (or `[N, ..., C]`), while training with a weight `[N]` per example."""
        if not self.training:
            return super().forward(inputs)
        net = inputs.movedim(-1, 1) if self.channels_last else inputs
        axes = [axis for axis in range(net.ndim) if axis != 1]
        if batch_weights is not None:
            net, moments = self._normalize_weighted(net, axes, batch_weights)
        elif self._is_spread():
            moments = moments_over_processes(net, axes)
            net = normalize(net, moments, self.weight, self.bias, self.eps)
        else:
            variance, mean = torch.var_mean(net.detach().to(self.running_mean.dtype), axes, correction=0)
            moments = Moments(mean, variance, mean.new_full((1,), net.numel() / mean.numel()))
            net = functional.batch_norm(net, None, None, self.weight, self.bias, True, 0.0, self.eps)
        if not net.is_meta:  # where only shapes are looked at, nothing is kept
            self._keep(moments)
        if self.activation is not None:
            net = self.activation(net)
        return net.movedim(1, -1) if self.channels_last else net

    def _normalize_weighted(
        self, net: torch.Tensor, axes: list[int], batch_weights: torch.Tensor
    ) -> tuple[torch.Tensor, Moments]:
        summed = sum_over_processes if self._is_spread() else torch.clone
        wide = net.to(self.running_mean.dtype)
        weights = batch_weights.to(wide.dtype).reshape(-1, *[1] * (net.ndim - 1))
        total = summed(weights.sum() * net[0, 0].numel())
        mean = summed((weights * wide).sum(axes, keepdim=True)) / total
        variance = summed((weights * (wide - mean).square()).sum(axes, keepdim=True)) / total
        wide = (wide - mean) * torch.rsqrt(variance + self.eps)
        number = summed(mean.new_full((1,), net.numel() / mean.numel()))
        return _affine(wide, self.weight, self.bias, 1).to(net.dtype), Moments(
            mean.flatten(), variance.flatten(), number
        )

    @torch.no_grad()
    def _keep(self, moments: Moments) -> None:
        mean, variance = moments.mean, moments.variance if self.biased else moments.unbiased_variance
        new = {"running_var": self.running_var.lerp(variance, self.momentum)}
        if self.zero_debias:
            new["running_mean_step"] = self.running_mean_step + 1
            biased = new["running_mean_biased"] = self.running_mean_biased.lerp(mean, self.momentum)
            new["running_mean"] = biased / (1 - (1 - self.momentum) ** new["running_mean_step"])
        else:
            new["running_mean"] = self.running_mean.lerp(mean, self.momentum)
        self.pending = new
        if not self.collections:
            self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Takes over the statistics of the last training call, if that has not been done."""
        for name, value in self.pending.items():
            getattr(self, name).copy_(value)
        self.pending = {}

    def recorded(self, outputs: Symbol) -> None:
        """Collects its updates: TF-Slim runs those of `updates_collections` only where somebody asks for them."""
        if self.collections and self.is_training is not False:
            graph = outputs.owner
            update = graph.call_module(f"{outputs.name}_update", Update(self), outputs)
            for name in self.collections:
                graph.add_to_collection(name, update)


class Update(nn.Module):
    """Updates the statistics of a batch norm once its layer has been computed."""

    layer: OwnBatchNorm

    def __init__(self, layer: OwnBatchNorm) -> None:
        super().__init__()
        self.__dict__["layer"] = layer  # not a child: the layer hangs elsewhere in the tree

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        """Returns the mean as it is then; `outputs` only says that the layer comes first."""
        self.layer.update()
        return self.layer.running_mean.to(outputs.device, copy=True)


class Correction(NamedTuple):
    """What `slim.batch_norm` was given for a `CorrectedBatchNorm`."""

    renorm: bool
    clipping: Mapping[str, Any]
    decay: float
    adjustment: Callable[[torch.Size], Any] | None
    initializers: Mapping[str, Any]


class CorrectedBatchNorm(BatchNorm):
    """A batch norm with batch renormalization (arXiv:1702.03275), a random adjustment while training, or both."""

    running_std: torch.Tensor
    renorm_mean: torch.Tensor
    renorm_std: torch.Tensor

    def __init__(self, num_features: int, *, correction: Correction, **options: Any) -> None:
        super().__init__(num_features, **options)
        self.renorm = correction.renorm
        self.clipping = dict(correction.clipping)
        self.renorm_momentum = 1 - correction.decay
        self.adjustment = correction.adjustment
        if self.renorm:
            for attribute in _RENORM:
                self.register_buffer(attribute, torch.empty(num_features))
            mean, root = correction.initializers["moving_mean"], _Root(correction.initializers["moving_variance"])
            self.initializers.update(running_std=root, renorm_mean=mean, renorm_std=root)
            self.slim_names = {**self.slim_names, **_RENORM}

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, C, ...]` (or `[N, ..., C]`)."""
        if not self.training:
            return super().forward(inputs)
        axis = inputs.ndim - 1 if self.channels_last else 1
        wide = inputs.to(self.running_mean.dtype)
        axes = [a for a in range(wide.ndim) if a != axis]
        if self._is_spread():
            mean, variance, _ = moments_over_processes(wide, axes)
        else:
            variance, mean = torch.var_mean(wide, axes, correction=0)
        shape = [-1, *[1] * (inputs.ndim - 1 - axis)]
        net = (wide - mean.view(shape)) * torch.rsqrt(variance.view(shape) + self.eps)
        mean, variance = mean.detach(), variance.detach()
        if self.renorm:
            net = _affine(net, *self._correction(mean, variance), axis)
        if self.adjustment is not None:
            scale, bias = self._adjusted(inputs, net)
            net = net * scale + bias
        self._keep(mean, variance)
        net = _affine(net, self.weight, self.bias, axis).to(inputs.dtype)
        return net if self.activation is None else self.activation(net)

    def _adjusted(self, inputs: torch.Tensor, net: torch.Tensor) -> list[torch.Tensor]:
        given = self.adjustment(inputs.shape)  # type: ignore[misc]
        if inputs.is_meta and is_symbolic(given):
            raise ValueError(
                "batch_norm: `adjustment` is called in each step, so it returns numbers, arrays or tensors. "
                f"Got {given!r}; apply Symbols to the output instead."
            )
        return [torch.as_tensor(value, dtype=net.dtype, device=net.device) for value in given]

    @torch.no_grad()
    def _correction(self, mean: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`r` and `d` of the paper, clipped."""
        deviation = self.renorm_std.clamp(min=self.eps**0.5)
        scale = (variance + self.eps).sqrt() / deviation
        shift = (mean - self.renorm_mean) / deviation
        for name, clip in self.clipping.items():
            if name == "rmin":
                scale = scale.clamp(min=clip)
            elif name == "rmax":
                scale = scale.clamp(max=clip)
            else:
                shift = shift.clamp(min=-clip).clamp(max=clip)
        return scale, shift

    @torch.no_grad()
    def _keep(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        if not self.renorm:
            self.running_var.lerp_(variance, self.momentum)
            return
        deviation = (variance + self.eps).sqrt()
        self.renorm_mean.lerp_(mean, self.renorm_momentum)
        self.renorm_std.lerp_(deviation, self.renorm_momentum)
        self.running_std.lerp_(deviation, self.momentum)
        self.running_var.copy_((self.running_std.square() - self.eps).clamp(min=0))


class _Root:
    """The initializer of a deviation: the root of what the variance's initializer gives."""

    def __init__(self, initializer: Any) -> None:
        self.initializer = initializer

    def __call__(self, shape: tuple[int, ...]) -> torch.Tensor:
        return initialize_(torch.empty(shape), self.initializer, shape).sqrt()

    def __repr__(self) -> str:
        return f"sqrt of {self.initializer!r}"


def _affine(net: torch.Tensor, scale: torch.Tensor | None, shift: torch.Tensor | None, axis: int) -> torch.Tensor:
    """`net * scale + shift` along the channels."""
    shape = [-1, *[1] * (net.ndim - 1 - axis)]
    if scale is not None:
        net = net * scale.view(shape)
    return net if shift is None else net + shift.view(shape)
