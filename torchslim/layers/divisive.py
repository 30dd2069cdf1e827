"""Generalized divisive normalization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from torchslim.graph import Layer, Symbol, VariableScope, variable_scope
from torchslim.layers.base import check_choice
from torchslim.layers.incoming import scoped_data_format
from torchslim.layers.layer import layer
from torchslim.layers.utils import get_tensor_aliases

_FORMATS = {"NCHW": "channels_first", "NHWC": "channels_last"}


class _LowerBound(torch.autograd.Function):
    """The greater of a tensor and a bound; below the bound only gradients that would raise the tensor pass."""

    @staticmethod
    def forward(tensor: torch.Tensor, bound: float) -> torch.Tensor:
        return tensor.clamp(min=bound)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, float], output: torch.Tensor) -> None:
        tensor, ctx.bound = inputs
        ctx.save_for_backward(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (tensor,), (gradient,) = ctx.saved_tensors, gradients
        return gradient * ((tensor >= ctx.bound) | (gradient < 0)), None


class DivisiveNorm(Layer):
    """The module of `slim.gdn`: divides each channel by a root of the weighted squares of all of them."""

    slim_names = {"reparam_beta": "reparam_beta", "reparam_gamma": "reparam_gamma"}  # noqa: RUF012

    def __init__(
        self,
        channels: int,
        *,
        inverse: bool,
        beta_min: float,
        gamma_init: float,
        reparam_offset: float,
        channels_last: bool,
    ) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta_min = beta_min
        self.reparam_offset = reparam_offset
        self.channels_last = channels_last
        self.reparam_beta = nn.Parameter(torch.empty(channels))
        self.reparam_gamma = nn.Parameter(torch.empty(channels, channels))
        pedestal = reparam_offset**2
        self.initializers["reparam_beta"] = (1 + pedestal) ** 0.5
        self.initializers["reparam_gamma"] = _DiagonalRoot(gamma_init, pedestal)
        self.kinds.update(reparam_beta="global", reparam_gamma="global")
        self.reset_parameters()

    @property
    def beta(self) -> torch.Tensor:
        """What is added to the weighted squares: `[C]`, at least `beta_min`."""
        pedestal = self.reparam_offset**2
        return _LowerBound.apply(self.reparam_beta, (self.beta_min + pedestal) ** 0.5).square() - pedestal

    @property
    def gamma(self) -> torch.Tensor:
        """The weights of the squares: `[C in, C out]`, not negative."""
        return _LowerBound.apply(self.reparam_gamma, self.reparam_offset).square() - self.reparam_offset**2

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Computes the layer on `[N, C, ...]` (or `[N, ..., C]`)."""
        weight, squares = self.gamma.t(), inputs.square()
        if self.channels_last:
            norm = functional.linear(squares, weight, self.beta)
        else:
            norm = functional.conv1d(squares.flatten(2), weight[..., None], self.beta).view_as(inputs)
        return inputs * (norm.sqrt() if self.inverse else norm.rsqrt())


class _DiagonalRoot:
    """The initializer `sqrt(value * identity + offset)`."""

    def __init__(self, value: float, offset: float) -> None:
        self.value = value
        self.offset = offset

    def __call__(self, shape: tuple[int, ...]) -> torch.Tensor:
        return (self.value * torch.eye(*shape) + self.offset).sqrt()


@layer("gdn")
def _gdn(
    inputs: Any,
    inverse: bool,
    beta_min: float,
    gamma_init: float,
    reparam_offset: float,
    data_format: str | None,
    trainable: bool,
    reuse: Any,
    scope: str | None,
) -> Any:
    data_format = data_format or _FORMATS[scoped_data_format()]
    check_choice("gdn", "data_format", data_format, tuple(_FORMATS.values()))
    inputs.check_rank("gdn", (3, 4, 5))
    last = data_format == "channels_last"
    module = DivisiveNorm(
        inputs.channels("NHWC" if last else "NCHW"),
        inverse=inverse,
        beta_min=beta_min,
        gamma_init=gamma_init,
        reparam_offset=reparam_offset,
        channels_last=last,
    )
    module.requires_grad_(trainable)
    return module


