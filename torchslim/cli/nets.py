"""Finds the slim function that `--net` names."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchslim.arg_scope import arg_scope
from torchslim.nets.cards import card
from torchslim.nets.nets_factory import arg_scopes_map, networks_map
from torchslim.variables import did_you_mean

Net = Callable[..., Any]


def find_net(name: str) -> Net:
    """Finds a net by name, with the arg_scope that it was trained with, or in a file of the user's own.

    Args:
        name: a key of `nets_factory.networks_map`, or `path/to/file.py:function`.

    Returns:
        The slim function: `(images, num_classes, is_training) -> logits` or `(logits, end_points)`.

    Raises:
        ValueError: if there is no such net, file or function, or the net takes videos.

    Example:
        >>> net = find_net("vgg_16")
        >>> net.__name__, net.default_image_size
        ('vgg_16', 224)
    """
    if name in networks_map:
        return _with_arg_scope(name)
    path, _, function = name.rpartition(":")
    if not path.endswith(".py"):
        raise ValueError(
            "find_net: `net` must be the name of a network, or `path/to/file.py:function`. "
            f"Got {name!r}.{did_you_mean(name, list(networks_map))} The networks are {', '.join(networks_map)}."
        )
    if not Path(path).is_file():
        raise ValueError(f"find_net: `net` must name a file that exists. Got {path!r}.")
    found = getattr(_import_file(path), function, None)
    if not callable(found):
        raise ValueError(
            f"find_net: `net` must name a function of {path!r}. Got {function!r}: it has none of that name."
        )
    return found


def _with_arg_scope(name: str) -> Net:
    if card(name).frames is not None:
        raise ValueError(f"find_net: `net` must take pictures. Got {name!r}, which takes videos.")
    net = networks_map[name]
    # Larger pictures than the published ones are averaged over: some nets would give a map of logits.
    pooled = {"global_pool": True} if "global_pool" in inspect.signature(net).parameters else {}

    @functools.wraps(net)
    def scoped(*args: Any, **kwargs: Any) -> Any:
        with arg_scope(arg_scopes_map[name]()):
            return net(*args, **kwargs, **pooled)

    return scoped


def _import_file(path: str) -> Any:
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"find_net: `net` must name a Python file. Got {path!r}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickle look for a function's module
    spec.loader.exec_module(module)
    return module
