"""Tensors of which each process has a part: what FSDP2 makes of variables, gradients and an optimizer's state.

They are `DTensor`s: PyTorch computes with them as with any tensor, as long as all processes do so together. Two things
need care: a Python number of one is that of the part that is here, and ordinary tensors do not mix with them.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch

T = TypeVar("T")


def is_in_parts(tensor: Any) -> bool:
    """Whether each process has a part of a tensor only: a `DTensor`, whose import takes seconds."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as it is; of one that is in parts, all of it: every process has to ask."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def local(tensor: T) -> T:
    """A tensor as it is; of one that is in parts, the part that is here, sharing its memory."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def like(value: Any, tensor: torch.Tensor) -> Any:
    """A `value` that all processes have, in parts as `tensor` is; with another shape, whole in each process."""
    if not isinstance(value, torch.Tensor) or not is_in_parts(tensor) or is_in_parts(value):
        return value
    from torch.distributed.tensor import DTensor, Replicate, distribute_tensor

    assert isinstance(tensor, DTensor)
    placements = tensor.placements if value.shape == tensor.shape else [Replicate()]
    return distribute_tensor(value.to(tensor.device), tensor.device_mesh, placements, src_data_rank=None)
