"""`bias_add`: a bias of its own."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from torchslim.arg_scope import add_arg_scope
from torchslim.graph import Layer
from torchslim.initializers import zeros_initializer
from torchslim.layers.base import Function, check_choice
from torchslim.layers.incoming import scoped_data_format
from torchslim.layers.layer import layer


class BiasAdd(Layer):
    """The module of `slim.bias_add`.

    Attributes:
        data_format: `'NHWC'`: the channels are the last dimension, else the second.
        activation: the function applied last, or None.
    """

    slim_names = MappingProxyType({"bias": "biases"})

    def __init__(self, channels: int, data_format: str, activation: Function | None) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(channels))
        self.data_format = data_format
        self.activation = activation

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, ...]`."""
        last = self.data_format == "NHWC"
        net = inputs + (self.bias if last else self.bias.view(-1, *[1] * (inputs.ndim - 2)))
        return net if self.activation is None else self.activation(net)

    def extra_repr(self) -> str:
        """The number of channels."""
        return f"{self.bias.shape[0]}, data_format={self.data_format!r}"


@add_arg_scope
@layer("BiasAdd")
def bias_add(
    inputs: Any,
    activation_fn: Function | None = None,
    initializer: Any = zeros_initializer(),  # noqa: B008
    regularizer: Function | None = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    data_format: str | None = None,
    scope: str | None = None,
) -> Any:
    """Adds a bias per channel (TF-Slim's `bias_add`); also a `normalizer_fn`.

    TF-Slim: `'NCHW'` takes inputs of rank 4 only; here it is the default, so it takes any rank.

    Args:
        inputs: a Symbol or tensor `[N, ...]` of at least two dimensions, or the number of channels.
        activation_fn: applied last; None: none.
        initializer: fills the bias; default zeros.
        regularizer: of the bias; its loss is collected.
        reuse: share the bias of the layer of this scope.
        variables_collections: collections for the bias; a name, a list, or a dict by `'biases'`.
        outputs_collections: collections for the output.
        trainable: whether training changes the bias.
        data_format: `'NCHW'`: the channels are the second dimension; `'NHWC'`: the last; None: as the arg_scope says
            of any layer, else `'NCHW'`.
        scope: its name; default `BiasAdd`, made unique.

    Returns:
        A Symbol or tensor of the shape of `inputs`, or the module if `inputs` is a number.

    Raises:
        ValueError: if `data_format` is unknown, or the number of channels is not fixed.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.bias_add(torch.zeros(1, 2, 1, 1), initializer=[1.0, 2.0], scope='doc_bias').flatten()
        tensor([1., 2.], grad_fn=<ViewBackward0>)
        >>> slim.bias_add(16)
        BiasAdd(16, data_format='NCHW')
    """
    data_format = check_choice("bias_add", "data_format", data_format or scoped_data_format(), ("NHWC", "NCHW"))
    module = BiasAdd(inputs.channels(data_format), data_format, activation_fn)
    module.initializers["bias"] = initializer
    if regularizer is not None:
        module.regularizers["bias"] = regularizer
    module.requires_grad_(trainable)
    module.reset_parameters()
    return module
