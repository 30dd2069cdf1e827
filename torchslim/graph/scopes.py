"""`variable_scope` and `name_scope`: TensorFlow's rules for names, which TF-Slim's checkpoints were written under."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torchslim.graph.graph import Graph


class AutoReuse:
    """The type of `AUTO_REUSE`."""

    def __repr__(self) -> str:
        return "AUTO_REUSE"


AUTO_REUSE: Final = AutoReuse()
"""`reuse=AUTO_REUSE`: variables that exist are shared, the others are created."""

Reuse = bool | AutoReuse | None


@dataclass(frozen=True)
class VariableScope:
    """Where variables are created: what `variable_scope` gives.

    Attributes:
        name: the path that variables get, `'vgg_16/conv1'`; `''` at the root.
        reuse: whether variables that exist are shared here.
        original_name_scope: the path that operations get, with a slash at its end: `'vgg_16/'`.
        custom_getter: what decides how variables are made here, or None.
    """

    name: str = ""
    reuse: Reuse = False
    original_name_scope: str = ""
    custom_getter: Callable[..., Any] | None = field(default=None, repr=False)


@dataclass
class ScopeNames:
    """The names that a graph has given out."""

    in_use: dict[str, int] = field(default_factory=dict)
    scope_counts: dict[str, int] = field(default_factory=dict)

    def unique(self, name: str) -> str:
        """`name`, or `name_1`, `name_2`, ... if it is taken; names that differ in case only count as equal."""
        key = name.lower()
        count = self.in_use.get(key, 0)
        self.in_use[key] = count + 1
        if count:
            while f"{key}_{count}" in self.in_use:
                count += 1
            name = f"{name}_{count}"
            self.in_use[name.lower()] = 1
        return name

    def unique_scope(self, parent: str, default_name: str) -> str:
        """The first of `default_name`, `default_name_1`, ... that has not been opened as a variable scope."""
        name, count = default_name, 0
        while self.scope_counts.get(join(parent, name), 0):
            count += 1
            name = f"{default_name}_{count}"
        return name

    def close(self, scope: str) -> None:
        """Forgets what was opened below `scope`, so that entering it again finds the same default names."""
        for name in self.scope_counts:
            if name.startswith(f"{scope}/"):
                self.scope_counts[name] = 0


@dataclass(frozen=True)
class _Current:
    graph: Graph
    scope: VariableScope
    name_scope: str


_current: ContextVar[_Current | None] = ContextVar("torchslim_scope", default=None)


def join(*parts: str) -> str:
    """Joins scope names with slashes, leaving out empty ones."""
    return "/".join(part.strip("/") for part in parts if part.strip("/"))


def _state(graph: Graph) -> _Current:
    state = _current.get()
    return state if state is not None and state.graph is graph else _Current(graph, VariableScope(), "")


def get_variable_scope(graph: Graph | None = None) -> VariableScope:
    """The innermost `variable_scope` that is open (TensorFlow's `tf.get_variable_scope`).

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph(), slim.variable_scope('vgg_16'):
        ...     slim.get_variable_scope().name
        'vgg_16'
    """
    return _state(graph or _default_graph()).scope


def get_name_scope(graph: Graph | None = None) -> str:
    """The path of the open name scopes; `''` at the root."""
    return _state(graph or _default_graph()).name_scope


def _default_graph() -> Graph:
    from torchslim.graph.graph import get_default_graph

    return get_default_graph()


@contextlib.contextmanager
def name_scope(name: str | None = None, default_name: str | None = None, values: Any = None) -> Iterator[str]:
    """Puts what is recorded inside under a name (TensorFlow's `tf.name_scope`); variables do not get it.

    Args:
        name: the name; made unique (`pool1`, `pool1_1`), except where it ends in a slash, which enters it again.
        default_name: taken where `name` is None.
        values: accepted because TensorFlow has it; Symbols know their graph.

    Yields:
        The path with a slash at its end.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph(), slim.name_scope('tower') as scope:
        ...     scope
        'tower/'
    """
    graph = _default_graph()
    state = _state(graph)
    name = default_name if name is None else name
    if name is None:
        raise ValueError("name_scope: give a `name` or a `default_name`. Got None for both.")
    path = name if name.endswith("/") else graph.names.unique(join(state.name_scope, name)) if name else ""
    path = join(path)
    with _entered(replace(state, name_scope=path)):
        yield f"{path}/" if path else ""


@contextlib.contextmanager
def variable_scope(
    name_or_scope: str | VariableScope | None = None,
    default_name: str | None = None,
    values: Any = None,
    *,
    custom_getter: Callable[..., Any] | None = None,
    reuse: Reuse = None,
) -> Iterator[VariableScope]:
    """Puts variables and layers made inside under a name (TensorFlow's `tf.variable_scope`).

    Args:
        name_or_scope: a name, or a scope that an earlier `variable_scope` gave, to enter it again.
        default_name: taken where `name_or_scope` is None, and then made unique: `Conv`, `Conv_1`, ...
        values: accepted because TensorFlow has it; Symbols know their graph.
        custom_getter: called for each variable made inside, those of layers included, as `custom_getter(getter, name,
            shape=..., dtype=..., initializer=..., regularizer=..., trainable=..., ...)`. `getter(name, ...)` makes the
            variable; what the function returns, a `Variable` or whatever it computes of some, is used in its place.
            One of an outer scope is what `getter` calls. Layers that are only made, for a number of channels, do not
            ask it.
        reuse: True: variables must exist and are shared; `AUTO_REUSE`: those that exist are shared; None or False:
            as in the scope around.

    Raises:
        ValueError: if there is no name at all, or `reuse=True` with a default name.

    Example:
        >>> import torch, torchslim as slim
        >>> with slim.Graph():
        ...     x = slim.placeholder((None, 3, 8, 8))
        ...     with slim.variable_scope('tower') as scope:
        ...         a = slim.conv2d(x, 4, [3, 3])
        ...     with slim.variable_scope(scope, reuse=True):
        ...         b = slim.conv2d(x, 4, [3, 3])
        ...     [v.op.name for v in slim.get_variables()]
        ['tower/Conv/weights', 'tower/Conv/biases']
    """
    graph = _default_graph()
    state, names = _state(graph), graph.names
    if isinstance(name_or_scope, VariableScope):
        path, around = name_or_scope.name, name_or_scope
        operation = path.rpartition("/")[2]
    else:
        own, operation = _own_name(name_or_scope, default_name, reuse, state)
        path, around = join(state.scope.name, own), state.scope
    operations = names.unique(join(state.name_scope, operation)) if operation else ""
    getter = _nested(custom_getter, around.custom_getter)
    scope = VariableScope(path, reuse or around.reuse, f"{operations}/" if operations else "", getter)
    if isinstance(name_or_scope, VariableScope):
        scope = replace(scope, original_name_scope=name_or_scope.original_name_scope)
    names.scope_counts[path] = names.scope_counts.get(path, 0) + 1
    before = dict(names.scope_counts) if isinstance(name_or_scope, VariableScope) else None
    with _entered(_Current(graph, scope, operations)):
        try:
            yield scope
        finally:
            if before is None:
                names.close(path)
            else:
                names.scope_counts = before


def _nested(inner: Callable[..., Any] | None, outer: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """A custom getter whose `getter` is the custom getter around it."""
    if inner is None or outer is None:
        return inner or outer
    return lambda getter, *args, **kwargs: inner(functools.partial(outer, getter), *args, **kwargs)


def _own_name(name: str | None, default_name: str | None, reuse: Reuse, state: _Current) -> tuple[str, str]:
    """The last part of the scope's path, and what its operations are named after."""
    if name is not None:
        check_scope_name(name)
        return name, name
    if default_name is None:
        raise ValueError("variable_scope: give a `name_or_scope` or a `default_name`. Got None for both.")
    if reuse is True:
        raise ValueError(
            f"variable_scope: `reuse=True` needs a name: the default {default_name!r} is made unique, so there is "
            "nothing to share. Give a scope."
        )
    check_scope_name(default_name)
    return state.graph.names.unique_scope(state.scope.name, default_name), default_name


def check_scope_name(name: str) -> None:
    """Refuses a name that cannot be a path of modules."""
    if not isinstance(name, str):
        raise TypeError(f"scope: a scope is a string such as 'conv1'. Got {name!r} ({type(name).__name__}).")
    if "." in name or ":" in name or any(part in ("", "..") for part in name.strip("/").split("/") if name):
        raise ValueError(
            f"scope: names are separated by '/', and have neither '.' nor ':' (they become keys of a state_dict). "
            f"Got {name!r}."
        )


@contextlib.contextmanager
def _entered(state: _Current) -> Iterator[None]:
    token = _current.set(state)
    try:
        yield
    finally:
        _current.reset(token)
