"""Normalization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from torchslim.arg_scope import add_arg_scope
from torchslim.graph import Layer
from torchslim.initializers import ones_initializer, zeros_initializer
from torchslim.layers.base import _IN_PLACE, Function, check_choice
from torchslim.layers.incoming import Incoming, scoped_data_format
from torchslim.layers.layer import layer

_TF_TO_TORCH = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class BatchNorm(Layer, nn.modules.batchnorm._BatchNorm):
    """The module of `slim.batch_norm`: a batch norm whose scale and offset are there or not, each by itself.

    It updates its statistics itself while training; `is_training=False` keeps it at inference for good.
    """

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
        order = sorted(_TF_TO_TORCH) if beta_first else _TF_TO_TORCH
        self.slim_names = {_TF_TO_TORCH[name]: name for name in order}
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
        if self.training and self.biased:
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
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)  # type: ignore[union-attr]
            self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)  # type: ignore[union-attr]
        return functional.batch_norm(net, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def _load_from_state_dict(self, *args: Any) -> None:
        # PyTorch's batch norm asks for `num_batches_tracked` where a state_dict carries no version.
        if not self.shared:
            nn.Module._load_from_state_dict(self, *args)


class BatchNorm2d(BatchNorm, nn.BatchNorm2d):
    """The module of `slim.batch_norm` on images."""

    _check_input_dim = BatchNorm._check_input_dim


class BatchNorm1d(BatchNorm, nn.BatchNorm1d):
    """The module of `slim.batch_norm` on features and sequences."""

    _check_input_dim = BatchNorm._check_input_dim


_BY_RANK: dict[int | None, type[BatchNorm]] = {2: BatchNorm1d, 3: BatchNorm1d, 4: BatchNorm2d}


@add_arg_scope
@layer("BatchNorm")
def batch_norm(
    inputs: Any,
    decay: float = 0.999,
    center: bool = True,
    scale: bool = False,
    epsilon: float = 0.001,
    activation_fn: Function | None = None,
    param_initializers: Mapping[str, Any] | None = None,
    param_regularizers: Mapping[str, Any] | None = None,
    updates_collections: Any = "update_ops",
    is_training: bool | None = True,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    batch_weights: Any = None,
    fused: bool | None = None,
    data_format: str | None = None,
    zero_debias_moving_mean: bool = False,
    scope: str | None = None,
    renorm: bool = False,
    renorm_clipping: Mapping[str, Any] | None = None,
    renorm_decay: float = 0.99,
    adjustment: Any = None,
) -> Any:
    """Batch normalization, with TF-Slim's defaults: no scale, slow averages (TF-Slim's `batch_norm`, arXiv:1502.03167).

    The statistics are updated by the module itself, so there is no update op to forget.

    Args:
        inputs: a Symbol or tensor `[N, C, ...]` (`[N, ..., C]` for NHWC), or the number of channels.
        decay: of the moving averages; PyTorch's momentum is `1 - decay`.
        center: add `beta`.
        scale: multiply by `gamma`; off by default, since a ReLU and the next layer make up for it.
        epsilon: added to the variance.
        activation_fn: applied last; None: linear.
        param_initializers: a dict by `beta`, `gamma`, `moving_mean`, `moving_variance`.
        param_regularizers: a dict by `beta`, `gamma`.
        updates_collections: accepted; the statistics need no collection.
        is_training: None or True: as the module's `train()` and `eval()` say. False: inference, for good.
        reuse: share the variables of the layer of this scope.
        variables_collections: collections for the variables.
        outputs_collections: collections for the output.
        trainable: whether training changes `beta` and `gamma`; the statistics follow `is_training` alone.
        batch_weights: not available yet.
        fused: False stores the biased variance, as TF-Slim does then; None: biased for rank 3 only.
        data_format: `'NCHW'` (also None) or `'NHWC'`.
        zero_debias_moving_mean: not available yet.
        scope: its name; default `BatchNorm`, made unique.
        renorm: not available yet.
        renorm_clipping: not available yet.
        renorm_decay: of `renorm`.
        adjustment: not available yet.

    Returns:
        A Symbol or tensor of the shape of `inputs`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is not available or out of range, or the variables exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.batch_norm(torch.randn(8, 3, 5, 5), scale=True, scope='doc_bn').shape
        torch.Size([8, 3, 5, 5])
        >>> sorted(slim.batch_norm(3).state_dict())
        ['bias', 'running_mean', 'running_var']
    """
    for name, value in (
        ("batch_weights", batch_weights),
        ("zero_debias_moving_mean", zero_debias_moving_mean or None),
        ("renorm", renorm or None),
        ("adjustment", adjustment),
    ):
        if value is not None:
            raise ValueError(f"batch_norm: `{name}` is not available in this version. Got {value!r}; leave it out.")
    data_format = check_choice("batch_norm", "data_format", data_format or scoped_data_format(), ("NCHW", "NHWC"))
    if inputs.rank is not None and inputs.rank < 2:
        raise ValueError(f"batch_norm: `inputs` must have at least 2 dimensions. Got shape {inputs.shape}.")
    return _made(
        inputs,
        data_format,
        {"beta": zeros_initializer(), "gamma": ones_initializer(), "moving_mean": zeros_initializer(),
         "moving_variance": ones_initializer(), **(param_initializers or {})},
        param_regularizers or {},
        trainable,
        decay=decay,
        epsilon=epsilon,
        center=center,
        scale=scale,
        is_training=is_training,
        activation_fn=activation_fn,
        biased=inputs.rank == 3 if fused is None else not fused,
        # TF-Slim makes beta first where its own code runs instead of TensorFlow's layer.
        beta_first=fused is not False and (inputs.rank == 2 or updates_collections != "update_ops"),
    )  # fmt: skip


def _made(
    inputs: Incoming,
    data_format: str,
    initializers: Mapping[str, Any],
    regularizers: Mapping[str, Any],
    trainable: bool,
    **options: Any,
) -> BatchNorm:
    known = _TF_TO_TORCH.keys()
    unknown = [name for name in (*initializers, *regularizers) if name not in known]
    if unknown:
        raise ValueError(f"batch_norm: there are the parameters {', '.join(known)}. Got {unknown[0]!r}.")
    kind = _BY_RANK.get(inputs.rank, BatchNorm2d if inputs.rank is None else BatchNorm)
    channels_last = data_format == "NHWC" and inputs.rank != 2
    module = kind(inputs.channels(data_format), channels_last=channels_last, **options)
    for name, attribute in _TF_TO_TORCH.items():
        if getattr(module, attribute) is not None:
            module.initializers[attribute] = initializers[name]
            if regularizers.get(name) is not None:
                module.regularizers[attribute] = regularizers[name]
    module.requires_grad_(trainable)
    module.reset_parameters()
    return module
