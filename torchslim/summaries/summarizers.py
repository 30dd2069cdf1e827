"""`summarize_*`: the summary that suits a tensor, and those of whole collections (TF-Slim's `layers.summaries`)."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional

from torchslim.graph import Symbol, Variable, get_default_graph
from torchslim.summaries.collecting import Summary, add_histogram_summary, add_scalar_summary, graph_of, own_name
from torchslim.variables import get_variables

Summarizer = Callable[[Any], Any]

# What of an output tells that its input was below zero. The layers of this package may activate in place.
_ZEROS: dict[Any, float] = {
    **dict.fromkeys((torch.relu, torch.relu_, functional.relu, functional.relu6, "relu", "relu_"), 0.0),
    functional.softplus: math.log(2.0),
}
_SIXES = 6.0


def summarize_tensor(tensor: Symbol | Variable, tag: str | None = None) -> Summary | None:
    """Has a scalar written as such, and of any other tensor the distribution of its elements (TF-Slim's function).

    Args:
        tensor: a Symbol or Variable.
        tag: its tag in TensorBoard, made unique; default: its name with `_summary` behind it.

    Returns:
        The summary, which is now in the collection `'summaries'`.

    Raises:
        TypeError: if it is neither a Symbol nor a Variable.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph():
        ...     x = slim.placeholder((None, 3), name='x')
        ...     slim.summarize_tensor(x).kind, slim.summarize_tensor(x.mean(), 'loss').kind
        ('histogram', 'scalar')
    """
    tag = _unique(tensor, tag or f"{own_name(tensor)}_summary")
    return add_histogram_summary(tensor, tag) if len(tensor.shape) else add_scalar_summary(tensor, tag)


def summarize_activation(op: Symbol) -> Summary:
    """Has the distribution of an activation written and, of ReLUs, how much of it is cut off (TF-Slim's function).

    Behind `relu`, `relu6` and `softplus`, functions as well as layers with one of them as `activation_fn`, a scalar
    `.../zeros` is the share of elements whose input was not above zero; behind `relu6`, `.../sixes` that of those cut
    off at six.

    TF-Slim: counts what is below zero and above six before the activation; an element of exactly zero or six counts
    here, too.

    Args:
        op: a Symbol.

    Returns:
        The summary of the distribution; all are in the collection `'summaries'`.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph() as graph:
        ...     net = slim.fully_connected(slim.placeholder((None, 3)), 2, scope='fc')
        ...     _ = slim.summarize_activation(net)
        >>> [(summary.kind, summary.tag) for summary in graph.get_collection('summaries')]
        [('scalar', 'fc/zeros'), ('histogram', 'fc/activation')]
    """
    name, function = own_name(op), _activation_of(op)
    if function in _ZEROS:
        zeros = op.le(_ZEROS[function]).float().mean()
        add_scalar_summary(zeros, _unique(op, f"{name}/zeros"))
    if function is functional.relu6:
        add_scalar_summary(op.ge(_SIXES).float().mean(), _unique(op, f"{name}/sixes"))
    return add_histogram_summary(op, _unique(op, f"{name}/activation"))


def summarize_tensors(
    tensors: Iterable[Symbol | Variable], summarizer: Summarizer = summarize_tensor
) -> list[Summary | None]:
    """Summarizes each of `tensors` by `summarizer` (TF-Slim's function of this name).

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     losses = [slim.placeholder((), name=name) for name in 'ab']
        ...     [summary.tag for summary in slim.summarize_tensors(losses)]
        ['a_summary', 'b_summary']
    """
    return [summarizer(tensor) for tensor in tensors]


def summarize_collection(
    collection: str, name_filter: str | None = None, summarizer: Summarizer = summarize_tensor
) -> list[Summary | None]:
    """Summarizes each tensor of a collection (TF-Slim's function of this name).

    Args:
        collection: the name of a collection of Symbols or Variables; `'variables'` are all but local ones.
        name_filter: only those whose name begins with a match of this regular expression.
        summarizer: what makes the summary of one.

    Returns:
        What `summarizer` gives for each.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     net = slim.placeholder((None, 3))
        ...     net = slim.stack(net, slim.fully_connected, [4, 2], scope='fc', outputs_collections='outputs')
        ...     [summary.tag for summary in slim.summarize_collection('outputs', 'fc/fc_2')]
        ['fc/fc_2_summary']
    """
    tensors: list[Any] = get_variables(collection=collection) or get_default_graph().get_collection(collection)
    return summarize_tensors((t for t in tensors if re.match(name_filter or "", own_name(t))), summarizer)


def summarize_activations(
    name_filter: str | None = None, summarizer: Summarizer = summarize_activation
) -> list[Summary | None]:
    """`summarize_collection` of `'activations'`, by `summarize_activation` (TF-Slim's function of this name).

    Layers put their outputs there if told so: `outputs_collections='activations'`.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph(), slim.arg_scope([slim.fully_connected], outputs_collections='activations'):
        ...     net = slim.stack(slim.placeholder((None, 3)), slim.fully_connected, [4, 2], scope='fc')
        ...     [summary.tag for summary in slim.summarize_activations()]
        ['fc/fc_1/activation', 'fc/fc_2/activation']
    """
    return summarize_collection("activations", name_filter, summarizer)


# TF-Slim's: of variables, and of those that layers put into collections if told so, such as
# `variables_collections={'weights': 'weights', 'biases': 'biases'}`.
summarize_variables = functools.partial(summarize_collection, "variables")
summarize_weights = functools.partial(summarize_collection, "weights")
summarize_biases = functools.partial(summarize_collection, "biases")


def _unique(tensor: Symbol | Variable, tag: str) -> str:
    graph = graph_of(tensor)
    return tag if graph is None else graph.names.unique(tag)


def _activation_of(symbol: Symbol) -> Any:
    """The function that gave a Symbol: that of its call, or the activation of the layer."""
    if symbol.node.op != "call_module":
        return symbol.node.target
    activation = getattr(symbol.owner.get_module(str(symbol.node.target)), "activation", None)
    return getattr(activation, "func", activation)  # layers have some work in place, by a `functools.partial`
