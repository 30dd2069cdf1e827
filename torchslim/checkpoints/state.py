"""A training state as tensors plus text, and back: what a checkpoint holds, without pickle."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

# The metadata entry that holds the structure of a packed state.
STRUCTURE = "torchslim.state"
# Where a training state keeps the weights: `{'model': model.state_dict(), ...}` names them `model/<key>`.
MODEL_PREFIX = "model/"
# And the moving averages, by the keys of their variables.
AVERAGES_PREFIX = "ema/"


def pack(state: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Splits a nested state into tensors named by their paths, and JSON that says where they belong.

    Args:
        state: mappings, lists and tuples, nested as they like, of tensors, arrays, numbers, strings, bools
            and None: `{'model': model.state_dict(), 'optimizer': optimizer.state_dict(), 'global_step': 7}`.

    Returns:
        `(tensors, metadata)` for `save`; `model`'s `conv1.weight` is named `model/conv1.weight`.

    Raises:
        TypeError: if something else is in it; it is named by its path.

    Example:
        >>> state = {'optimizer': {'state': {0: {'step': torch.tensor(3.0)}}, 'betas': (0.9, 0.999)}}
        >>> tensors, metadata = pack(state)
        >>> list(tensors)
        ['optimizer/state/0/step']
        >>> unpack(tensors, metadata)
        {'optimizer': {'state': {0: {'step': tensor(3.)}}, 'betas': (0.9, 0.999)}}
    """
    tensors: dict[str, torch.Tensor] = {}
    return tensors, {STRUCTURE: json.dumps(_describe(state, "", tensors))}


def unpack(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> dict[str, Any]:
    """The inverse of `pack`.

    Raises:
        ValueError: if `metadata` does not come from `pack`.
    """
    if STRUCTURE not in metadata:
        raise ValueError(
            f"unpack: `metadata` must have the {STRUCTURE!r} that `pack` makes. Got {sorted(metadata)}: "
            "these are weights, not the state of a training; `slim.restore` reads them."
        )
    return _rebuild(json.loads(metadata[STRUCTURE]), tensors)


def rng_state() -> dict[str, Any]:
    """The states of the random generators of PyTorch (CPU and, if in use, CUDA), NumPy and Python.

    Example:
        >>> before = rng_state()
        >>> first = torch.rand(3)
        >>> set_rng_state(before)
        >>> bool((torch.rand(3) == first).all())
        True
    """
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": np.random.get_state(),
        "python": python_state(),
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Puts all generators back to what `rng_state` returned; CUDA devices that are not there are left out."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])
    np.random.set_state(state["numpy"])
    set_python_state(state["python"])


def python_state(generator: Any = random) -> tuple[int, np.ndarray, float | None]:
    """The state of Python's generator, or of a `random.Random`: 625 numbers as an array, which is quick to pack."""
    version, numbers, gauss = generator.getstate()
    return version, np.array(numbers, np.uint32), gauss


def set_python_state(state: tuple[int, np.ndarray, float | None], generator: Any = random) -> None:
    """Puts it back to what `python_state` returned."""
    version, numbers, gauss = state
    generator.setstate((version, tuple(numbers.tolist()), gauss))


def as_tensor(value: Any) -> torch.Tensor:
    """`value` as a tensor; it shares memory with an array only if that may be written to."""
    if isinstance(value, np.ndarray):
        value = np.require(value, requirements=["C", "W"])
    return torch.as_tensor(value)


def _describe(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """`value` in JSON: plain values and lists as they are, everything else as an object with one key."""
    if isinstance(value, torch.Tensor | np.ndarray):
        if path in tensors:
            raise ValueError(f"pack: two tensors of `state` would have the name {path!r}. Rename one of their keys.")
        tensors[path] = as_tensor(value)
        return {"tensor" if isinstance(value, torch.Tensor) else "array": path}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    prefix = f"{path}/" if path else ""
    if isinstance(value, list | tuple):
        items = [_describe(item, f"{prefix}{i}", tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping) and all(isinstance(key, str | int) for key in value):
        return {"dict": [[key, _describe(item, f"{prefix}{key}", tensors)] for key, item in value.items()]}
    raise TypeError(
        "pack: `state` may hold tensors, arrays, numbers, strings, None, lists, tuples and mappings whose "
        f"keys are strings or integers. Got {type(value).__name__} at {path!r}."
    )


def _rebuild(node: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(node, list):
        return [_rebuild(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    if kind == "tuple":
        return tuple(_rebuild(item, tensors) for item in content)
    return {key: _rebuild(item, tensors) for key, item in content}
