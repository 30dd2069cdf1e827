"""Scoped default arguments: say a hyper-parameter once, for every op that takes it.

The current scope is one immutable mapping *op -> {argument: (value, where it was set)}* in a `ContextVar`. A
`with arg_scope(...)` builds the next mapping completely and only then makes it current, so a rejected scope
changes nothing, and threads and asyncio tasks do not see each other's scopes.
"""

from __future__ import annotations

import collections
import contextlib
import difflib
import functools
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


class Setting(NamedTuple):
    """One scoped default: its value and the `file:line` of the `with` that set it."""

    value: Any
    where: str


class ArgScope(Mapping[str, Mapping[str, Setting]]):
    """A captured scope: what `with arg_scope(...) as scope` gives. Immutable; enter it again and again.

    It maps the key of an op (`arg_scope_func_key`) to `{argument: Setting(value, where)}`.

    Example:
        >>> @add_arg_scope
        ... def scale(x, factor=1.0):
        ...     return x * factor
        >>> with arg_scope([scale], factor=3.0) as scope:
        ...     pass
        >>> scope[arg_scope_func_key(scale)]['factor'].value
        3.0
    """

    __slots__ = ("_settings",)

    def __init__(self, settings: Mapping[str, Mapping[str, Setting]] | None = None) -> None:
        self._settings = dict(settings or {})

    def __getitem__(self, key: str) -> Mapping[str, Setting]:
        return MappingProxyType(self._settings[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def __repr__(self) -> str:
        return f"ArgScope({'; '.join(f'{key}: {_listing(settings)}' for key, settings in self.items())})"

    def updated(self, keys: list[str], settings: Mapping[str, Setting]) -> ArgScope:
        """A new scope: this one with `settings` for each op of `keys`, replacing what was set before."""
        return ArgScope({**self._settings, **{key: {**self.get(key, {}), **settings} for key in keys}})


_NOTHING_SCOPED = ArgScope()
_current: ContextVar[ArgScope] = ContextVar("arg_scope", default=_NOTHING_SCOPED)
_numbers: dict[str, Iterator[int]] = collections.defaultdict(lambda: itertools.count(1))


@dataclass(frozen=True)
class _Op:
    """What is known of a decorated op, worked out once, when it is decorated."""

    key: str  # unique: ops of the same name do not share their settings
    name: str
    positional: tuple[str, ...] = ()  # in order: the arguments that a positional value can reach
    named: tuple[str, ...] = ()  # the arguments that can be given by name
    defaults: Mapping[str, Any] = field(default_factory=dict)  # those of `named` that have a default
    takes_any: bool = True  # has **kwargs, or hides its signature (functions written in C)

    @classmethod
    def of(cls, func: Callable[..., Any]) -> _Op:
        name = getattr(func, "__name__", type(func).__name__)
        key = f"{getattr(func, '__module__', None)}.{getattr(func, '__qualname__', name)}"
        number = next(_numbers[key])
        key = key if number == 1 else f"{key}#{number}"
        try:
            parameters = inspect.signature(func).parameters.values()
        except ValueError:
            return cls(key, name)
        positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        return cls(
            key,
            name,
            positional=tuple(positional),
            named=tuple(p.name for p in named),
            defaults={p.name: p.default for p in named if p.default is not p.empty},
            takes_any=any(p.kind is p.VAR_KEYWORD for p in parameters),
        )

    def check(self, names: Mapping[str, Any]) -> None:
        """Raises TypeError for the first of `names` that the op does not take."""
        for name in names:
            if name not in self.named and not self.takes_any:
                close = difflib.get_close_matches(name, self.named, n=1)
                raise TypeError(
                    f"arg_scope: every keyword must be an argument of `{self.name}`. Got {name!r}. "
                    + (f"Did you mean {close[0]!r}? " if close else "")
                    + f"`{self.name}` takes: {', '.join(self.named) or 'nothing by name'}."
                )

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Calls `func`; the scope fills in what is given neither by position nor by name."""
        settings = _current.get().get(self.key)
        if not settings:
            return func(*args, **kwargs)
        given = self.positional[: len(args)]
        scoped = {name: s for name, s in settings.items() if name not in kwargs and name not in given}
        try:
            return func(*args, **kwargs, **{name: setting.value for name, setting in scoped.items()})
        except Exception as error:
            note = f"arg_scope: `{self.name}` was called with {_listing(scoped)}"
            if scoped and note not in getattr(error, "__notes__", ()):
                error.add_note(note)
            raise


class _ScopedClass:
    """Stands for a class: called, it makes instances of the class itself, with the scoped arguments.

    `isinstance`, `issubclass`, class attributes and subclassing all reach the class, which is left as it was;
    so its instances pickle and copy as ever.
    """

    _arg_scope_op: _Op
    __wrapped__: type

    def __init__(self, cls: type, op: _Op) -> None:
        functools.update_wrapper(self, cls, updated=())
        self._arg_scope_op = op

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._arg_scope_op.call(self.__wrapped__, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self.__wrapped__)

    def __subclasscheck__(self, subclass: type) -> bool:
        return issubclass(subclass, self.__wrapped__)

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        return (self.__wrapped__,)

    def __reduce__(self) -> str:  # like a class: a copy is the thing itself, a pickle says where to find it
        return self.__wrapped__.__qualname__

    def __repr__(self) -> str:
        return f"<add_arg_scope({self.__wrapped__.__qualname__})>"


def add_arg_scope(func: F) -> F:
    """Lets `arg_scope` set the arguments of a callable or a class. Use it as a decorator, or as a call.

    Args:
        func: a function, a method, any other callable, or a class such as `torch.nn.Conv2d`. The class
            itself is not changed: what comes back makes instances of it, and stands for it in `isinstance`.

    Returns:
        A wrapper with the name, docstring and signature of `func`; `func` itself if it is decorated already.

    Example:
        >>> import torch
        >>> Linear = add_arg_scope(torch.nn.Linear)
        >>> with arg_scope([Linear], bias=False):
        ...     layer = Linear(4, 2)
        >>> type(layer), layer.bias, isinstance(layer, Linear)
        (<class 'torch.nn.modules.linear.Linear'>, None, True)
    """
    if has_arg_scope(func):
        return func
    op = _Op.of(func)
    if isinstance(func, type):
        return cast(F, _ScopedClass(func, op))

    @functools.wraps(func)
    def with_arg_scope(*args: Any, **kwargs: Any) -> Any:
        return op.call(func, args, kwargs)

    with_arg_scope._arg_scope_op = op  # type: ignore[attr-defined]
    return cast(F, with_arg_scope)


def arg_scope(
    list_ops_or_scope: Callable[..., Any] | list[Any] | tuple[Any, ...] | Mapping[str, Mapping[str, Setting]],
    **kwargs: Any,
) -> contextlib.AbstractContextManager[ArgScope]:
    """Sets default arguments of some ops for the calls inside a `with`.

    An argument given at the call, by position or by name, beats the scope. An inner scope beats an outer one,
    argument by argument; a dict given as a value replaces the outer dict, it is not merged with it.

    Args:
        list_ops_or_scope: the ops (decorated with `add_arg_scope`), or one op, or a captured scope, which
            replaces the whole current scope: inside `with arg_scope({})` nothing is scoped.
        **kwargs: the defaults. Every op must take every one of them.

    Returns:
        A context manager; `as scope` binds the scope that it makes current, to be entered again elsewhere.

    Raises:
        TypeError: if an op does not take an argument, or `list_ops_or_scope` is neither ops nor a scope.
        ValueError: if an op is not decorated, or if keywords are given together with a captured scope.

    Example:
        >>> @add_arg_scope
        ... def affine(x, scale=1.0, shift=0.0):
        ...     return x * scale + shift
        >>> with arg_scope([affine], scale=10.0) as scope:
        ...     print(affine(1.0), affine(1.0, shift=5.0), affine(1.0, 2.0))
        10.0 15.0 2.0
        >>> affine(1.0)
        1.0
        >>> with arg_scope(scope):
        ...     affine(1.0)
        10.0
        >>> with arg_scope(affine, shfit=5.0):
        ...     pass
        Traceback (most recent call last):
        TypeError: arg_scope: every keyword must be an argument of `affine`. Got 'shfit'. Did you...

    TF-Slim: an unknown argument fails here rather than at the call; a positional argument beats the scope,
    where TF-Slim raises; a rejected scope leaves the outer one in force; one op needs no list.
    """
    if isinstance(list_ops_or_scope, Mapping):
        return _entered(_captured(list_ops_or_scope, kwargs))
    ops = [list_ops_or_scope] if callable(list_ops_or_scope) else list_ops_or_scope
    if not isinstance(ops, list | tuple):
        raise TypeError(
            "arg_scope: `list_ops_or_scope` must be ops in a list or tuple, one op, or a captured scope. "
            f"Got {list_ops_or_scope!r}."
        )
    known = [_op_of(op) for op in ops]
    for op in known:
        op.check(kwargs)
    caller = sys._getframe(1)
    where = f"{caller.f_code.co_filename}:{caller.f_lineno}"
    return _entered(None, [op.key for op in known], {name: Setting(v, where) for name, v in kwargs.items()})


@contextlib.contextmanager
def _entered(
    scope: ArgScope | None, keys: list[str] | None = None, settings: Mapping[str, Setting] | None = None
) -> Iterator[ArgScope]:
    """Makes `scope` current; without one, what is current on entering it, updated."""
    scope = _current.get().updated(keys or [], settings or {}) if scope is None else scope
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)


def _captured(scope: Mapping[str, Any], kwargs: Mapping[str, Any]) -> ArgScope:
    if kwargs:
        raise ValueError(
            "arg_scope: a captured scope is entered as it is, so no keyword may go with it. "
            f"Got {', '.join(kwargs)}. Put them in a second arg_scope, with the ops that they are for."
        )
    if isinstance(scope, ArgScope):
        return scope
    if scope:
        raise TypeError(
            "arg_scope: a mapping must be a captured scope (of `with arg_scope(...) as scope`, or of "
            f"current_arg_scope()), or empty. Got {scope!r}."
        )
    return _NOTHING_SCOPED


def current_arg_scope() -> ArgScope:
    """The scope in force here: `{op key: {argument: Setting(value, where)}}`, immutable.

    Example:
        >>> len(current_arg_scope())
        0
    """
    return _current.get()


def has_arg_scope(func: object) -> bool:
    """Whether `func` is decorated with `add_arg_scope`.

    Example:
        >>> import torch
        >>> has_arg_scope(torch.nn.Conv2d), has_arg_scope(add_arg_scope(torch.nn.Conv2d))
        (False, True)
    """
    return isinstance(getattr(func, "_arg_scope_op", None), _Op)


def arg_scope_func_key(op: Callable[..., Any]) -> str:
    """The key of a decorated op in a scope: `module.qualname`, numbered if several ops share that name.

    Raises:
        ValueError: if `op` is not decorated with `add_arg_scope`.

    Example:
        >>> import torch
        >>> arg_scope_func_key(add_arg_scope(torch.nn.Conv2d))
        'torch.nn.modules.conv.Conv2d...'
    """
    return _op_of(op).key


def arg_scoped_arguments(func: Callable[..., Any]) -> tuple[str, ...]:
    """The arguments of a decorated op that have defaults, in the order of its signature.

    `arg_scope` sets these, required ones too (`kernel_size`, say) and, for an op with `**kwargs`, any name.

    Raises:
        ValueError: if `func` is not decorated with `add_arg_scope`.

    Example:
        >>> import torch
        >>> arg_scoped_arguments(add_arg_scope(torch.nn.Linear))
        ('bias', 'device', 'dtype')
    """
    return tuple(_op_of(func).defaults)


def explain_arg_scope(op: Callable[..., Any]) -> str:
    """Prints what each argument of `op` would be if it were called here, and who set it.

    Args:
        op: a decorated op.

    Returns:
        The printed table: argument, value, and `file:line` of the `with` that set it, or `default`.

    Raises:
        ValueError: if `op` is not decorated with `add_arg_scope`.

    Example:
        >>> @add_arg_scope
        ... def affine(x, scale=1.0, shift=0.0):
        ...     return x * scale + shift
        >>> with arg_scope([affine], scale=10.0):
        ...     table = explain_arg_scope(affine)
        affine
          scale  10.0  <doctest ...>:1
          shift  0.0   default
    """
    known = _op_of(op)
    defaults = {name: Setting(value, "default") for name, value in known.defaults.items()}
    settings = {**defaults, **current_arg_scope().get(known.key, {})}
    rows = [(name, _shown(value), where) for name, (value, where) in settings.items()]
    width = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    lines = [f"  {name:<{width[0]}}  {value:<{width[1]}}  {where}" for name, value, where in rows]
    table = "\n".join([known.name, *lines])
    print(table)
    return table


def _op_of(func: Any) -> _Op:
    if not has_arg_scope(func):
        name = getattr(func, "__qualname__", repr(func))
        raise ValueError(
            f"arg_scope: every op must be decorated with @add_arg_scope. Got {name}. "
            f"Decorate it, or use what add_arg_scope({name}) returns."
        )
    return cast(_Op, func._arg_scope_op)


def _shown(value: Any) -> str:
    return value.__name__ if inspect.isroutine(value) or inspect.isclass(value) else repr(value)


def _listing(settings: Mapping[str, Setting]) -> str:
    return ", ".join(f"{name}={_shown(value)} (set at {where})" for name, (value, where) in settings.items())
