"""The graph: Symbols, scopes, and the modules made of them."""

from torchslim.graph.build import InputSpec, build, placeholder
from torchslim.graph.graph import Graph, get_default_graph, reset_default_graph
from torchslim.graph.model import EndPoint, Model
from torchslim.graph.scopes import (
    AUTO_REUSE,
    VariableScope,
    get_name_scope,
    get_variable_scope,
    name_scope,
    variable_scope,
)
from torchslim.graph.symbol import Symbol, Value, is_symbolic
from torchslim.graph.variable import Layer, Variable

__all__ = [
    "AUTO_REUSE",
    "EndPoint",
    "Graph",
    "InputSpec",
    "Layer",
    "Model",
    "Symbol",
    "Value",
    "Variable",
    "VariableScope",
    "build",
    "get_default_graph",
    "get_name_scope",
    "get_variable_scope",
    "is_symbolic",
    "name_scope",
    "placeholder",
    "reset_default_graph",
    "variable_scope",
]
