"""`slim.build`: runs a model function once and gives the module that it describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from torchslim.graph.graph import Graph, get_default_graph
from torchslim.graph.model import Model, make_model
from torchslim.graph.symbol import Symbol, is_symbolic


class InputSpec:
    """The shape and dtype of an input, when there is no example tensor.

    Args:
        shape: `None` for a size that varies, a number for one that is fixed.
        dtype: the element type.
        name: the name of the argument of `forward`.

    Example:
        >>> import torchslim as slim
        >>> model = slim.build(lambda x: x.mean((2, 3)), slim.InputSpec((None, 3, None, None)))
    """

    def __init__(
        self, shape: Sequence[int | None], dtype: torch.dtype = torch.float32, name: str | None = None
    ) -> None:
        self.shape = tuple(shape)
        self.dtype = dtype
        self.name = name

    def __repr__(self) -> str:
        return f"InputSpec({self.shape}, {self.dtype})"


def placeholder(
    shape: Sequence[int | None] | InputSpec, dtype: torch.dtype = torch.float32, name: str | None = None
) -> Symbol:
    """A Symbol of the current graph that is fed when the module runs (TensorFlow's `tf.placeholder`).

    Args:
        shape: `None` for a size that varies, e.g. `(None, 3, 224, 224)`; or an `InputSpec`.
        dtype: the element type.
        name: the name of the argument of `forward`; default `inputs`, made unique.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     slim.placeholder((None, 3, 32, 32), name='images')
        Symbol('images', shape=(None, 3, 32, 32), dtype=torch.float32)
    """
    if isinstance(shape, InputSpec):
        return get_default_graph().placeholder(shape.shape, shape.dtype, name or shape.name)
    return get_default_graph().placeholder(shape, dtype, name)


def build(function: Callable[..., Any], *inputs: torch.Tensor | InputSpec, **kwargs: Any) -> Model:
    """Runs `function` once, on Symbols, and gives the `nn.Module` that it describes.

    Args:
        function: the model function. It returns a Symbol, a tuple, a dict, or TF-Slim's `(net, end_points)`: then
            `forward` returns `net`, and `model.end_points` holds the rest.
        inputs: an example tensor each (its first dimension is the batch and varies), or an `InputSpec`.
        kwargs: go to `function`.

    Returns:
        The module, on the device of the first example tensor, in training mode. Under `torch.device('meta')` it has
        no memory: `slim.restore` gives it values without paying for an initialisation first.

    Raises:
        TypeError: if `function` returns something else than Symbols, or there is no input.

    Example:
        >>> import torch, torchslim as slim
        >>> def mlp(inputs):
        ...     return slim.stack(inputs, slim.fully_connected, [32, 10], scope='fc')
        >>> model = slim.build(mlp, torch.empty(1, 20))
        >>> model(torch.zeros(7, 20)).shape, list(model.state_dict())[:2]
        (torch.Size([7, 10]), ['fc.fc_1.weight', 'fc.fc_1.bias'])
    """
    if not inputs:
        raise TypeError("build: give an example tensor or a `slim.InputSpec` for each input of the model. Got none.")
    with Graph() as graph:
        symbols = [_symbol_for(graph, value) for value in inputs]
        result = function(*symbols, **kwargs)
    end_points: dict[str, Symbol] = {}
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
        result, rest = result
        end_points = {str(name): value for name, value in rest.items() if isinstance(value, Symbol)}
    if not is_symbolic(result):
        name = getattr(function, "__name__", repr(function))
        raise TypeError(
            f"build: {name} must return a Symbol, a tuple or dict of them, or (net, end_points). Got {result!r}."
        )
    model = make_model(graph, result, symbols, whole=end_points or dict(graph.end_points))
    example = next((value for value in inputs if isinstance(value, torch.Tensor)), None)
    device = torch.get_default_device() if example is None else example.device
    if device.type != "meta":
        graph.initialize(device)
        model.to(device)
    return model


def _symbol_for(graph: Graph, value: torch.Tensor | InputSpec) -> Symbol:
    if isinstance(value, InputSpec):
        return graph.placeholder(value.shape, value.dtype, value.name)
    if isinstance(value, torch.Tensor):
        return graph.placeholder((None, *value.shape[1:]) if value.ndim else (), value.dtype)
    raise TypeError(
        f"build: an input is an example tensor or a `slim.InputSpec`. Got {value!r} ({type(value).__name__})."
    )
