"""Initializers: small values that say how a variable starts, under TensorFlow's names.

An initializer is called with a shape in TensorFlow's layout, `init([3, 3, in, out])`, or fills a tensor in
place. Random values are independent of each other, so a parameter in PyTorch's layout is filled where it is;
only the fans are read off the TensorFlow shape. Initializers compare by value, print as written, and pickle.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

import torch

Shape: TypeAlias = Sequence[int]
Rng: TypeAlias = torch.Generator | None


class Initializer:
    """What all initializers share: make a tensor, or fill one. Tensors on `meta` have nothing to fill."""

    name: ClassVar[str] = "initializer"
    seed: int | None = None
    dtype: torch.dtype | None = None

    def __call__(
        self, shape: Shape, dtype: torch.dtype | None = None, *, device: Any = None, generator: Rng = None
    ) -> torch.Tensor:
        """A new tensor of `shape`, given in TensorFlow's layout: `[height, width, in, out]`, `[in, out]`."""
        tensor = torch.empty(tuple(shape), dtype=dtype or self.dtype, device=device)
        return self.fill_(tensor, generator=generator)

    @torch.no_grad()
    def fill_(self, tensor: torch.Tensor, shape: Shape | None = None, *, generator: Rng = None) -> torch.Tensor:
        """Fills `tensor` in place and returns it.

        Args:
            tensor: what to fill, in any layout.
            shape: its shape in TensorFlow's layout, for fan-in and fan-out; default `tensor.shape`.
            generator: where the random numbers come from; default: `seed`, else PyTorch's own generator.
        """
        if not tensor.is_meta:
            if generator is None and self.seed is not None:
                generator = torch.Generator(tensor.device).manual_seed(self.seed)
            self._fill(tensor, tuple(tensor.shape if shape is None else shape), generator)
        return tensor

    def _fill(self, tensor: torch.Tensor, shape: tuple[int, ...], generator: Rng) -> None:
        raise TypeError(f"{type(self).__name__} does not say how to fill a tensor: define `_fill`.")

    def __repr__(self) -> str:
        values = ((field, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]
        return f"{self.name}({', '.join(f'{f.name}={v!r}' for f, v in values if repr(v) != repr(f.default))})"


@dataclass(frozen=True, repr=False)
class Zeros(Initializer):
    """All zeros.

    Example:
        >>> zeros_initializer()([2])
        tensor([0., 0.])
    """

    name = "zeros_initializer"
    dtype: torch.dtype | None = None

    def _fill(self, tensor: torch.Tensor, shape: tuple[int, ...], generator: Rng) -> None:
        tensor.zero_()


@dataclass(frozen=True, repr=False)
class Ones(Initializer):
    """All ones.

    Example:
        >>> ones_initializer()([2])
        tensor([1., 1.])
    """

    name = "ones_initializer"
    dtype: torch.dtype | None = None

    def _fill(self, tensor: torch.Tensor, shape: tuple[int, ...], generator: Rng) -> None:
        tensor.fill_(1)


@dataclass(frozen=True, repr=False, eq=False)
class Constant(Initializer):
    """A number everywhere, or given values.

    Args:
        value: a number, or an array in TensorFlow's layout with as many elements as the variable.
        dtype: of the tensors made by calling it; default PyTorch's.

    Raises:
        ValueError: on filling, if an array has another number of elements.

    Example:
        >>> constant_initializer(0.5)([2]), constant_initializer([1.0, 2.0, 3.0, 4.0])([2, 2])
        (tensor([0.5000, 0.5000]), tensor([[1., 2.], [3., 4.]]))

    TF-Slim: too few values are an error; TensorFlow 1 repeats the last one.
    """

    name = "constant_initializer"
    value: Any = 0.0
    dtype: torch.dtype | None = None

    def values(self, shape: tuple[int, ...]) -> torch.Tensor:
        """The values of a variable of `shape`, both in TensorFlow's layout; a number stays a number."""
        values = torch.as_tensor(self.value)
        if values.ndim and values.numel() != math.prod(shape):
            raise ValueError(
                f"constant_initializer: `value` must fill a variable of shape {list(shape)}, "
                f"{math.prod(shape)} elements. Got {values.numel()}, of shape {list(values.shape)}."
            )
        return values.reshape(shape) if values.ndim else values

    def _fill(self, tensor: torch.Tensor, shape: tuple[int, ...], generator: Rng) -> None:
        tensor.copy_(self.values(shape))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Constant):
            return NotImplemented
        mine, theirs = (torch.as_tensor(each.value, dtype=torch.float64) for each in (self, other))
        return self.dtype == other.dtype and torch.equal(mine, theirs)

    def __hash__(self) -> int:
        return hash((self.name, torch.as_tensor(self.value).shape, self.dtype))


class _Random(Initializer):
    def __post_init__(self) -> None:
        if self.dtype is not None and not self.dtype.is_floating_point:
            raise TypeError(f"{self.name}: `dtype` must be a floating point type. Got {self.dtype}.")


