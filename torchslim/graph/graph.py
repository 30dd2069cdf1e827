"""The module under construction: its tree of modules, its `torch.fx` graph and TF-Slim's collections."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.fx import Graph as FxGraph

from torchslim.graph.model import Model, make_model
from torchslim.graph.scopes import Reuse, ScopeNames, get_variable_scope
from torchslim.graph.symbol import INPUT, Recorder, Symbol, call_with
from torchslim.graph.tree import container, hang, share_tensors
from torchslim.graph.variable import Layer, Scope, Variable, scope_of_path, variables_of

# What stands for a size that varies, in the first and in the second run: the batch, and any other dimension.
# Multiples of four, and far enough apart that integer division keeps them different.
BATCH_SIZES = (8, 12)
OTHER_SIZES = (320, 448)

_entered: ContextVar[tuple[Graph, ...]] = ContextVar("torchslim_graphs", default=())


class Graph:
    """The model under construction (what `tf.Graph` was to TF-Slim).

    `with slim.Graph() as graph:` makes it the current one; scripts need no `with`, a default graph exists. Layers
    called with Symbols hang their modules into it and record their calls; `module` then makes an ordinary
    `nn.Module` of any of its Symbols. Variables have no memory until something needs them.

    Attributes:
        root: the tree of modules.
        fx_graph: the recorded calls.
        variables: TF-Slim's name -> `Variable`, in creation order.
        end_points: the name of each layer -> the Symbol that it gave.
        feeds: pairs of an iterable of batches and the placeholders that it fills.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph() as graph:
        ...     x = slim.placeholder((None, 3, 8, 8), name='images')
        ...     net = slim.conv2d(x, 4, [3, 3], scope='conv1')
        >>> model = graph.module(net)
        >>> model(torch.zeros(5, 3, 8, 8)).shape
        torch.Size([5, 4, 8, 8])
    """

    def __init__(self) -> None:
        self.root = Scope()
        self.fx_graph = FxGraph()
        self.recorder = Recorder(self)
        self.names = ScopeNames()
        self.variables: dict[str, Variable] = {}
        self.end_points: dict[str, Symbol] = {}
        self.feeds: list[tuple[Iterable[Any], tuple[Symbol, ...]]] = []
        self._collections: dict[str, list[Any]] = {}
        self._specifications: dict[str, Any] = {}
        self._attributes: dict[str, Symbol] = {}
        self._constants: dict[int, tuple[torch.Tensor, Any]] = {}

    def __enter__(self) -> Graph:
        _entered.set((*_entered.get(), self))
        return self

    def __exit__(self, *exception: object) -> None:
        _entered.set(_entered.get()[:-1])

    def as_default(self) -> Graph:
        """`with graph.as_default():` is `with graph:` in TensorFlow's words."""
        return self

    # Collections

    def add_to_collection(self, name: str, value: Any) -> None:
        """Appends `value` to the collection `name`."""
        self._collections.setdefault(name, []).append(value)

    def get_collection(self, name: str, scope: str | None = None) -> list[Any]:
        """A copy of the collection `name`; `scope`: only what is named under it."""
        values = self._collections.get(name, [])
        if scope is None:
            return list(values)
        return [value for value in values if any(_is_under(name, scope) for name in _names_of(value))]

    def clear_collection(self, name: str) -> None:
        """Empties the collection `name`."""
        self._collections.pop(name, None)

    # What flows in

    def placeholder(
        self, shape: Sequence[int | None], dtype: torch.dtype = torch.float32, name: str | None = None
    ) -> Symbol:
        """A Symbol that is fed when the module runs; `None` in `shape`: any size."""
        sizes = [
            (BATCH_SIZES if i == 0 else OTHER_SIZES) if size is None else (size, size) for i, size in enumerate(shape)
        ]
        runs = tuple(torch.empty([size[i] for size in sizes], dtype=dtype, device="meta") for i in range(2))
        # Placeholders stand first, also those made after the first layer.
        nodes = list(self.fx_graph.nodes)
        last = next((node for node in reversed(nodes) if node.op == "placeholder"), None)
        with self.fx_graph.inserting_after(last):
            node = self.fx_graph.placeholder((name or "inputs").replace("/", "_"))
        node.meta[INPUT] = tuple(shape), dtype
        node.target = node.name  # the generated `forward` calls its arguments by their targets
        return self.recorder.symbol(node, runs)  # type: ignore[arg-type]

    def add_feed(self, loader: Iterable[Any], symbols: Sequence[Symbol]) -> None:
        """Says that each batch of `loader`, a tuple of tensors, fills these placeholders."""
        self.feeds.append((loader, tuple(symbols)))

    def batches(self, inputs: Sequence[Symbol | str]) -> Batches:
        """One pass over the data that fills `inputs`: tuples of tensors in their order; may be iterated again."""
        return Batches(self, [value if isinstance(value, str) else value.name for value in inputs])

    # What layers do

    def add_layer(self, scope: str, module: nn.Module, *, reuse: Reuse = None, specification: Any = None) -> str:
        """Hangs a layer under its scope, or finds the one to share, and returns its path in the tree.

        Args:
            scope: the slim scope, `'vgg_16/conv1/conv1_1'`.
            module: the layer.
            reuse: as in `variable_scope`.
            specification: what must be equal for a shared layer to be called again as it is.

        Raises:
            ValueError: if a variable exists and may not be reused, or should be reused and does not exist.
        """
        made = {variable.op.name: variable for variable in variables_of(module, scope.replace("/", "."))}
        existing = [name for name in made if name in self.variables]
        if existing and not reuse:
            raise ValueError(
                f"variable {existing[0]!r} exists already. Give the layer another `scope`, or `reuse=True` "
                "(`reuse=slim.AUTO_REUSE`) to share the variables."
            )
        missing = [name for name in made if name not in self.variables]
        if missing and reuse is True:
            raise ValueError(
                f"`reuse=True`: variable {missing[0]!r} does not exist. Scope {scope!r} was never built, or was built "
                f"with other arguments; variables there: {[n for n in self.variables if _is_under(n, scope)]}."
            )
        owner = self.variables[existing[0]].path if existing and not missing else None
        for path in (path for path in self._specifications if owner and scope_of_path(path) == scope):
            if self._specifications[path] == specification:
                return path
        shared = {name: self.variables[name] for name in existing}
        path = hang(self.root, scope, module, keeps_name=bool(made) and not shared)
        share_tensors(module, {made[name]: variable for name, variable in shared.items()})
        self._specifications[path] = specification
        self.register_variables(path, module)
        return path

    def register_variables(self, path: str, module: nn.Module) -> list[Variable]:
        """Makes the tensors of a module known as variables, and records their regularization losses."""
        new = [v for v in variables_of(module, path, self) if v.op.name not in self.variables]
        for variable in new:
            self.register_variable(variable)
        return new

    def register_variable(self, variable: Variable) -> None:
        """Makes one variable known, and records its regularization loss."""
        self.variables[variable.op.name] = variable
        if variable.regularizer is not None:
            self.regularize(variable.op.name, variable.regularizer, self.get_attribute(variable))

    def regularize(self, name: str, regularizer: Callable[[Symbol], Symbol | None], value: Symbol) -> None:
        """Records the regularization loss of the variable `name`, or of what takes its place."""
        loss = regularizer(value)
        if loss is not None:
            loss.aliases.append(f"{name}/Regularizer")
            self.add_to_collection("regularization_losses", loss)

    def call_module(self, name: str, module: nn.Module, *args: Any) -> Symbol:
        """Hangs a module without variables under a unique name and records its call with `args`."""
        path = hang(self.root, name, module, keeps_name=False)
        return self.recorder.create_proxy("call_module", path, args, {})

    def call_with(self, path: str, variables: dict[str, Any], *args: Any, **kwargs: Any) -> Symbol:
        """Records a call of the module at `path`, with other values for some of its tensors."""
        module = self.get_module(path)
        symbol = self.recorder.symbol(self.fx_graph.create_node("get_attr", path), (module, module))
        return self.recorder.create_proxy("call_function", call_with, (symbol, variables, *args), kwargs)

    def get_module(self, path: str) -> nn.Module:
        """The module at a path of the tree."""
        return self.root.get_submodule(path)

    def get_attribute(self, variable: Variable) -> Symbol:
        """The Symbol of a variable's value."""
        if variable.key not in self._attributes:
            run = torch.empty(variable.shape, dtype=variable.dtype, device="meta")
            node = self.fx_graph.create_node("get_attr", variable.key)
            self._attributes[variable.key] = self.recorder.symbol(node, (run, run))
        return self._attributes[variable.key]

    def constant(self, tensor: torch.Tensor) -> Any:
        """The node of a tensor that flows into a recorded call: a Parameter becomes a variable, others constants."""
        known = next((v for v in self.variables.values() if v._tensor is tensor), None)
        if known is not None:
            return self.get_attribute(known).node
        if id(tensor) not in self._constants:
            if isinstance(tensor, nn.Parameter):
                node = self.get_attribute(self.add_variable(self.names.unique("Variable"), tensor)).node
            else:
                name = f"_constant{len(self._constants)}"
                self.root.register_buffer(name, tensor, persistent=False)
                run = tensor.detach().to("meta")
                node = self.recorder.symbol(self.fx_graph.create_node("get_attr", name), (run, run)).node
            # Holding the tensor keeps its id from being given out again.
            self._constants[id(tensor)] = (tensor, node)
        return self._constants[id(tensor)][1]

    def add_variable(self, name: str, tensor: torch.Tensor, *, kind: str = "model", **owner: Any) -> Variable:
        """Hangs one tensor under its slim name: a Parameter to train it, any other tensor as a buffer.

        Args:
            name: `'nested/v2'`.
            tensor: its value, or a `meta` tensor.
            kind: `'model'`, `'global'` or `'local'`; local ones are not saved.
            owner: `initializer` and `regularizer`.
        """
        scope, _, attribute = name.rpartition("/")
        module, path = container(self.root, scope)
        if hasattr(module, attribute):
            raise ValueError(
                f"variable {name!r}: the module of scope {scope!r} has an attribute {attribute!r} already."
            )
        if not isinstance(module, Layer):
            raise ValueError(
                f"variable {name!r}: scope {scope!r} is that of a {type(module).__name__}, which is not a slim layer. "
                "Make the variable in another scope."
            )
        if isinstance(tensor, nn.Parameter):
            module.register_parameter(attribute, tensor)
        else:
            module.register_buffer(attribute, tensor, persistent=kind != "local")
        module.kinds[attribute] = kind
        for what, value in owner.items():
            if value is not None:
                getattr(module, f"{what}s")[attribute] = value
        made = Variable(module, attribute, path, self)
        self.register_variable(made)
        return made

    # What comes out

    def module(self, outputs: Any, inputs: Sequence[Symbol] | None = None, *, initialize: bool = True) -> Model:
        """An `nn.Module` that computes `outputs`: only the layers that these need, shared with this graph.

        Args:
            outputs: a Symbol, or a tuple, list or dict of them; `forward` returns the same structure.
            inputs: the placeholders in the order of `forward`'s arguments; default: those needed, in creation order.
            initialize: give memory and first values to the variables that have none yet.

        Raises:
            ValueError: if `outputs` need a placeholder that is not among `inputs`.
        """
        model = make_model(self, outputs, inputs)
        if initialize:
            self.initialize(model=model)
        return model

    def initialize(self, device: torch.device | str | None = None, model: nn.Module | None = None) -> None:
        """Gives memory and first values to the variables (of `model`) that have none yet."""
        wanted = None if model is None else {id(t) for t in (*model.parameters(), *model.buffers()) if t.is_meta}
        for variable in self.variables.values():
            if variable.is_meta and (wanted is None or id(variable._tensor) in wanted):
                variable.initialize(device)

    def run(self, symbols: Any, feed: dict[Symbol, torch.Tensor] | None = None) -> Any:
        """The values of Symbols, given those of placeholders: for looking, tests and metrics; without gradients.

        Example:
            >>> import torch, torchslim as slim
            >>> with slim.Graph() as graph:
            ...     x = slim.placeholder((None, 2))
            ...     y = x.sum(1)
            >>> graph.run([y, y + 1], {x: torch.ones(1, 2)})
            [tensor([2.]), tensor([3.])]
        """
        feed = feed or {}
        with torch.no_grad():
            return self.module(symbols, inputs=list(feed))(*feed.values())

    @contextlib.contextmanager
    def error_notes(self) -> Iterator[None]:
        """Adds the scope to an error once, at the innermost door."""
        try:
            yield
        except Exception as error:
            scope = get_variable_scope(self).name
            if scope and not any(note.startswith("while building") for note in getattr(error, "__notes__", ())):
                error.add_note(f"while building '{scope}'")
            raise


