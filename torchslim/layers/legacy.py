"""The dense layers that TF-Slim keeps for old code: other argument names, a bias called `bias`, no model variables."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from torchslim.initializers import xavier_initializer, zeros_initializer
from torchslim.layers.base import Function
from torchslim.layers.dense import Linear
from torchslim.layers.incoming import Incoming
from torchslim.layers.layer import layer
from torchslim.layers.utils import n_positive_integers


class LegacyLinear(Linear):
    """The module of `slim.legacy_fully_connected`: it acts on the last dimension and flattens nothing."""

    slim_names = MappingProxyType({"weight": "weights", "bias": "bias"})

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[..., features]`."""
        return self.finish(nn.functional.linear(inputs, self.weight, self.bias))


def legacy_fully_connected(
    x: Any,
    num_output_units: int,
    activation_fn: Function | None = None,
    weight_init: Any = xavier_initializer(),  # noqa: B008
    bias_init: Any = zeros_initializer(),  # noqa: B008
    name: str | None = None,
    weight_collections: Sequence[str] | None = ("weights",),
    bias_collections: Sequence[str] | None = ("biases",),
    output_collections: Sequence[str] | None = ("activations",),
    trainable: bool = True,
    weight_regularizer: Function | None = None,
    bias_regularizer: Function | None = None,
) -> Any:
    """A dense layer on the last dimension (TF-Slim's `legacy_fully_connected`).

    Its variables are `weights` and `bias`, and are not model variables. `arg_scope` does not reach it.

    Args:
        x: a Symbol or tensor `[..., features]`, or the number of input features.
        num_output_units: the number of outputs.
        activation_fn: applied last; None: linear.
        weight_init: fills the matrix; default Xavier (Glorot) uniform.
        bias_init: fills the bias; None: no bias.
        name: its scope; default `fully_connected`, made unique.
        weight_collections: collections for the matrix.
        bias_collections: collections for the bias.
        output_collections: collections for the output, beside `'activations'`.
        trainable: whether training changes the variables.
        weight_regularizer: e.g. `slim.l2_regularizer(0.0005)`; its loss is collected.
        bias_regularizer: of the bias.

    Returns:
        A Symbol or tensor `[..., num_output_units]`, or the module if `x` is a number.

    Raises:
        ValueError: if `num_output_units` is not positive, `x` has less than two dimensions, or the last one varies.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.legacy_fully_connected(torch.zeros(2, 5, 3), 4, name='doc_legacy').shape
        torch.Size([2, 5, 4])
    """
    return _legacy(
        x,
        num_output_units,
        activation_fn,
        (weight_init, weight_regularizer),
        (bias_init, bias_regularizer),
        trainable,
        scope=name,
        variables_collections={"weights": weight_collections, "bias": bias_collections},
        outputs_collections=list(dict.fromkeys([*(output_collections or ()), "activations"])),
    )


@layer("fully_connected")
def _legacy(
    inputs: Incoming,
    num_outputs: int,
    activation_fn: Function | None,
    weights: tuple[Any, Any],
    biases: tuple[Any, Any],
    trainable: bool,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    scope: str | None = None,
) -> nn.Module:
    (num_outputs,) = n_positive_integers(1, num_outputs)
    image = inputs.image if inputs.rank == 2 else None
    module = LegacyLinear(inputs.channels("last"), num_outputs, biases[0] is not None, image)
    module.kinds.update(dict.fromkeys(module.slim_names, "global"))
    module.set_up(weights=weights, biases=biases, activation_fn=activation_fn, normalizer=None, trainable=trainable)
    return module


legacy_relu = functools.partial(legacy_fully_connected, activation_fn=torch.relu)
legacy_linear = functools.partial(legacy_fully_connected, activation_fn=None)