@dataclass(frozen=True, repr=False)
class RandomNormal(_Random):
    """Normally distributed values.

    Args:
        mean: of the distribution.
        stddev: its standard deviation.
        seed: for the same values at every call.
        dtype: of the tensors made by calling it; default PyTorch's.

    Raises:
        TypeError: if `dtype` is not a floating point type.

    Example:
        >>> init = random_normal_initializer(stddev=0.01, seed=1)
        >>> init, round(init([100, 100]).std().item(), 3)
        (random_normal_initializer(stddev=0.01, seed=1), 0.01)
    """

    name = "random_normal_initializer"
    mean: float = 0.0
    stddev: float = 1.0
    seed: int | None = None
    dtype: torch.dtype | None = None

    def _fill(self, tensor: torch.Tensor, shape: tuple[int, ...], generator: Rng) -> None:
        tensor.normal_(self.mean, self.stddev, generator=generator)


@dataclass(frozen=True, repr=False)
class TruncatedNormal(_Random):
    """Normally distributed values, those further than two `stddev` from `mean` drawn again.

    Args:
        mean: of the distribution.
        stddev: its standard deviation before the cut; after it, the values have 0.88 of that.
        seed: for the same values at every call.
        dtype: of the tensors made by calling it; default PyTorch's.

    Raises:
        TypeError: if `dtype` is not a floating point type.

    Example:
        >>> weights = truncated_normal_initializer(stddev=0.01, seed=1)([100, 100])
        >>> (weights.abs().max() <= 0.02).item(), round(weights.std().item(), 4)
        (True, 0.0088)
    """

    name = "truncated_normal_initializer"
    mean: float = 0.0
    stddev: float = 1.0
    seed: int | None = None
    dtype: torch.dtype | None = None

    def _fill(self, tensor: torch.Tensor, shape: tuple[int, ...], generator: Rng) -> None:
        _truncated_normal_(tensor, self.mean, self.stddev, generator)


@dataclass(frozen=True, repr=False)
class RandomUniform(_Random):
    """Uniformly distributed values in `[minval, maxval)`.

    Args:
        minval: the lower bound.
        maxval: the upper bound; None: 1.
        seed: for the same values at every call.
        dtype: of the tensors made by calling it; default PyTorch's.

    Raises:
        TypeError: if `dtype` is not a floating point type.

    Example:
        >>> values = random_uniform_initializer(-0.1, 0.1)([1000])
        >>> values.min() >= -0.1, values.max() <= 0.1
        (tensor(True), tensor(True))
    """

    name = "random_uniform_initializer"
    minval: float = 0.0
    maxval: float | None = None
    seed: int | None = None
    dtype: torch.dtype | None = None

    def _fill(self, tensor: torch.Tensor, shape: tuple[int, ...], generator: Rng) -> None:
        tensor.uniform_(self.minval, 1.0 if self.maxval is None else self.maxval, generator=generator)


@dataclass(frozen=True, repr=False)
class VarianceScaling(_Random):
    """Random values whose variance is `factor / n`, so that signals keep their size through the layers.

    `n` is a fan of the variable. The default suits rectified units (He et al., arXiv:1502.01852).

    Args:
        factor: 2 for rectified units, 1 for linear ones.
        mode: `n` is the number of inputs (`'FAN_IN'`), of outputs (`'FAN_OUT'`), or their mean (`'FAN_AVG'`).
        uniform: draw uniformly from `[-sqrt(3 * factor / n), sqrt(3 * factor / n))`; default: from a normal
            distribution of standard deviation `sqrt(1.3 * factor / n)`, cut at two of them.
        seed: for the same values at every call.
        dtype: of the tensors made by calling it; default PyTorch's.

    Raises:
        TypeError: if `mode` is unknown or `dtype` is not a floating point type.

    Example:
        >>> init = variance_scaling_initializer(factor=1.0, mode='FAN_OUT', uniform=True)
        >>> init([3, 3, 8, 12]).abs().max() <= (3 / (3 * 3 * 12)) ** 0.5
        tensor(True)
    """

    name = "variance_scaling_initializer"
    factor: float = 2.0
    mode: str = "FAN_IN"
    uniform: bool = False
    seed: int | None = None
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("FAN_IN", "FAN_OUT", "FAN_AVG"):
            raise TypeError(f"{self.name}: `mode` must be 'FAN_IN', 'FAN_OUT' or 'FAN_AVG'. Got {self.mode!r}.")

    def _fill(self, tensor: torch.Tensor, shape: tuple[int, ...], generator: Rng) -> None:
        fan_in, fan_out = fans(shape)
        n = {"FAN_IN": fan_in, "FAN_OUT": fan_out, "FAN_AVG": (fan_in + fan_out) / 2}[self.mode]
        variance = self.factor / (n or 1)  # a variable without elements has no fan
        if self.uniform:
            limit = math.sqrt(3 * variance)
            tensor.uniform_(-limit, limit, generator=generator)
        else:
            _truncated_normal_(tensor, 0.0, math.sqrt(1.3 * variance), generator)


