"""TF-Slim's `slim.utils`: names of outputs, collections, small conversions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch

from torchslim.graph import Symbol, get_default_graph

T = TypeVar("T")


def collect_named_outputs(collections: str | Sequence[str] | None, alias: str, outputs: T) -> T:
    """Gives `outputs` an alias and adds it to collections (TF-Slim's function of this name).

    Args:
        collections: a name, a list of names, or None for no collection.
        alias: the name that `convert_collection_to_dict` will give it.
        outputs: a Symbol or a tensor.

    Returns:
        `outputs`.

    Example:
        >>> import torchslim as slim
        >>> with slim.Graph():
        ...     x = slim.utils.collect_named_outputs('end_points', 'input', slim.placeholder((None, 3)))
        ...     list(slim.utils.convert_collection_to_dict('end_points'))
        ['input']
    """
    append_tensor_alias(outputs, alias)
    names = [collections] if isinstance(collections, str) else collections or ()
    graph = outputs.owner if isinstance(outputs, Symbol) else get_default_graph()
    for name in names:
        graph.add_to_collection(name, outputs)
    return outputs


def append_tensor_alias(tensor: T, alias: str) -> T:
    """Adds a name to a Symbol or tensor."""
    alias = alias.rstrip("/")
    if isinstance(tensor, Symbol):
        tensor.aliases.append(alias)
    elif isinstance(tensor, torch.Tensor):
        tensor.slim_aliases = [*get_tensor_aliases(tensor), alias]  # type: ignore[attr-defined]
    return tensor


def get_tensor_aliases(tensor: Any) -> list[str]:
    """The names that layers gave to a Symbol or tensor; if none did, the name of a Symbol."""
    if isinstance(tensor, Symbol):
        return list(tensor.aliases) or [tensor.name]
    return list(getattr(tensor, "slim_aliases", ()))


def gather_tensors_aliases(tensors: Iterable[Any]) -> list[str]:
    """The names of all of `tensors`, in order."""
    return [alias for tensor in tensors for alias in get_tensor_aliases(tensor)]


def convert_collection_to_dict(collection: str, clear_collection: bool = False) -> dict[str, Any]:
    """The outputs in a collection by their names, in creation order; a name given twice holds the last.

    Args:
        collection: its name.
        clear_collection: empty it.
    """
    graph = get_default_graph()
    found = {alias: value for value in graph.get_collection(collection) for alias in get_tensor_aliases(value)}
    if clear_collection:
        graph.clear_collection(collection)
    return found


def get_variable_collections(
    variables_collections: str | Sequence[str] | Mapping[str, Sequence[str]] | None, name: str
) -> list[str]:
    """The collections for the variable `name` of a layer; `variables_collections` may be a dict by that name."""
    if isinstance(variables_collections, Mapping):
        variables_collections = variables_collections.get(name)
    if isinstance(variables_collections, str):
        return [variables_collections]
    return list(variables_collections or ())


def n_positive_integers(n: int, value: int | Sequence[int]) -> tuple[int, ...]:
    """`value` as `n` positive integers; one number stands for all of them.

    Raises:
        ValueError: if it is neither one nor `n` positive integers.

    Example:
        >>> n_positive_integers(2, 3), n_positive_integers(2, [3, 1])
        ((3, 3), (3, 1))
    """
    values = tuple(value) if isinstance(value, Sequence | torch.Size) else (value,) * n
    if len(values) != n or not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values):
        raise ValueError(f"expected a positive integer or {n} of them. Got {value!r}.")
    return values


def two_element_tuple(value: int | Sequence[int]) -> tuple[int, ...]:
    """`value` as a pair of positive integers (TF-Slim's function of this name)."""
    return n_positive_integers(2, value)
