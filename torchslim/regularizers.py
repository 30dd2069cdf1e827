"""Regularizers: values that turn the weights of a layer into a loss, under TF-Slim's names.

The mathematics is in `l1_loss` and `l2_loss`. Each is one node of a graph, so that whoever builds a train step from
the graph can recognise it.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import handle_torch_function, has_torch_function

from torchslim.graph import get_default_graph, is_symbolic

Regularizer = Callable[[Any], Any]


def l1_loss(weights: torch.Tensor, scale: float) -> torch.Tensor:
    """`scale * sum(|weights|)`, one node of a graph.

    Args:
        weights: tensor of any shape.
        scale: multiplier.

    Returns:
        A scalar.

    Example:
        >>> l1_loss(torch.tensor([1.0, -3.0]), 0.5)
        tensor(2.)
    """
    if has_torch_function((weights,)):
        return handle_torch_function(l1_loss, (weights,), weights, scale)
    return weights.abs().sum() * scale


def l2_loss(weights: torch.Tensor, scale: float) -> torch.Tensor:
    """`scale * sum(weights ** 2) / 2`, one node of a graph.

    Args:
        weights: tensor of any shape.
        scale: multiplier; the gradient is `scale * weights`.

    Returns:
        A scalar.

    Example:
        >>> l2_loss(torch.tensor([1.0, -3.0]), 0.5)
        tensor(2.5000)
    """
    if has_torch_function((weights,)):
        return handle_torch_function(l2_loss, (weights,), weights, scale)
    return weights.square().sum() * (scale / 2)