class Batches:
    """Passes over the data that fills some placeholders; each iteration is one pass."""

    def __init__(self, graph: Graph, inputs: Sequence[str]) -> None:
        where = {symbol.name: (i, j) for i, (_, symbols) in enumerate(graph.feeds) for j, symbol in enumerate(symbols)}
        unfed = [name for name in inputs if name not in where]
        if unfed:
            raise ValueError(
                f"nothing feeds the placeholder {unfed[0]!r}. Make it with `slim.data.batch(dataset, batch_size=...)`, "
                "or pass the batches yourself."
            )
        self.loaders = [loader for loader, _ in graph.feeds]
        self.places = [where[name] for name in inputs]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        used = sorted({loader for loader, _ in self.places})
        batches = zip(*(self.loaders[loader] for loader in used), strict=False)  # now: some loaders draw a number here
        return (tuple(batch[used.index(loader)][item] for loader, item in self.places) for batch in batches)

    def __len__(self) -> int:
        return min(len(self.loaders[loader]) for loader, _ in self.places)  # type: ignore[arg-type]


_default = Graph()


def get_default_graph() -> Graph:
    """The current graph: that of the innermost `with slim.Graph():`, else the default one."""
    entered = _entered.get()
    return entered[-1] if entered else _default


def reset_default_graph() -> None:
    """Empties the default graph, e.g. between the cells of a notebook.

    Example:
        >>> import torchslim as slim
        >>> slim.reset_default_graph()
        >>> slim.get_variables()
        []
    """
    global _default
    _default = Graph()


def _names_of(value: Any) -> list[str]:
    if isinstance(value, Variable):
        return [value.name]
    return [*value.aliases, value.name] if isinstance(value, Symbol) else [str(getattr(value, "name", ""))]


def _is_under(name: str, scope: str) -> bool:
    return name == scope or name.startswith(scope.rstrip("/") + "/")
