"""What a decoder is: it makes the items of a data set out of what is stored."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

__all__ = ["DataDecoder"]


class DataDecoder(abc.ABC):
    """Makes items (an image, a label, ...) out of one stored thing, such as a record.

    Example:
        >>> class Utf8Decoder(DataDecoder):
        ...     def decode(self, data, items=None):
        ...         return [data.decode() for _ in items or self.list_items()]
        ...     def list_items(self):
        ...         return ['text']
        >>> Utf8Decoder().decode(b'slim', ['text'])
        ['slim']
    """

    @abc.abstractmethod
    def decode(self, data: Any, items: Sequence[str] | None = None) -> list[Any]:
        """Makes items.

        Args:
            data: what is stored: the bytes of a record, say.
            items: names of those wanted, of `list_items()`.

        Returns:
            The items, in the order of their names.
        """

    @abc.abstractmethod
    def list_items(self) -> list[str]:
        """The names of the items that can be decoded."""
