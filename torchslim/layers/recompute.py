"""`recompute_grad`: a function whose inner values are computed again in the backward pass instead of being kept."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from torchslim.graph import Symbol, Variable, get_default_graph, get_variable_scope
from torchslim.graph.scopes import join
from torchslim.layers.incoming import Incoming
from torchslim.layers.regions import Borrower, cut_region, placeholder_like, record, values_of


class Recomputed(Borrower):
    """Runs a module under `torch.utils.checkpoint`; statistics that it keeps are updated once, not twice."""

    def __init__(self, body: nn.Module, borrowed: tuple[str, ...] | None = None) -> None:
        super().__init__()
        if borrowed is None:
            self.body = body
        else:
            self.borrowed = borrowed
        self.bodies = (body,)  # in a tuple, a module is no child

    def forward(self, *inputs: torch.Tensor) -> Any:
        """What the module computes."""
        (body,) = self.bodies
        if not torch.is_grad_enabled() or torch.compiler.is_exporting() or inputs[0].is_meta:
            return body(*inputs)
        if torch.compiler.is_compiling():
            return checkpoint(body, *inputs, use_reentrant=False)
        contexts = (contextlib.nullcontext(), _Buffers(body))
        return checkpoint(body, *inputs, use_reentrant=False, context_fn=lambda: contexts)


class _Buffers:
    """A context in which a module runs on copies of earlier buffers; its own are left alone."""

    def __init__(self, module: nn.Module) -> None:
        self.owners = [(owner._buffers, name) for owner in module.modules() for name in owner._buffers]
        self.earlier = [None if buffer is None else buffer.clone() for buffer in self._get()]
        self.own: list[Any] = []

    def _get(self) -> list[torch.Tensor | None]:
        return [buffers[name] for buffers, name in self.owners]

    def _set(self, values: list[Any]) -> None:
        for (buffers, name), value in zip(self.owners, values, strict=True):
            buffers[name] = value

    def __enter__(self) -> None:
        self.own = self._get()
        self._set([None if buffer is None else buffer.clone() for buffer in self.earlier])

    def __exit__(self, *exception: object) -> None:
        self._set(self.own)


def recompute_grad(
    fn: Callable[..., Any] | None = None, use_data_dep: bool | None = None, tupleize_grads: bool = False
) -> Any:
    """Decorator: what the function computes on the way is not kept for the backward pass, but computed again.

    Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174; by `torch.utils.checkpoint`. Dropout draws the same
    numbers again, and batch norm updates its statistics once.

    Args:
        fn: a function of Symbols or tensors (or of a number of channels: it then gives a module) that gives one or
            several. An argument `is_recomputing` gets `False`: nothing has to be switched off in the second pass.
            What it closes over counts as an input, so that gradients reach it (TF-Slim: an error).
        use_data_dep: for TensorFlow's compiler; PyTorch computes in the order of the backward pass by itself.
        tupleize_grads: so that all gradients of the function are there before one is used; always so in PyTorch.

    Returns:
        The decorated function; given only keywords, a decorator.

    Raises:
        TypeError: by the decorated function, if it returns something else than Symbols, or is given something else.

    Example:
        >>> import torch, torchslim as slim
        >>> @slim.recompute_grad
        ... def block(x):
        ...     return slim.repeat(x, 2, slim.fully_connected, 8, scope='fc')
        >>> model = slim.build(block, torch.empty(1, 8))
        >>> model(torch.ones(3, 8)).sum().backward()
        >>> list(model.state_dict())
        ['fc.fc_1.weight', 'fc.fc_1.bias', 'fc.fc_2.weight', 'fc.fc_2.bias']
    """
    if fn is None:
        return functools.partial(recompute_grad, use_data_dep=use_data_dep, tupleize_grads=tupleize_grads)
    if "is_recomputing" in inspect.signature(fn).parameters:
        fn = functools.partial(fn, is_recomputing=False)
    name = getattr(fn, "__name__", "recompute_grad")

    @functools.wraps(fn)
    def wrapped(*args: Any) -> Any:
        args = tuple(arg.value if isinstance(arg, Variable) else arg for arg in args)
        if args and all(isinstance(arg, int | Incoming) for arg in args):
            return Recomputed(fn(*args))
        kinds = [kind for kind in (Symbol, torch.Tensor) if args and all(isinstance(arg, kind) for arg in args)]
        if not kinds:
            raise TypeError(f"{name}: `recompute_grad` takes functions of Symbols, or of tensors. Got {args!r}.")
        eager = kinds == [torch.Tensor]
        graph = get_default_graph() if eager else args[0].owner
        region = cut_region(graph, fn, [placeholder_like(graph, arg) for arg in args] if eager else args)
        module = Recomputed(region.body, region.layers)
        if not eager:
            scope = join(get_variable_scope(graph).name, "recomputed")
            return record(graph, scope, module, region.inputs, region.outputs)
        graph.initialize(args[0].device, region.body)
        return module(*values_of(graph, region.inputs, args))

    return wrapped
