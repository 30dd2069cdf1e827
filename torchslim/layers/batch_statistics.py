"""The modules of `slim.batch_norm`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from torchslim.graph import Layer, Symbol
from torchslim.graph.symbol import needed_for
from torchslim.layers.base import _IN_PLACE, Function
from torchslim.layers.synchronized import is_spread, moments_over_processes, normalize

TF_TO_TORCH = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class BatchNorm(Layer, nn.modules.batchnorm._BatchNorm):
    """A batch norm whose scale and offset are there or not, each by itself.

    It updates its statistics itself while training; `is_training=False` keeps it at inference for good.

    Attributes:
        synchronized: whether the batch is that of all processes that train together.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    synchronized = False

    def __init__(
        self,
        num_features: int,
        *,
        decay: float,
        epsilon: float,
        center: bool,
        scale: bool,
        is_training: bool | None,
        activation_fn: Function | None,
        biased: bool,
        channels_last: bool,
        beta_first: bool,
    ) -> None:
        super().__init__(num_features, eps=epsilon, momentum=1 - decay, affine=True)
        if not scale:
            self.register_parameter("weight", None)
        if not center:
            self.register_parameter("bias", None)
        self.num_batches_tracked = None  # TF-Slim keeps no such count, and the moving averages do not need it
        order = sorted(TF_TO_TORCH) if beta_first else TF_TO_TORCH
        self.slim_names: Mapping[str, str] = {TF_TO_TORCH[name]: name for name in order}
        self.momentum: float
        self.is_training = is_training
        self.biased = biased
        self.channels_last = channels_last
        self.activation = _IN_PLACE.get(activation_fn, activation_fn)
        self.train()

    def train(self, mode: bool = True) -> BatchNorm:
        """Sets the mode, unless `is_training=False` was given."""
        return super().train(mode and self.is_training is not False)

    def reset_running_stats(self) -> None:
        """Fills the statistics by their initializers."""
        self.reset_parameters()

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch_norm: `inputs` must have at least 2 dimensions. Got shape {tuple(input.shape)}.")

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, C, ...]` (or `[N, ..., C]`)."""
        net = inputs.movedim(-1, 1) if self.channels_last else inputs
        if net.is_meta and self.running_mean.is_meta:
            net = torch.empty_like(net)  # PyTorch would take as long for its shape as for all the rest of a network's
        elif self.training and self._is_spread():
            net = self._train_spread(net)
        elif self.training and self.biased:
            net = self._train_biased(net)
        else:
            net = functional.batch_norm(
                net,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                self.training,
                self.momentum,
                self.eps,
            )
        if self.activation is not None:
            net = self.activation(net)
        return net.movedim(1, -1) if self.channels_last else net

    def _train_biased(self, net: torch.Tensor) -> torch.Tensor:
        """Stores the biased variance, as TF-Slim does wherever TensorFlow's fused kernel is not used."""
        with torch.no_grad():
            variance, mean = torch.var_mean(net, [d for d in range(net.ndim) if d != 1], correction=0)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
        return functional.batch_norm(net, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def _train_spread(self, net: torch.Tensor) -> torch.Tensor:
        """Normalizes by, and stores, the moments of all processes."""
        moments = moments_over_processes(net, [d for d in range(net.ndim) if d != 1])
        with torch.no_grad():
            variance = moments.variance if self.biased else moments.unbiased_variance
            self.running_mean.lerp_(moments.mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
        return normalize(net, moments, self.weight, self.bias, self.eps)

    def _is_spread(self) -> bool:
        return self.synchronized and is_spread()

    def _load_from_state_dict(self, *args: Any) -> None:
        # PyTorch's batch norm asks for `num_batches_tracked` where a state_dict carries no version.
        nn.Module._load_from_state_dict(self, *args)
        self._miss_nothing_shared(*args)


class BatchNorm2d(BatchNorm, nn.BatchNorm2d):
    """The module of `slim.batch_norm` on images."""

    _check_input_dim = BatchNorm._check_input_dim


class BatchNorm1d(BatchNorm, nn.BatchNorm1d):
    """The module of `slim.batch_norm` on features and sequences."""

    _check_input_dim = BatchNorm._check_input_dim


class PinnedBatchNorm(BatchNorm):
    """The module of a call at inference that shares its statistics with calls that train.

    TF-Slim's updates run behind everything else in a step, so such a call reads the statistics as they were before.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on copies of the statistics: a training call of the same step may change them."""
        net = inputs.movedim(-1, 1) if self.channels_last else inputs
        mean, variance = self.running_mean.clone(), self.running_var.clone()
        net = functional.batch_norm(net, mean, variance, self.weight, self.bias, False, 0.0, self.eps)
        if self.activation is not None:
            net = self.activation(net)
        return net.movedim(1, -1) if self.channels_last else net

    def recorded(self, outputs: Symbol) -> None:
        """Moves its call before the first that trains the same statistics, unless it depends on that one."""
        graph = outputs.owner

        def trains(node: fx.Node) -> bool:
            modules = graph.get_module(str(node.target)).modules() if node.op == "call_module" else ()
            return any(
                isinstance(m, BatchNorm) and m.is_training is not False and m.running_mean is self.running_mean
                for m in modules
            )

        first = next((node for node in graph.fx_graph.nodes if node is outputs.node or trains(node)), outputs.node)
        needed = needed_for([outputs.node])  # itself, too
        if first in needed:
            return
        nodes = list(graph.fx_graph.nodes)
        for node in nodes[nodes.index(first) :]:
            if node in needed:
                first.prepend(node)