def gdn(
    inputs: Any,
    inverse: bool = False,
    beta_min: float = 1e-6,
    gamma_init: float = 0.1,
    reparam_offset: float = 2**-18,
    data_format: str | None = None,
    activity_regularizer: Callable[..., Any] | None = None,
    trainable: bool = True,
    name: str | None = None,
    reuse: Any = None,
) -> Any:
    """Generalized divisive normalization (TF-Slim's `gdn`, arXiv:1511.06281): `x / sqrt(beta + gamma x**2)`.

    `beta` and `gamma` are kept as square roots, so that learning slows down near zero.

    TF-Slim: its variables are no model variables, here neither; TF-Slim forgot to register its gradient, here it works.

    Args:
        inputs: a Symbol or tensor `[N, C, ...]` of rank 3 to 5 (`[N, ..., C]`), or the number of channels.
        inverse: multiply instead of dividing: one step of the inverse.
        beta_min: the least `beta`, so that no root of zero is taken.
        gamma_init: `gamma` starts as the identity times this.
        reparam_offset: keeps the roots away from zero, where they would have no gradient.
        data_format: `'channels_first'` or `'channels_last'`; None: as the layers around, `'channels_first'` if they
            do not say.
        activity_regularizer: a function of the output to a loss that is collected, divided by the size of the batch.
        trainable: whether training changes the variables.
        name: its scope; default `gdn`, made unique.
        reuse: share the variables of the layer of this name.

    Returns:
        A Symbol or tensor of the shape of `inputs`, or the module if `inputs` is a number.

    Raises:
        ValueError: if `data_format` is unknown, the rank is not 3 to 5, there is an `activity_regularizer` but no
            Symbol, or the variables exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.gdn(torch.ones(1, 2, 3, 3), name='doc_gdn')[0, 0, 0, 0].item()
        0.953...
    """
    outputs = _gdn(inputs, inverse, beta_min, gamma_init, reparam_offset, data_format, trainable, reuse, name)
    if activity_regularizer is not None:
        if not isinstance(outputs, Symbol):
            raise ValueError(
                f"gdn: an `activity_regularizer` needs a Symbol as `inputs`. Got {activity_regularizer!r} for "
                f"{type(inputs).__name__}; compute the loss of the output yourself."
            )
        loss = activity_regularizer(outputs)
        outputs.owner.add_to_collection("regularization_losses", loss / outputs.size(0))
    return outputs


class GDN:
    """Generalized divisive normalization as TF-Slim's layer object: made first, then called.

    The first call makes the layer, by `slim.gdn`; those that follow share its variables.

    Args:
        inverse: as in `slim.gdn`, like all that follow.
        beta_min: the least `beta`.
        gamma_init: `gamma` starts as the identity times this.
        reparam_offset: keeps the roots away from zero.
        data_format: `'channels_first'` or `'channels_last'`.
        activity_regularizer: a function of the output to a loss.
        trainable: whether training changes the variables.
        name: its scope.

    Example:
        >>> import torch, torchslim as slim
        >>> layer = slim.GDN(inverse=True, name='doc_igdn')
        >>> layer(torch.ones(1, 2, 3, 3)).shape, layer(torch.ones(4, 2, 5, 5)).shape
        (torch.Size([1, 2, 3, 3]), torch.Size([4, 2, 5, 5]))
    """

    def __init__(
        self,
        inverse: bool = False,
        beta_min: float = 1e-6,
        gamma_init: float = 0.1,
        reparam_offset: float = 2**-18,
        data_format: str | None = None,
        activity_regularizer: Callable[..., Any] | None = None,
        trainable: bool = True,
        name: str | None = None,
    ) -> None:
        self.options: dict[str, Any] = {
            "inverse": inverse,
            "beta_min": beta_min,
            "gamma_init": gamma_init,
            "reparam_offset": reparam_offset,
            "data_format": data_format,
            "activity_regularizer": activity_regularizer,
            "trainable": trainable,
            "name": name,
        }
        self.scope: str | None = None

    def __call__(self, inputs: Any) -> Any:
        """Applies the layer to a Symbol or a tensor."""
        if self.scope is None:
            outputs = gdn(inputs, **self.options)
            self.scope = next(iter(get_tensor_aliases(outputs)), None)
            return outputs
        above, _, name = self.scope.rpartition("/")
        with variable_scope(VariableScope(above), reuse=True):
            return gdn(inputs, **{**self.options, "name": name})

    apply = __call__
