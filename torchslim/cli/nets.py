"""Finds the slim function that `--net` names."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchslim.arg_scope import arg_scope
from torchslim.nets import vgg

Net = Callable[..., Any]

NETS: dict[str, Net] = {"vgg_a": vgg.vgg_a, "vgg_16": vgg.vgg_16, "vgg_19": vgg.vgg_19}


def find_net(name: str) -> Net:
    """Finds a net by name, with the arg_scope that it was trained with, or in a file of the user's own.

    Args:
        name: `vgg_a`, `vgg_16`, `vgg_19`, or `path/to/file.py:function`.

    Returns:
        The slim function: `(images, num_classes, is_training) -> logits` or `(logits, end_points)`.

    Raises:
        ValueError: if there is no such net, file or function.

    Example:
        >>> net = find_net("vgg_16")
        >>> net.__name__, net.default_image_size
        ('vgg_16', 224)
    """
    if name in NETS:
        return _with_arg_scope(NETS[name])
    path, _, function = name.rpartition(":")
    if not path.endswith(".py"):
        raise ValueError(
            f"find_net: `net` must be one of {', '.join(NETS)}, or `path/to/file.py:function`. Got {name!r}."
        )
    if not Path(path).is_file():
        raise ValueError(f"find_net: `net` must name a file that exists. Got {path!r}.")
    found = getattr(_import_file(path), function, None)
    if not callable(found):
        raise ValueError(
            f"find_net: `net` must name a function of {path!r}. Got {function!r}: it has none of that name."
        )
    return found


def _with_arg_scope(net: Net) -> Net:
    @functools.wraps(net)
    def scoped(*args: Any, **kwargs: Any) -> Any:
        with arg_scope(vgg.vgg_arg_scope()):
            return net(*args, **kwargs)

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
