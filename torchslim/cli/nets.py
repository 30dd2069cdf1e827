"""Finds the slim function that `--net` names."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchslim.nets import vgg

NETS = {"vgg_a": vgg.vgg_a, "vgg_16": vgg.vgg_16, "vgg_19": vgg.vgg_19}


def find_net(name: str) -> Callable[..., Any]:
    """Finds a net by name, or in a file of the user's own.

    Args:
        name: `vgg_a`, `vgg_16`, `vgg_19`, or `path/to/file.py:function`.

    Returns:
        The slim function: `(images, num_classes, is_training) -> logits` or `(logits, end_points)`.

    Raises:
        ValueError: if there is no such net, file or function.

    Example:
        >>> find_net("vgg_16").__name__
        'vgg_16'
    """
    if name in NETS:
        return NETS[name]
    path, colon, function = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise ValueError(
            f"find_net: `net` must be one of {', '.join(sorted(NETS))}, or `path/to/file.py:function`. Got {name!r}."
        )
    if not Path(path).is_file():
        raise ValueError(f"find_net: `net` must name a file that exists. Got {path!r}.")
    found = getattr(_import_file(Path(path)), function, None)
    if not callable(found):
        raise ValueError(f"find_net: `net` must name a function of {path}. Got {function!r}, which it does not have.")
    return found


def _import_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # a .py file always has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses and pickling look a function's module up there
    spec.loader.exec_module(module)
    return module
