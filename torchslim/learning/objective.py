"""What a training step differentiates, made of a Symbol or of a Python function."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from torchslim.graph import Graph, Symbol, Variable
from torchslim.graph.symbol import needed_for
from torchslim.losses import add_n
from torchslim.regularizers import L2Regularizer, l2_loss
from torchslim.variables import get_variables


class Objective(nn.Module):
    """`forward(*batch)` is the loss without its L2 terms: those are known in closed form, `l2` lists them.

    Attributes:
        module: what is trained: the model of the graph, or the user's module.
        l2: pairs of a variable and the scale of its L2 term; the value of the term is `scale * sum(w ** 2) / 2`.
        graph: the graph of the loss; None if the loss is a Python function.
        inputs: the placeholders that a batch fills, in order.
        terms: name -> value of the last forward pass, where the loss is a sum of several.
    """

    terms: dict[str, torch.Tensor]

    def __init__(
        self,
        module: nn.Module,
        l2: Sequence[tuple[Variable, float]] = (),
        *,
        graph: Graph | None = None,
        inputs: Sequence[Symbol] = (),
    ) -> None:
        super().__init__()
        self.module = module
        self.l2 = list(l2)
        self.graph = graph
        self.inputs = tuple(inputs)
        self.terms = {}

    def variables(self) -> list[Variable]:
        """All variables that training knows: those of the graph, or of the user's module."""
        return get_variables(module=self.module) if self.graph is None else list(self.graph.variables.values())


class SymbolObjective(Objective):
    """A total loss that is a Symbol."""

    labels: list[str]

    def forward(self, *batch: Any) -> torch.Tensor:
        """The sum of the terms that are left to autograd."""
        terms, _ = self.module(*batch)
        if len(terms) > 1:
            self.terms = {label: term.detach() for label, term in zip(self.labels, terms, strict=True)}
        return add_n(*terms)


class FunctionObjective(Objective):
    """A loss that is a Python function of the batch, and the regularizers of `regularized`."""

    def __init__(
        self, loss_fn: Callable[..., torch.Tensor], module: nn.Module, regularized: Sequence[Variable] = ()
    ) -> None:
        l2 = [variable for variable in regularized if isinstance(variable.regularizer, L2Regularizer)]
        super().__init__(module, [(variable, variable.regularizer.scale) for variable in l2])
        self.regularized = [variable for variable in regularized if variable not in l2]
        self._loss_fn = (loss_fn,)  # out of sight of nn.Module: a `loss_fn` that is a module itself is `module`

    def forward(self, *batch: Any) -> torch.Tensor:
        """The sum of the function's value and the penalties that are left to autograd."""
        loss = self._loss_fn[0](*batch)
        if not isinstance(loss, torch.Tensor) or loss.ndim:
            got = f"shape {list(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise ValueError(f"create_train_op: the loss function must return a scalar tensor. Got {got}.")
        return add_n(loss, *(v.regularizer(v.tensor) for v in self.regularized)) if self.regularized else loss


def objective_of_symbol(
    total_loss: Symbol, update_ops: Sequence[Symbol], add_regularization_losses: bool | None
) -> SymbolObjective:
    """Splits a total loss into L2 terms and the rest, and makes one module of the rest.

    Args:
        total_loss: a scalar Symbol.
        update_ops: Symbols that are computed in each step, too.
        add_regularization_losses: what to do with regularization losses that `total_loss` does not include: None:
            warn; False: nothing; True: add them.
    """
    graph = total_loss.owner
    terms = _terms(total_loss)
    missing = _missing_regularizers(graph, total_loss)
    if missing and add_regularization_losses:
        terms += [symbol.node for symbol in missing]
    elif missing and add_regularization_losses is None:
        _warn_of_missing([name for symbol in missing for name in _variable_names(graph, symbol.node)])
    by_key = {variable.key: variable for variable in graph.variables.values()}
    l2 = {node: found for node in terms if (found := _as_l2(node, by_key)) is not None}
    if len(l2) == len(set(terms)):  # nothing would be left to differentiate
        l2 = {}
    rest = tuple(Symbol(node, total_loss.tracer) for node in terms if node not in l2)
    module = graph.module((rest, tuple(update_ops)), initialize=False)
    by_name = {
        node.target: Symbol(node, total_loss.tracer) for node in graph.fx_graph.nodes if node.op == "placeholder"
    }
    inputs = [by_name[name] for name in module.inputs]
    objective = SymbolObjective(module, [l2[node] for node in terms if node in l2], graph=graph, inputs=inputs)
    objective.labels = [f"loss term {symbol.node.name!r}" for symbol in rest]
    return objective


def objective_of_function(
    loss_fn: Callable[..., torch.Tensor], module: nn.Module, add_regularization_losses: bool | None
) -> FunctionObjective:
    """Pairs a loss function with the module that it trains; the arguments are as in `objective_of_symbol`."""
    regularized = [v for v in get_variables(module=module) if _penalizes(v)]
    if regularized and add_regularization_losses is None:
        _warn_of_missing([variable.op.name for variable in regularized])
    return FunctionObjective(loss_fn, module, regularized if add_regularization_losses else ())


def _penalizes(variable: Variable) -> bool:
    """Whether the variable has a regularizer that gives a loss; one with the scale 0 gives None."""
    meta = torch.empty(variable.shape, dtype=variable.dtype, device="meta")
    return variable.regularizer is not None and variable.regularizer(meta) is not None


def _terms(total_loss: Symbol) -> list[fx.Node]:
    return list(total_loss.node.args) if total_loss.node.target is add_n else [total_loss.node]  # type: ignore[arg-type]


def _as_l2(node: fx.Node, by_key: Mapping[str, Variable]) -> tuple[Variable, float] | None:
    """The variable and the scale, if the node is the L2 term of a variable and nothing else."""
    if node.target is not l2_loss:
        return None
    weights, scale = (*node.args, *node.kwargs.values())
    variable = by_key.get(str(weights.target)) if isinstance(weights, fx.Node) and weights.op == "get_attr" else None
    return None if variable is None or not isinstance(scale, float | int) else (variable, float(scale))


def _missing_regularizers(graph: Graph, total_loss: Symbol) -> list[Symbol]:
    included = needed_for([total_loss.node])
    return [loss for loss in graph.get_collection("regularization_losses") if loss.node not in included]


def _variable_names(graph: Graph, loss: fx.Node) -> list[str]:
    keys = {node.target for node in needed_for([loss]) if node.op == "get_attr"}
    return [variable.op.name for variable in graph.variables.values() if variable.key in keys]


def _warn_of_missing(names: Sequence[str]) -> None:
    warnings.warn(
        f"create_train_op: the regularizers of {len(names)} variables are not in the loss that is trained: "
        f"{', '.join(names)}. Use `slim.losses.get_total_loss()`, or say `add_regularization_losses=` "
        "True (to add them) or False (to train without them).",
        stacklevel=5,
    )
