"""What all providers have in common: items by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["DataProvider"]


class DataProvider:
    """Gives the items of a sample by their names.

    Args:
        items_to_tensors: the items (Symbols, tensors) by name.
        num_samples: how many samples there are, or None.

    Example:
        >>> provider = DataProvider({'image': torch.zeros(3, 8, 8), 'label': torch.tensor(1)}, num_samples=1)
        >>> image, label = provider.get(['image', 'label'])
        >>> provider.list_items()
        ['image', 'label']
    """

    def __init__(self, items_to_tensors: Mapping[str, Any], num_samples: int | None):
        self._items_to_tensors = items_to_tensors
        self._num_samples = num_samples

    def get(self, items: Sequence[str]) -> list[Any]:
        """Returns the items that are named, in that order.

        Raises:
            ValueError: if `items` is not a list or tuple of names that there are.
        """
        self._validate_items(items)
        return [self._items_to_tensors[item] for item in items]

    def list_items(self) -> list[str]:
        """The names of all items."""
        return list(self._items_to_tensors)

    def num_samples(self) -> int | None:
        """How many samples there are."""
        return self._num_samples

    def _validate_items(self, items: Sequence[str]) -> None:
        if not isinstance(items, list | tuple):
            raise ValueError(f"{type(self).__name__}.get: `items` must be a list or tuple of names. Got {items!r}.")
        known = self.list_items()
        for item in items:
            if item not in known:
                raise ValueError(f"{type(self).__name__}.get: `items` must be among {', '.join(known)}. Got {item!r}.")
