"""The name of a variable in a checkpoint: its own, a renamed one, a function's, or that of a known naming."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torchslim.graph import Variable
from torchslim.variables import did_you_mean

# What `restore(names=)` takes; see there.
Names: TypeAlias = "Mapping[str, Any] | tuple[str, str] | Callable[[Variable], str | None] | str | None"

# torchvision's VGGs: how many convolutions stand before each of the five pools.
_VGG_BLOCKS = {
    "torchvision/vgg11": (1, 1, 2, 2, 2),
    "torchvision/vgg13": (2, 2, 2, 2, 2),
    "torchvision/vgg16": (2, 2, 3, 3, 3),
    "torchvision/vgg19": (2, 2, 4, 4, 4),
}
_VGG_CLASSIFIER = {"6": "classifier.0", "7": "classifier.3", "8": "classifier.6"}
# What TensorFlow's optimizers and averages keep beside a variable, and of Adam's steps.
_AVERAGE = "/ExponentialMovingAverage"
_SLOT = re.compile(
    r"(.+)/(?:Adadelta|Adagrad|AdagradDA|Adam|AdaMax|AdamW|Ftrl|LARS|LazyAdam|Momentum|NAdam|ProximalAdagrad|RMSProp)"
    r"(?:_\d+)?"
)
_STEPS = re.compile(r"(?:.+/)?beta[12]_power(?:_\d+)?")
_VGG_VARIABLE = re.compile(r"(?:.*/)?(?:conv(\d)/conv\1_(\d+)|fc([678]))/(weights|biases)")


@dataclass(frozen=True)
class NameMap:
    """Where to look for a variable in a checkpoint.

    Attributes:
        candidates: variable -> the names that it may have, the likeliest first.
        dense_as_convolution: the checkpoint has matrices where the model may have kernels that cover their image.
    """

    candidates: Callable[[Variable], list[str]]
    dense_as_convolution: bool = False


def known_names() -> list[str]:
    """The namings that `names=` knows by name.

    Example:
        >>> known_names()
        ['torchvision/vgg11', 'torchvision/vgg13', 'torchvision/vgg16', 'torchvision/vgg19']
    """
    return sorted(_VGG_BLOCKS)


def name_map(names: Names, variables: Sequence[Variable]) -> NameMap:
    """Makes one `NameMap` of all that `names=` may be.

    Args:
        names: None; `{name or scope in the checkpoint: Variable, or name or scope in the model}`; the same as
            a pair `(scope in the checkpoint, scope in the model)`; a function from a `Variable` to its name
            in the checkpoint, or to None if it is not in there; or one of `known_names()`.
        variables: the model's; what `names` says about others is an error.

    Raises:
        ValueError: if `names` names nothing in the model, or is a string that is not known.
        TypeError: if it is something else, or its function returns something else than a string.
    """
    if names is None:
        return NameMap(_own_names)
    if isinstance(names, str):
        if names not in _VGG_BLOCKS:
            raise ValueError(
                f"restore: `names` must be a dict, a pair, a function, or one of {known_names()}. Got {names!r}."
            )
        return NameMap(lambda variable: _torchvision_vgg(variable, _VGG_BLOCKS[names]), dense_as_convolution=True)
    if isinstance(names, Mapping):
        renames = {_model_name(target): source for source, target in names.items()}
        _check_targets(renames, variables)
        return NameMap(lambda variable: _renamed(variable, renames))
    if isinstance(names, Sequence) and len(names) == 2 and all(isinstance(name, str) for name in names):
        return name_map({names[0]: names[1]}, variables)
    if callable(names):
        return NameMap(lambda variable: _called(names, variable))
    raise TypeError(
        "restore: `names` must be a dict {name in the checkpoint: variable}, a pair (prefix there, prefix in "
        f"the model), a function from a variable to its name, or one of {known_names()}. Got {names!r}."
    )


def average_of(name: str) -> str:
    """The name of the moving average of a variable.

    Example:
        >>> average_of('conv1/weights')
        'conv1/weights/ExponentialMovingAverage'
    """
    return name + _AVERAGE


def is_average(name: str, checkpoint: Collection[str]) -> bool:
    """Whether `name` is the moving average of another tensor of the checkpoint."""
    return name.endswith(_AVERAGE) and name.removesuffix(_AVERAGE) in checkpoint


def is_optimizer_slot(name: str, checkpoint: Collection[str]) -> bool:
    """Whether `name` is what an optimizer of TensorFlow keeps, for another tensor of the checkpoint or for itself.

    Example:
        >>> names = ['fc/weights', 'fc/weights/Adam_1', 'OptimizeLoss/fc/weights/Adam', 'beta1_power', 'Momentum']
        >>> [name for name in names if is_optimizer_slot(name, names)]
        ['fc/weights/Adam_1', 'OptimizeLoss/fc/weights/Adam', 'beta1_power']
    """
    slot = _SLOT.fullmatch(name)
    if slot is None:
        return "/.OPTIMIZER_SLOT/" in name or _STEPS.fullmatch(name) is not None
    parts = slot[1].split("/")  # scopes that the optimizer was made in come before the variable's own
    return any("/".join(parts[start:]) in checkpoint for start in range(len(parts)))


def _own_names(variable: Variable) -> list[str]:
    return [variable.op.name, variable.key, variable.name]


def _called(function: Callable[[Variable], str | None], variable: Variable) -> list[str]:
    name = function(variable)
    if name is not None and not isinstance(name, str):
        raise TypeError(
            "restore: `names` must return the name in the checkpoint, or None if it is not there. "
            f"Got {name!r} for {variable.op.name!r}."
        )
    return [] if name is None else _spellings(name, variable)


def _model_name(target: Any) -> str:
    if isinstance(target, list | tuple) and len(target) == 1:
        (target,) = target
    if isinstance(target, Variable):
        return target.op.name
    if isinstance(target, str):
        return target
    raise TypeError(f"restore: the values of `names` must be a Variable or the name of one. Got {target!r}.")


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[/.]", name.removesuffix(":0")) if part]


def _check_targets(renames: Mapping[str, str], variables: Sequence[Variable]) -> None:
    known = [name for variable in variables for name in (variable.op.name, variable.key)]
    paths = [_parts(name) for name in known]
    for target in renames:
        wanted = _parts(target)
        if not any(path[: len(wanted)] == wanted for path in paths):
            scopes = {name.rpartition("/")[0] for name in known} - {""}
            raise ValueError(
                f"restore: `names` maps {renames[target]!r} to {target!r}, which the model does not have."
                + did_you_mean(target, sorted(scopes | set(known)))
            )


def _renamed(variable: Variable, renames: Mapping[str, str]) -> list[str]:
    """The names under the longest renaming that fits, else the variable's own."""
    found: list[tuple[int, str]] = []
    for own, separator in ((variable.op.name, "/"), (variable.key, ".")):
        path = _parts(own)
        for target, source in renames.items():
            scope = _parts(target)
            if path == scope:
                found.append((len(scope), source))
            elif path[: len(scope)] == scope:
                prefix = source.rstrip("/.") if separator == "/" else source.rstrip("/.").replace("/", ".")
                rest = separator.join(path[len(scope) :])
                found.append((len(scope), f"{prefix}{separator}{rest}" if prefix else rest))
    longest = max((length for length, _ in found), default=0)
    names = [name for length, name in found if length == longest]
    return list(dict.fromkeys(spelling for name in names for spelling in _spellings(name, variable))) or _own_names(
        variable
    )


def _spellings(name: str, variable: Variable) -> list[str]:
    """A slim name, `old/conv1/weights`, and the key that a `state_dict` has for it, `old.conv1.weight`."""
    scope, _, leaf = name.rpartition("/")
    if leaf != variable.op.name.rpartition("/")[2]:
        return [name]
    return [name, ".".join([*_parts(scope), variable.attribute])]


def _torchvision_vgg(variable: Variable, blocks: Sequence[int]) -> list[str]:
    """`.../conv3/conv3_1/weights` is `features.10.weight`: each ReLU and each pool has a number too."""
    match = _VGG_VARIABLE.fullmatch(variable.op.name)
    if match is None:
        return []
    block, number, dense, kind = match.groups()
    what = {"weights": "weight", "biases": "bias"}[kind]
    if dense:
        return [f"{_VGG_CLASSIFIER[dense]}.{what}"]
    if not 1 <= int(block) <= 5 or not 1 <= int(number) <= blocks[int(block) - 1]:
        return []
    position = sum(2 * count + 1 for count in blocks[: int(block) - 1]) + 2 * (int(number) - 1)
    return [f"features.{position}.{what}"]
