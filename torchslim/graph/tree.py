"""The tree of modules that scopes make: where a layer hangs, and how layers share their tensors.

A module hangs under its scope: scope `a/b` is path `a.b`. Where that name is taken (a second layer in one scope, an
attribute of `nn.Module`), a number behind a colon tells them apart: `a.b:1` is in scope `a/b` as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from torch import fx, nn

from torchslim.graph.variable import Layer, Scope, Variable

_RESERVED = frozenset([
    *(*dir(fx.GraphModule), *vars(nn.Module())),
    *("meta", "end_points", "extract", "inputs", "preprocess", "summary"),
])  # fmt: skip


def hang(root: nn.Module, scope: str, module: nn.Module, *, keeps_name: bool) -> str:
    """Hangs `module` under `scope` and returns its path.

    Args:
        root: the root of the tree.
        scope: `'vgg_16/conv1'`.
        module: what to hang there.
        keeps_name: whether it may take the place of a mere scope, as modules with variables do: they own their name.
    """
    above, _, name = scope.rpartition("/")
    parent, path = container(root, above)
    name = _free_name(parent, name)
    existing = parent._modules.get(name)
    if existing is not None:
        if keeps_name and _is_mere_scope(existing):
            for child_name, child in existing._modules.items():
                module.add_module(_free_name(module, child_name), child)
        else:
            name = next(f"{name}:{i}" for i in itertools.count(1) if f"{name}:{i}" not in parent._modules)
    parent._modules[name] = module
    return f"{path}.{name}" if path else name


def container(root: nn.Module, scope: str) -> tuple[nn.Module, str]:
    """The module of a scope, made where it is missing, and its path."""
    module, path = root, ""
    for name in scope.split("/") if scope else ():
        name = _free_name(module, name)
        child = module._modules.get(name)
        if child is None or type(child) is nn.Sequential:
            # More than a chain of layers hangs here now.
            below: Any = {} if child is None else child._modules
            child = module._modules[name] = Scope()
            child._modules.update(below)
        module, path = child, f"{path}.{name}" if path else name
    return module, path


def make_sequential(root: nn.Module, scope: str) -> None:
    """Turns the scope of a chain of layers into the `nn.Sequential` that runs them."""
    above, _, name = scope.rpartition("/")
    parent, _ = container(root, above)
    name = _free_name(parent, name)
    chain = nn.Sequential()
    chain._modules.update(parent.get_submodule(name)._modules)  # type: ignore[arg-type]
    parent._modules[name] = chain


def share_tensors(module: nn.Module, owners: Mapping[Variable, Variable]) -> None:
    """Makes `module` use the tensors of other layers; it leaves them out of its `state_dict`, but keeps its own."""
    for mine, owner in owners.items():
        if not isinstance(mine.module, Layer):
            raise ValueError(
                f"reuse: {owner.op.name!r} belongs to a {type(mine.module).__name__} that is called again with other "
                "arguments. Call it with the same ones, or write it as a layer of slim modules."
            )
        kind = "_parameters" if mine.attribute in mine.module._parameters else "_buffers"
        theirs, ours = getattr(owner.module, kind), getattr(mine.module, kind)
        present = {name for name, tensor in ours.items() if tensor is not None}
        if theirs.keys() == ours.keys() and present == {m.attribute for m in owners if m.attribute in ours}:
            mine.module.__dict__[kind] = theirs  # the dict itself, so that a replaced tensor is replaced for both
        else:
            ours[mine.attribute] = theirs[owner.attribute]
        mine.module.shared.add(mine.attribute)


def is_container(module: nn.Module) -> bool:
    """Whether a module only holds what hangs below it."""
    return type(module) in (Scope, nn.Sequential)


def _is_mere_scope(module: nn.Module) -> bool:
    return is_container(module) and not module._parameters and not module._buffers


def _free_name(parent: nn.Module, name: str) -> str:
    taken = name in _RESERVED or (name not in parent._modules and hasattr(parent, name))
    return f"{name}:1" if taken else name
