"""Whether a stored tensor is what a variable needs, and how it becomes that: layouts are declared, never guessed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import prod

import torch
from torch import nn

from torchslim.graph import Variable

Arrangement = Callable[[torch.Tensor], torch.Tensor]

# Kernels are turned by so many outputs at a time, a few cache lines side by side; small ones are as quick whole.
_OUTPUTS = 32
_SMALL = 1 << 16


def arrangement(
    variable: Variable,
    stored: tuple[int, ...],
    *,
    tf_layout: bool,
    dense_as_convolution: bool = False,
    drop_background: bool = False,
    reshape: bool = False,
) -> Arrangement | None:
    """How a tensor of the shape `stored` becomes a value of `variable`; None if it does not fit.

    Args:
        variable: whose layer says how its kernel lies in TensorFlow.
        stored: the shape in the checkpoint.
        tf_layout: the checkpoint is in TensorFlow's layout.
        dense_as_convolution: a matrix may become a kernel that covers its image, and such a kernel a matrix.
        drop_background: of one output more than `variable` has, the first may be left out.
        reshape: any shape with as many elements will do.
    """
    wanted = variable.tf_shape if tf_layout else variable.shape
    place: Arrangement = variable.from_tf if tf_layout else _same
    if stored == wanted:
        return place
    if dense_as_convolution and _flattens(variable, stored, tf_layout):
        # Rows of a flattened image come as H, W, C in TensorFlow and as C, H, W in PyTorch: the order of the kernel's
        # own dimensions there, so that cutting or joining them moves nothing.
        return lambda tensor: place(tensor.reshape(wanted))
    if drop_background and has_background(wanted, stored, tf_layout=tf_layout):
        outputs = _outputs_dimension(stored, tf_layout)
        return lambda tensor: place(tensor.narrow(outputs, 1, tensor.shape[outputs] - 1))
    if reshape and prod(stored) == prod(wanted):
        return lambda tensor: place(tensor.reshape(wanted))
    return None


def has_background(wanted: tuple[int, ...], stored: tuple[int, ...], *, tf_layout: bool) -> bool:
    """Whether `stored` has one output more than `wanted`, and is like it otherwise.

    Example:
        >>> has_background((1, 1, 1024, 1000), (1, 1, 1024, 1001), tf_layout=True)
        True
    """
    if not wanted or len(wanted) != len(stored):
        return False
    outputs = _outputs_dimension(stored, tf_layout)
    return stored[outputs] == wanted[outputs] + 1 and all(
        stored[i] == wanted[i] for i in range(len(stored)) if i != outputs
    )


def _outputs_dimension(stored: tuple[int, ...], tf_layout: bool) -> int:
    return len(stored) - 1 if tf_layout else 0


def copy_turned(target: torch.Tensor, value: torch.Tensor) -> None:
    """`target.copy_(value)`, several times as fast where `value` is a kernel that lies in memory as TensorFlow's do.

    Args:
        target: `[O, I, ...]`.
        value: as large. In TensorFlow's layout the O are side by side.
    """
    by_outputs = value.ndim > 2 and value.stride(0) == 1 and value.numel() > _SMALL
    if not by_outputs or not target.is_contiguous() or target.device != value.device or not value.is_cpu:
        target.copy_(value)
        return

    def copy_outputs(start: int) -> None:
        outputs = value[start : start + _OUTPUTS]
        # Gathered first, then transposed: either way whole cache lines are read and written, which one copy cannot.
        gathered = outputs.movedim(0, -1).contiguous().flatten(0, -2)
        target[start : start + _OUTPUTS].flatten(1).copy_(gathered.t())

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(copy_outputs, range(0, len(value), _OUTPUTS)))


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _flattens(variable: Variable, stored: tuple[int, ...], tf_layout: bool) -> bool:
    """Whether the tensor is the matrix of the variable's kernel, or the kernel of its matrix."""
    module = variable.module
    if variable.attribute != "weight":
        return False
    if isinstance(module, nn.modules.conv._ConvNd) and not module.transposed and module.groups == 1:
        outputs, *image = variable.shape
        return stored == ((prod(image), outputs) if tf_layout else (outputs, prod(image)))
    if isinstance(module, nn.Linear) and len(stored) > 2:
        outputs = stored[-1] if tf_layout else stored[0]
        kernel = (stored[-2], *stored[:-2]) if tf_layout else stored[1:]
        # A layer that does not know the image which it sees the features of can only stand for a kernel of size 1.
        image = list(getattr(module, "image", None) or (module.in_features, *[1] * (len(stored) - 2)))
        return outputs == module.out_features and list(kernel) == image
    return False
