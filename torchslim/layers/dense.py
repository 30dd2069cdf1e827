"""Dense layers.

`elu`, `relu`, `relu6` and `linear` are layers here, as in TF-Slim: `fully_connected` with that activation.

Example:
    >>> import torch, torchslim as slim
    >>> slim.linear(slim.relu(torch.ones(2, 3), 5), 4).shape
    torch.Size([2, 4])
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from torchslim.arg_scope import add_arg_scope
from torchslim.initializers import xavier_initializer, zeros_initializer
from torchslim.layers.base import Function, WeightedLayer, make_normalizer
from torchslim.layers.incoming import Incoming
from torchslim.layers.layer import layer
from torchslim.layers.utils import n_positive_integers


class Linear(WeightedLayer, nn.Linear):
    """The module of `slim.fully_connected`: an `nn.Linear` that flattens its input, with normalizer and activation.

    Attributes:
        image: `(C, H, W)` of the image that was flattened into its input: TensorFlow's rows are in the order H, W, C.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool, image: tuple[int, ...] | None) -> None:
        super().__init__(in_features, out_features, bias)
        self.image = image

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, ...]`."""
        return self.finish(nn.functional.linear(inputs.flatten(1), self.weight, self.bias))

    def to_tf(self, attribute: str, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` in TensorFlow's layout: [in, out], the rows in TensorFlow's order."""
        if attribute == "weight" and self.image is not None:
            tensor = tensor.unflatten(1, self.image).movedim(1, -1).flatten(1)
        return super().to_tf(attribute, tensor)

    def from_tf(self, attribute: str, tensor: torch.Tensor) -> torch.Tensor:
        """The inverse of `to_tf`."""
        tensor = super().from_tf(attribute, tensor)
        if attribute == "weight" and self.image is not None:
            channels, *space = self.image
            tensor = tensor.unflatten(1, (*space, channels)).movedim(-1, 1).flatten(1)
        return tensor


@add_arg_scope
@layer("fully_connected")
def fully_connected(
    inputs: Any,
    num_outputs: int,
    activation_fn: Function | None = torch.relu,
    normalizer_fn: Function | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Any = xavier_initializer(),  # noqa: B008
    weights_regularizer: Function | None = None,
    biases_initializer: Any = zeros_initializer(),  # noqa: B008
    biases_regularizer: Function | None = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: str | None = None,
) -> Any:
    """A dense layer, then a normalizer or a bias, then an activation (TF-Slim's `fully_connected`).

    Args:
        inputs: a Symbol or tensor `[N, ...]`, flattened first if it has more than two dimensions, or the number of
            input features.
        num_outputs: the number of outputs.
        activation_fn: applied last; None: linear.
        normalizer_fn: a layer such as `slim.batch_norm`; it takes the place of the bias.
        normalizer_params: its arguments.
        weights_initializer: fills the matrix; default Xavier (Glorot) uniform, as TF-Slim.
        weights_regularizer: e.g. `slim.l2_regularizer(0.0005)`; its loss is collected.
        biases_initializer: fills the bias; None: no bias.
        biases_regularizer: of the bias.
        reuse: share the variables of the layer of this scope.
        variables_collections: collections for the variables; a name, a list, or a dict by `'weights'` and `'biases'`.
        outputs_collections: collections for the output.
        trainable: whether training changes the variables.
        scope: its name; default `fully_connected`, made unique.

    Returns:
        A Symbol or tensor `[N, num_outputs]`, or the module if `inputs` is a number.

    Raises:
        ValueError: if `num_outputs` is not positive, the features of `inputs` are not fixed, or the variables exist.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.fully_connected(torch.zeros(2, 3, 4, 4), 10, scope='doc_fc').shape
        torch.Size([2, 10])
        >>> slim.fully_connected(784, 10)
        Linear(in_features=784, out_features=10, bias=True)
    """
    (num_outputs,) = n_positive_integers(1, num_outputs)
    features, image = _features(inputs)
    module = Linear(features, num_outputs, normalizer_fn is None and biases_initializer is not None, image)
    module.set_up(
        weights=(weights_initializer, weights_regularizer),
        biases=(biases_initializer, biases_regularizer),
        activation_fn=activation_fn,
        normalizer=make_normalizer(normalizer_fn, normalizer_params, (None, num_outputs)),
        trainable=trainable,
    )
    return module


def _features(inputs: Incoming) -> tuple[int, tuple[int, ...] | None]:
    """The number of features after flattening, and the image that they came from."""
    if inputs.shape is None:
        return inputs.channels(), None
    sizes = inputs.shape[1:]
    if not sizes or None in sizes:
        raise ValueError(
            f"fully_connected: all dimensions of `inputs` but the batch must be fixed. Got shape {inputs.shape}."
        )
    return torch.Size(sizes).numel(), inputs.image  # type: ignore[arg-type]


# TF-Slim's aliases: layers, not activations; `repeat` and `stack` name them `fully_connected_1`, ...
elu = functools.partial(fully_connected, activation_fn=nn.functional.elu)
relu = functools.partial(fully_connected, activation_fn=torch.relu)
relu6 = functools.partial(fully_connected, activation_fn=nn.functional.relu6)
linear = functools.partial(fully_connected, activation_fn=None)
