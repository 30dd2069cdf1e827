"""The random generators that data carries with it: those of loaders, their samplers and data sets."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from torchslim.checkpoints.state import python_state, set_python_state

# What data may draw from, other than the generators that Python, NumPy and PyTorch share with everybody.
GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def generators_of(loaders: Iterable[Any]) -> list[Any]:
    """The generators in the attributes of loaders, and of the iterables and data sets in them, in a fixed order.

    Example:
        >>> loader = torch.utils.data.DataLoader([1, 2], shuffle=True, generator=torch.Generator())
        >>> generators_of([loader]) == [loader.generator]
        True
    """
    found: list[Any] = []
    waiting, seen = list(loaders), set()
    while waiting:
        thing = waiting.pop(0)
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, GENERATORS):
            found.append(thing)
        elif hasattr(thing, "__dict__") and (hasattr(thing, "__iter__") or hasattr(thing, "__getitem__")):
            waiting += vars(thing).values()
    return found


def generator_states(generators: Iterable[Any]) -> list[Any]:
    """The state of each, as tensors, arrays and numbers."""
    return [_state(generator) for generator in generators]


def set_generator_states(generators: Sequence[Any], states: Sequence[Any]) -> None:
    """Puts each back to what `generator_states` gave."""
    for generator, state in zip(generators, states, strict=True):
        if isinstance(generator, np.random.Generator):
            generator.bit_generator.state = state
        elif isinstance(generator, random.Random):
            set_python_state(state, generator)
        else:
            generator.set_state(state)


def _state(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return python_state(generator) if isinstance(generator, random.Random) else generator.get_state()
