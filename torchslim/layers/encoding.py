"""Labels and other whole numbers in other forms: one-hot, sparse, bucketized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import handle_torch_function, has_torch_function

from torchslim.arg_scope import add_arg_scope
from torchslim.graph.symbol import Value
from torchslim.layers.layer import layer
from torchslim.layers.utils import n_positive_integers


class OneHotEncoding(nn.Module):
    """The module of `slim.one_hot_encoding`."""

    def __init__(self, num_classes: int, on_value: float, off_value: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.on_value = on_value
        self.off_value = off_value

    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        """`[..., num_classes]` of labels."""
        whole = isinstance(self.on_value, int) and isinstance(self.off_value, int)
        on, off = torch.tensor(
            [self.on_value, self.off_value], dtype=torch.int32 if whole else torch.float32, device=labels.device
        )
        return torch.where(labels.unsqueeze(-1) == torch.arange(self.num_classes, device=labels.device), on, off)


@add_arg_scope
@layer("OneHotEncoding", variables=False)
def one_hot_encoding(
    labels: Any,
    num_classes: int,
    on_value: float = 1.0,
    off_value: float = 0.0,
    outputs_collections: Any = None,
    scope: str | None = None,
) -> Any:
    """Labels as one-hot vectors (TF-Slim's `one_hot_encoding`).

    Args:
        labels: a Symbol or tensor of whole numbers; one outside of `0 ... num_classes - 1` gives a vector that is all
            off, as in TensorFlow (`torch.nn.functional.one_hot` raises). A Python number makes only the module.
        num_classes: the number of classes.
        on_value: stands at the label.
        off_value: stands elsewhere.
        outputs_collections: collections for the output.
        scope: its name; default `OneHotEncoding`, made unique.

    Returns:
        A Symbol or tensor `[..., num_classes]`: float32, or int32 if both values are whole numbers.

    Raises:
        ValueError: if `num_classes` is not positive.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.one_hot_encoding(torch.tensor([1, 3]), 3)
        tensor([[0., 1., 0.], [0., 0., 0.]])
    """
    (num_classes,) = n_positive_integers(1, num_classes)
    return OneHotEncoding(num_classes, on_value, off_value)


class DenseToSparse(nn.Module):
    """The module of `slim.dense_to_sparse`."""

    def __init__(self, eos_token: int) -> None:
        super().__init__()
        self.eos_token = eos_token

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sparse COO tensor of what is not `eos_token`."""
        if tensor.is_meta:  # how many there are depends on the values: in a shape, any number is right
            indices, values = tensor.new_empty((tensor.ndim, 0), dtype=torch.int64), tensor.new_empty(0)
        else:
            kept = tensor != self.eos_token
            indices, values = kept.nonzero().t(), tensor[kept]
        return torch.sparse_coo_tensor(indices, values, tensor.shape, is_coalesced=True, check_invariants=False)


@add_arg_scope
@layer("dense_to_sparse")
def dense_to_sparse(tensor: Any, eos_token: int = 0, outputs_collections: Any = None, scope: str | None = None) -> Any:
    """A sparse tensor of what is not `eos_token` (TF-Slim's `dense_to_sparse`).

    TF-Slim gives a `SparseTensor`; of a `torch.sparse` one, `y.indices().t()`, `y.values()` and `y.shape` are the same.

    Args:
        tensor: a Symbol or tensor; a Python number makes only the module.
        eos_token: the value to leave out.
        outputs_collections: collections for the output.
        scope: its name; default `dense_to_sparse`, made unique.

    Returns:
        A Symbol or tensor of the same shape, `torch.sparse_coo`, coalesced.

    Example:
        >>> import torch, torchslim as slim
        >>> y = slim.dense_to_sparse(torch.tensor([[7, 0], [0, 9]]))
        >>> y.indices().t().tolist(), y.values().tolist()
        ([[0, 0], [1, 1]], [7, 9])
    """
    return DenseToSparse(eos_token)


def bucketize(input_tensor: Value, boundaries: Sequence[float], name: str | None = None) -> Value:
    """The number of the bucket that each value falls into (TF-Slim's `bucketize`).

    Args:
        input_tensor: a Symbol or tensor.
        boundaries: a sorted list; a value equal to a boundary falls into the bucket above it.
        name: accepted because TF-Slim has it; a function without variables needs none.

    Returns:
        A Symbol or tensor of the same shape, int32, from 0 to `len(boundaries)`.

    Raises:
        TypeError: if `boundaries` is not a list or a tuple.
        ValueError: if it is not sorted.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.bucketize(torch.tensor([[-5, 10000], [150, 10], [5, 100]]), [0, 10, 100])
        tensor([[0, 3], [3, 2], [1, 3]], dtype=torch.int32)
    """
    if not isinstance(boundaries, list | tuple):
        raise TypeError(f"bucketize: `boundaries` must be a list of numbers. Got {boundaries!r}.")
    if sorted(boundaries) != list(boundaries):
        raise ValueError(f"bucketize: `boundaries` must be sorted. Got {boundaries!r}.")
    if has_torch_function((input_tensor,)):
        return handle_torch_function(bucketize, (input_tensor,), input_tensor, boundaries)
    dtype = input_tensor.dtype if input_tensor.is_floating_point() else torch.float64
    limits = torch.tensor(boundaries, dtype=dtype, device=input_tensor.device)
    return torch.bucketize(input_tensor.to(dtype), limits, right=True, out_int32=True)
