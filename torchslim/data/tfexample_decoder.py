"""Decoding `Example` and `SequenceExample` into items: TF-Slim's `tfexample_decoder`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from torchslim.data.data_decoder import DataDecoder
from torchslim.data.features import (
    FeatureSpec,
    FixedLenFeature,
    FixedLenSequenceFeature,
    SparseTensorValue,
    VarLenFeature,
    parse_single_example,
    parse_single_sequence_example,
)
from torchslim.data.image_handler import Image
from torchslim.data.item_handlers import (
    BackupHandler,
    BoundingBox,
    ItemHandler,
    ItemHandlerCallback,
    LookupTable,
    LookupTensor,
    SparseTensor,
    Tensor,
)
from torchslim.data.sequence_handlers import BoundingBoxSequence, KeypointsSequence, NumBoxesSequence

__all__ = [
    "BackupHandler",
    "BoundingBox",
    "BoundingBoxSequence",
    "FixedLenFeature",
    "FixedLenSequenceFeature",
    "Image",
    "ItemHandler",
    "ItemHandlerCallback",
    "KeypointsSequence",
    "LookupTable",
    "LookupTensor",
    "NumBoxesSequence",
    "SparseTensor",
    "SparseTensorValue",
    "TFExampleDecoder",
    "TFSequenceExampleDecoder",
    "Tensor",
    "VarLenFeature",
]


class TFExampleDecoder(DataDecoder):
    """Makes items of a serialized `Example`.

    Args:
        keys_to_features: name of a feature -> what it is like: `FixedLenFeature`, `VarLenFeature`,
            `FixedLenSequenceFeature`.
        items_to_handlers: name of an item -> the `ItemHandler` that makes it of features.

    Example:
        >>> import torch
        >>> from torchslim.data import make_example
        >>> decoder = TFExampleDecoder(
        ...     {'image/class/label': FixedLenFeature([], torch.int64),
        ...      'image/filename': FixedLenFeature([], bytes, '')},
        ...     {'label': Tensor('image/class/label'), 'name': Tensor('image/filename')})
        >>> decoder.decode(make_example({'image/class/label': 3}).SerializeToString(), ['label', 'name'])
        [tensor(3), b'']
    """

    def __init__(
        self, keys_to_features: Mapping[str, FeatureSpec], items_to_handlers: Mapping[str, ItemHandler]
    ) -> None:
        self._keys_to_features, self._items_to_handlers = dict(keys_to_features), dict(items_to_handlers)

    def list_items(self) -> list[str]:
        """The names of the items."""
        return list(self._items_to_handlers)

    def decode(self, serialized_example: bytes, items: Sequence[str] | None = None) -> list[Any]:
        """Makes items.

        Args:
            serialized_example: the bytes of an `Example`.
            items: names of those wanted; default: all.

        Returns:
            The items, in that order: tensors; `bytes` or an array of them for strings; whatever a handler makes.

        Raises:
            ValueError: if there is no such item, or it is made of features that are not in `keys_to_features`.
            DataError: if the example cannot be decoded.
        """
        handlers = _handlers(self._items_to_handlers, items, self._keys_to_features)
        return _make(handlers, parse_single_example(serialized_example, self._keys_to_features))


class TFSequenceExampleDecoder(DataDecoder):
    """Makes items of a serialized `SequenceExample`.

    Args:
        keys_to_context_features: name of a feature of the whole -> `FixedLenFeature` or `VarLenFeature`.
        keys_to_sequence_features: name of a feature of the steps -> `FixedLenSequenceFeature` or `VarLenFeature`.
        items_to_handlers: name of an item -> the `ItemHandler` that makes it of features.

    Raises:
        ValueError: if a name is in both.

    Example:
        >>> import torch
        >>> from torchslim.data import make_sequence_example
        >>> decoder = TFSequenceExampleDecoder(
        ...     {'id': FixedLenFeature([], torch.int64)}, {'words': VarLenFeature(torch.int64)},
        ...     {'id': Tensor('id'), 'words': Tensor('words', default_value=-1)})
        >>> decoder.decode(make_sequence_example({'id': 7}, {'words': [[1], [2, 3]]}).SerializeToString())
        [tensor(7), tensor([[ 1, -1],
                [ 2,  3]])]
    """

    def __init__(
        self,
        keys_to_context_features: Mapping[str, FeatureSpec],
        keys_to_sequence_features: Mapping[str, FeatureSpec],
        items_to_handlers: Mapping[str, ItemHandler],
    ) -> None:
        if both := sorted(keys_to_context_features.keys() & keys_to_sequence_features.keys()):
            raise ValueError(
                "TFSequenceExampleDecoder: names must be in `keys_to_context_features` or `keys_to_sequence_features`, "
                f"not in both. Got {both} in both."
            )
        self._context, self._sequences = dict(keys_to_context_features), dict(keys_to_sequence_features)
        self._items_to_handlers = dict(items_to_handlers)

    def list_items(self) -> list[str]:
        """The names of the items."""
        return list(self._items_to_handlers)

    def decode(self, serialized_example: bytes, items: Sequence[str] | None = None) -> list[Any]:
        """Makes items; see `TFExampleDecoder.decode`.

        Args:
            serialized_example: the bytes of a `SequenceExample`.
            items: names of those wanted; default: all.

        Returns:
            The items, in that order.

        Raises:
            ValueError: if there is no such item, or it is made of unknown features.
            DataError: if the example cannot be decoded.
        """
        handlers = _handlers(self._items_to_handlers, items, self._context.keys() | self._sequences.keys())
        values, steps = parse_single_sequence_example(serialized_example, self._context, self._sequences)
        return _make(handlers, {**values, **steps})


def _handlers(
    handlers: Mapping[str, ItemHandler], items: Sequence[str] | None, features: Collection[str]
) -> list[ItemHandler]:
    for item in items or handlers:
        if item not in handlers:
            near = get_close_matches(item, handlers, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"decode: `items` must be of {list(handlers)}. Got {item!r}.{hint}")
        if unknown := [key for key in handlers[item].keys if key not in features]:
            raise ValueError(
                f"decode: item {item!r} must be made of features that the decoder knows, {sorted(features)}. Got "
                f"{unknown}."
            )
    return [handlers[item] for item in items or handlers]


def _make(handlers: list[ItemHandler], values: Mapping[str, Any]) -> list[Any]:
    return [handler.tensors_to_item({key: values[key] for key in handler.keys}) for handler in handlers]
