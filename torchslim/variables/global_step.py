"""The variable that counts training steps."""

from __future__ import annotations

import torch

from torchslim.graph import Graph, Variable, get_default_graph
from torchslim.initializers import zeros_initializer

GLOBAL_STEP = "global_step"


def create_global_step(graph: Graph | None = None) -> Variable:
    """Makes the variable that counts training steps (TensorFlow's `create_global_step`).

    Raises:
        ValueError: if it exists.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     slim.create_global_step().name
        'global_step:0'
    """
    graph = graph or get_default_graph()
    if GLOBAL_STEP in graph.variables:
        raise ValueError("create_global_step: 'global_step' exists already. Use `slim.get_or_create_global_step()`.")
    value = torch.zeros((), dtype=torch.int64)
    return graph.add_variable(GLOBAL_STEP, value, kind="global", initializer=zeros_initializer())


def get_global_step(graph: Graph | None = None) -> Variable | None:
    """The variable that counts training steps, or None.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     print(slim.get_global_step())
        None
    """
    return (graph or get_default_graph()).variables.get(GLOBAL_STEP)


def get_or_create_global_step(graph: Graph | None = None) -> Variable:
    """The variable that counts training steps (TF-Slim's `get_or_create_global_step`).

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     slim.get_or_create_global_step()
        <slim.Variable 'global_step:0' shape=() dtype=int64>
    """
    step = get_global_step(graph)
    return create_global_step(graph) if step is None else step


def assert_global_step(global_step_tensor: Variable) -> None:
    """Raises a TypeError unless it is a whole number without dimensions.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     slim.assert_global_step(slim.get_or_create_global_step())
    """
    if global_step_tensor.shape != () or global_step_tensor.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"global step: it must be a scalar of whole numbers. Got {global_step_tensor!r}.")


def assert_or_get_global_step(graph: Graph | None = None, global_step_tensor: Variable | None = None) -> Variable:
    """The given global step, checked, or that of the graph.

    Raises:
        ValueError: if there is none.
        TypeError: if it is no scalar of whole numbers.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     step = slim.create_global_step()
        ...     slim.assert_or_get_global_step() is step
        True
    """
    step = get_global_step(graph) if global_step_tensor is None else global_step_tensor
    if step is None:
        raise ValueError("global step: there is none. Make it with `slim.get_or_create_global_step()`.")
    assert_global_step(step)
    return step
