"""The updates of a graph's metrics: what flows into them, and the metrics behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx, nn
from torchmetrics import Metric

from torchslim.graph import Model, Symbol
from torchslim.metrics import MetricUpdate


class Updates:
    """What an `eval_op` asks for.

    Attributes:
        symbols: name -> update; the name is that in its map, or the scope in which the metric was made.
        metrics: name -> the metric that the update takes batches into.
        graph: where they are.
    """

    def __init__(self, eval_op: Any) -> None:
        self._eval_op = eval_op
        if isinstance(eval_op, Mapping):
            self.symbols = dict(eval_op)
        else:
            given = [eval_op] if isinstance(eval_op, Symbol) else list(eval_op or ())
            self.symbols = {_name_of(symbol): symbol for symbol in given}
        for name, symbol in self.symbols.items():
            if not isinstance(_module_of(symbol), MetricUpdate):
                raise ValueError(
                    "evaluation: `eval_op` must be updates of metrics: the second of the pair of Symbols that "
                    f"`slim.metrics` gives, or the `names_to_updates` of a map. Got {symbol!r} for {name!r}."
                )
        if not self.symbols:
            raise ValueError("evaluation: `eval_op` must have at least one update of a metric. Got 0.")
        self.graph = next(iter(self.symbols.values())).owner
        self.metrics: dict[str, Metric] = {name: _module_of(symbol).metric for name, symbol in self.symbols.items()}

    def inputs(self) -> dict[str, tuple[Symbol, ...]]:
        """Name -> what flows into the update."""
        return {
            name: tuple(Symbol(value, symbol.tracer) for value in symbol.node.args if isinstance(value, fx.Node))
            for name, symbol in self.symbols.items()
        }

    def model(self) -> Model:
        """A module that computes `inputs`; it shares the graph's variables."""
        return self.graph.module(self.inputs(), initialize=False)

    def step(self, module: nn.Module, *batch: Any) -> dict[str, tuple[Any, ...]]:
        """The arguments of each update: what `module`, a `model`, computes, and the plain values between."""
        computed = module(*batch)
        arguments = {}
        for name, symbol in self.symbols.items():
            values = iter(computed[name])
            arguments[name] = tuple(next(values) if isinstance(v, fx.Node) else v for v in symbol.node.args)
        return arguments

    def in_structure(self, values: dict[str, Any]) -> Any:
        """Name -> value as a value, a list or a dict, whatever `eval_op` was."""
        if isinstance(self._eval_op, Mapping):
            return values
        return next(iter(values.values())) if isinstance(self._eval_op, Symbol) else list(values.values())


def _name_of(update: Any) -> str:
    if not isinstance(update, Symbol):
        return ""
    scope = str(update.node.target).removesuffix(".update").replace(".", "/")
    return update.aliases[-1] if update.aliases else scope


def _module_of(symbol: Any) -> Any:
    if not isinstance(symbol, Symbol) or symbol.node.op != "call_module":
        return None
    return symbol.owner.get_module(str(symbol.node.target))