def xavier_initializer(
    uniform: bool = True, seed: int | None = None, dtype: torch.dtype | None = None
) -> VarianceScaling:
    """Random values of variance `2 / (fan_in + fan_out)` (Glorot and Bengio 2010): the layers' default.

    Args:
        uniform: draw uniformly, else from a truncated normal distribution.
        seed: for the same values at every call.
        dtype: of the tensors made by calling it; default PyTorch's.

    Raises:
        TypeError: if `dtype` is not a floating point type.

    Example:
        >>> xavier_initializer()
        variance_scaling_initializer(factor=1.0, mode='FAN_AVG', uniform=True)
        >>> xavier_initializer()([40, 60]).abs().max() <= (6 / (40 + 60)) ** 0.5
        tensor(True)
    """
    return VarianceScaling(factor=1.0, mode="FAN_AVG", uniform=uniform, seed=seed, dtype=dtype)


# TensorFlow's names.
zeros_initializer = Zeros
ones_initializer = Ones
constant_initializer = Constant
random_normal_initializer = RandomNormal
truncated_normal_initializer = TruncatedNormal
random_uniform_initializer = RandomUniform
variance_scaling_initializer = VarianceScaling
xavier_initializer_conv2d = xavier_initializer


def fans(shape: Shape) -> tuple[int, int]:
    """Fan-in and fan-out of a variable, from its shape in TensorFlow's layout.

    Example:
        >>> fans([3, 3, 8, 16]), fans([40, 60]), fans([64]), fans([])
        ((72, 144), (40, 60), (64, 64), (1, 1))
    """
    if not shape:
        return 1, 1
    receptive = math.prod(shape[:-2])
    return receptive * shape[-2 if len(shape) > 1 else -1], receptive * shape[-1]


def _truncated_normal_(tensor: torch.Tensor, mean: float, stddev: float, generator: Rng) -> None:
    # By the inverse of the distribution function: many times faster than to draw again what lies beyond.
    wide = tensor.dtype in (torch.float32, torch.float64)
    draw = tensor if wide else torch.empty_like(tensor, dtype=torch.float32)
    bound = math.erf(2 / math.sqrt(2))
    draw.uniform_(-bound, bound, generator=generator).erfinv_().mul_(stddev * math.sqrt(2))
    if mean:
        draw.add_(mean)
    draw.clamp_(mean - 2 * stddev, mean + 2 * stddev)  # rounding may put the outermost values just beyond
    if not wide:
        tensor.copy_(draw)


@torch.no_grad()
def initialize_(
    tensor: torch.Tensor,
    initializer: Any,
    shape: Shape,
    from_tf: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor,
) -> torch.Tensor:
    """Gives a parameter or a buffer its first value, whatever says what that is, and returns it.

    Args:
        tensor: what to fill, in PyTorch's layout; on `meta` it stays as it is, but given values are checked.
        initializer: an initializer of this module, or its class; a function that fills in place, known by the
            underscore that ends its name (those of `torch.nn.init`; also a partial of one); a function
            from the shape to an array, both in TensorFlow's layout; such an array; or a number.
        shape: the shape of the variable in TensorFlow's layout.
        from_tf: turns a tensor in TensorFlow's layout into PyTorch's.

    Raises:
        TypeError: if `initializer` is none of these.
        ValueError: if it gives another shape.

    Example:
        >>> initialize_(torch.empty(2, 3), [[1, 2], [3, 4], [5, 6]], [3, 2], torch.t)
        tensor([[1., 3., 5.], [2., 4., 6.]])
        >>> initialize_(torch.empty(2), torch.nn.init.ones_, [2])
        tensor([1., 1.])
    """
    shape = tuple(shape)
    if tensor.is_meta and callable(initializer):  # there is nothing to fill; what is no function is checked
        return tensor
    if isinstance(initializer, type) and issubclass(initializer, Initializer):
        initializer = initializer()
    if isinstance(initializer, Constant):
        initializer = initializer.values(shape)
    if isinstance(initializer, Initializer):
        return initializer.fill_(tensor, shape)
    if callable(initializer) and _fills_in_place(initializer):
        initializer(tensor)
        return tensor
    given = initializer(shape) if callable(initializer) else initializer
    try:
        values = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            "initialize_: `initializer` must be a slim initializer, a function of torch.nn.init, a function "
            f"from the shape to an array, an array, or a number. Got {initializer!r}"
            + ("." if given is initializer else f", which gives {given!r}.")
        ) from error
    if values.ndim == 0:
        return tensor.fill_(values)
    if tuple(values.shape) != shape:
        raise ValueError(
            "initialize_: `initializer` must have the variable's shape in TensorFlow's layout, "
            f"{list(shape)}. Got {list(values.shape)}."
        )
    return tensor.copy_(from_tf(values))


def _fills_in_place(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", "").endswith("_")
