"""How one item is made of the features of an example."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from torchslim.data.features import SparseTensorValue, reshape, string_array
from torchslim.data.items import DataError

__all__ = [
    "BackupHandler",
    "BoundingBox",
    "ItemHandler",
    "ItemHandlerCallback",
    "LookupTable",
    "LookupTensor",
    "SparseTensor",
    "Tensor",
    "dense",
    "prefixed",
]

Features = Mapping[str, Any]  # name -> what `parse_single_example` gives


class ItemHandler(abc.ABC):
    """Makes one item of some features.

    Args:
        keys: name of the feature, or names of the features, that the item is made of.

    Example:
        >>> class Area(ItemHandler):
        ...     def tensors_to_item(self, keys_to_tensors):
        ...         return keys_to_tensors['height'] * keys_to_tensors['width']
        >>> Area(['height', 'width']).tensors_to_item({'height': torch.tensor(3), 'width': torch.tensor(4)})
        tensor(12)
    """

    def __init__(self, keys: str | Sequence[str]) -> None:
        self._keys = [keys] if isinstance(keys, str) else list(keys)

    @property
    def keys(self) -> list[str]:
        """Names of the features that the item is made of."""
        return self._keys

    @abc.abstractmethod
    def tensors_to_item(self, keys_to_tensors: Features) -> Any:
        """Makes the item.

        Args:
            keys_to_tensors: name -> value of the features `keys`: a tensor, `bytes` or an array of them for strings, a
                `SparseTensorValue` where their number varies.
        """


class ItemHandlerCallback(ItemHandler):
    """Makes an item by a function of one's own.

    Args:
        keys: names of features.
        func: makes the item of a mapping of their names to their values.

    Example:
        >>> area = ItemHandlerCallback(['height', 'width'], lambda features: features['height'] * features['width'])
        >>> area.tensors_to_item({'height': torch.tensor(3), 'width': torch.tensor(4)})
        tensor(12)
    """

    def __init__(self, keys: str | Sequence[str], func: Callable[[Features], Any]) -> None:
        super().__init__(keys)
        self._func = func

    def tensors_to_item(self, keys_to_tensors: Features) -> Any:
        """What the function gives."""
        return self._func(keys_to_tensors)


class BoundingBox(ItemHandler):
    """Boxes `[boxes, 4]`, of four features with one side of each.

    Args:
        keys: names of the four; default: `ymin`, `xmin`, `ymax`, `xmax`.
        prefix: stands before each of them.

    Raises:
        ValueError: if `keys` are not four.
        DataError: while decoding, if the features have different numbers of values.

    Example:
        >>> sides = {f'box/{key}': torch.tensor([float(i)]) for i, key in enumerate(['ymin', 'xmin', 'ymax', 'xmax'])}
        >>> BoundingBox(prefix='box/').tensors_to_item(sides)
        tensor([[0., 1., 2., 3.]])
    """

    def __init__(self, keys: Sequence[str] | None = None, prefix: str = "") -> None:
        super().__init__(prefixed("BoundingBox", keys, prefix, ("ymin", "xmin", "ymax", "xmax")))

    def tensors_to_item(self, keys_to_tensors: Features) -> torch.Tensor:
        """The boxes `[boxes, 4]`."""
        sides = [numbers_of(keys_to_tensors[key], key, self) for key in self.keys]
        if len({side.shape for side in sides}) > 1:
            counts = {key: side.numel() for key, side in zip(self.keys, sides, strict=True)}
            raise DataError(f"BoundingBox: the features must have a value for each box. Got {counts} values.")
        return torch.stack(sides).permute(*range(sides[0].ndim, -1, -1))  # as TF-Slim transposes


class Tensor(ItemHandler):
    """A feature as it is, or in another shape.

    Args:
        tensor_key: name of the feature.
        shape_keys: name(s) of the features that hold its shape, or each a part of it.
        shape: its shape; -1: what remains.
        default_value: of the places without a value, in a feature whose number of values varies from step to step.

    Raises:
        ValueError: if both `shape_keys` and `shape` are given.
        DataError: while decoding, if the feature does not have the shape.

    Example:
        >>> Tensor('grid', shape=[2, -1]).tensors_to_item({'grid': torch.arange(4)})
        tensor([[0, 1],
                [2, 3]])
    """

    def __init__(
        self,
        tensor_key: str,
        shape_keys: str | Sequence[str] | None = None,
        shape: Sequence[int] | None = None,
        default_value: Any = 0,
    ) -> None:
        if shape_keys and shape is not None:
            raise ValueError(
                f"{type(self).__name__}: `shape_keys` and `shape` must not both be given. Got {shape_keys!r} and "
                f"{shape!r}."
            )
        self._shape_keys = [shape_keys] if isinstance(shape_keys, str) else list(shape_keys or ())
        self._tensor_key, self._shape, self._default_value = tensor_key, shape, default_value
        super().__init__([tensor_key, *self._shape_keys])

    def tensors_to_item(self, keys_to_tensors: Features) -> Any:
        """The tensor, or the strings."""
        tensor = dense(keys_to_tensors[self._tensor_key], self._default_value)
        shape = self._shape
        if self._shape_keys:
            shape = [int(size) for key in self._shape_keys for size in dense(keys_to_tensors[key]).reshape(-1)]
        return (
            tensor if shape is None else reshape(tensor, shape, f"{type(self).__name__}: feature {self._tensor_key!r}")
        )


class LookupTable:
    """What `LookupTensor` looks up in: a number (or another string) for each string or number.

    Args:
        table: key -> value; keys that are strings may be `str` or `bytes`.
        default_value: of keys that are not in it; None: they are an error.

    Example:
        >>> import numpy as np
        >>> LookupTable({'cat': 3, 'dog': 7}, -1).lookup(np.array([b'dog', b'cow'], object))
        tensor([ 7, -1])
    """

    def __init__(self, table: Mapping[Any, Any], default_value: Any = None) -> None:
        self._table = {key.encode() if isinstance(key, str) else key: value for key, value in table.items()}
        self._default_value = default_value
        values = list(self._table.values())
        self._is_of_strings = any(isinstance(value, (str, bytes)) for value in values)
        self._dtype = None if self._is_of_strings else torch.tensor(values or [0]).dtype

    def lookup(self, keys: Any) -> Any:
        """The values of `keys`, in their shape: a tensor, or strings.

        Raises:
            DataError: if one of them is not in the table, and that has no default value.
        """
        shape = getattr(keys, "shape", ())
        flat = [keys] if isinstance(keys, bytes) else keys.reshape(-1).tolist()
        unknown = [key for key in flat if key not in self._table]
        if unknown and self._default_value is None:
            raise DataError(
                f"LookupTable.lookup: `keys` must be in the table of {len(self._table)}. Got {unknown[0]!r}."
            )
        values = [self._table.get(key, self._default_value) for key in flat]
        if self._is_of_strings:
            return string_array([v.encode() if isinstance(v, str) else v for v in values], shape)
        return torch.tensor(values, dtype=self._dtype).reshape(shape)


class LookupTensor(Tensor):
    """A feature, each value replaced by what a table has for it.

    Args:
        tensor_key: name of the feature.
        table: a `LookupTable`, or anything else with `lookup(tensor)`.
        shape_keys: as for `Tensor`.
        shape: as for `Tensor`.
        default_value: as for `Tensor`; it is looked up too.

    Raises:
        ValueError: if both `shape_keys` and `shape` are given.

    Example:
        >>> label = LookupTensor('text', LookupTable({'cat': 3, 'dog': 7}))
        >>> label.tensors_to_item({'text': b'dog'})
        tensor(7)
    """

    def __init__(
        self,
        tensor_key: str,
        table: Any,
        shape_keys: str | Sequence[str] | None = None,
        shape: Sequence[int] | None = None,
        default_value: Any = "",
    ) -> None:
        super().__init__(tensor_key, shape_keys, shape, default_value)
        self._table = table

    def tensors_to_item(self, keys_to_tensors: Features) -> Any:
        """What the table has."""
        return self._table.lookup(super().tensors_to_item(keys_to_tensors))


class BackupHandler(ItemHandler):
    """The item of a handler, or if that is empty the item of another one.

    Args:
        handler: is tried first.
        backup: takes its place.

    Raises:
        ValueError: if one of them is no ItemHandler.

    Example:
        >>> features = {'new': torch.tensor([]), 'old': torch.tensor([1.0])}
        >>> BackupHandler(Tensor('new'), Tensor('old')).tensors_to_item(features)
        tensor([1.])
    """

    def __init__(self, handler: ItemHandler, backup: ItemHandler) -> None:
        for argument, value in (("handler", handler), ("backup", backup)):
            if not isinstance(value, ItemHandler):
                raise ValueError(f"BackupHandler: `{argument}` must be an ItemHandler. Got {value!r}.")
        super().__init__(handler.keys + backup.keys)
        self._handler, self._backup = handler, backup

    def tensors_to_item(self, keys_to_tensors: Features) -> Any:
        """The item of the first that has one."""
        item = self._handler.tensors_to_item(keys_to_tensors)
        return self._backup.tensors_to_item(keys_to_tensors) if 0 in getattr(item, "shape", ()) else item


class SparseTensor(ItemHandler):
    """Values at places, both of them features: a `SparseTensorValue`.

    Args:
        indices_key: name of the feature with the places; default: `indices`.
        values_key: name of the feature with the values; default: `values`.
        shape_key: name of the feature with the shape of the whole.
        shape: shape of the whole, without `shape_key`; default: as many as there are places.
        densify: give the whole tensor.
        default_value: of the other places, with `densify`.

    Raises:
        DataError: while decoding, if there are not as many places as values; with `densify`, if a place is outside or
            there twice.

    Example:
        >>> from torchslim.data.features import VarLenFeature, parse_single_example
        >>> from torchslim.data import make_example
        >>> serialized = make_example({'indices': [0, 3], 'values': [1.5, 2.5]}).SerializeToString()
        >>> features = {'indices': VarLenFeature(torch.int64), 'values': VarLenFeature(torch.float32)}
        >>> SparseTensor(shape=[5], densify=True).tensors_to_item(parse_single_example(serialized, features))
        tensor([1.5000, 0.0000, 0.0000, 2.5000, 0.0000])
    """

    def __init__(
        self,
        indices_key: str | None = None,
        values_key: str | None = None,
        shape_key: str | None = None,
        shape: Sequence[int] | None = None,
        densify: bool = False,
        default_value: Any = 0,
    ) -> None:
        self._indices_key, self._values_key = indices_key or "indices", values_key or "values"
        self._shape_key, self._shape = shape_key, shape
        self._densify, self._default_value = densify, default_value
        super().__init__([self._indices_key, self._values_key, *([shape_key] if shape_key else [])])

    def tensors_to_item(self, keys_to_tensors: Features) -> Any:
        """The sparse tensor, or the whole one."""
        places, values = keys_to_tensors[self._indices_key], keys_to_tensors[self._values_key]
        for key, value in ((self._indices_key, places), (self._values_key, values)):
            if not isinstance(value, SparseTensorValue):
                raise DataError(f"SparseTensor: feature {key!r} must be a VarLenFeature. Got {type(value).__name__}.")
        if len(places.values) != len(values.values):
            raise DataError(
                f"SparseTensor: `{self._values_key}` must have a value for each place in `{self._indices_key}`. Got "
                f"{len(values.values)} values for {len(places.values)} places."
            )
        if self._shape_key:
            shape = dense(keys_to_tensors[self._shape_key]).reshape(-1)
        else:
            shape = torch.tensor(self._shape) if self._shape else places.dense_shape
        # The last coordinate of each place is what the feature says; those before it are where it says so.
        last = numbers_of(places, self._indices_key, self).to(torch.int64)
        indices = torch.cat([places.indices[:, :-1], last[:, None]], 1)
        if len(shape) != indices.shape[1]:
            raise DataError(
                f"SparseTensor: the shape must have {indices.shape[1]} sizes, as each place in `{self._indices_key}` "
                f"has coordinates. Got {shape.tolist()}."
            )
        tensor = SparseTensorValue(indices, values.values, shape)
        return tensor.to_dense(self._default_value) if self._densify else tensor


def prefixed(function: str, keys: Sequence[str] | None, prefix: str | None, default: Sequence[str]) -> list[str]:
    """Names of features: `keys`, or the usual ones, each behind `prefix`.

    Raises:
        ValueError: if they are not as many as the usual ones.
    """
    keys = default if keys is None else keys
    if len(keys) != len(default):
        raise ValueError(f"{function}: `keys` must be {len(default)}, like {list(default)}. Got {list(keys)}.")
    return [f"{prefix or ''}{key}" for key in keys]


def numbers_of(feature: Any, key: str, handler: ItemHandler) -> torch.Tensor:
    """The values of a feature, whether their number varies or not.

    Raises:
        DataError: if they are strings.
    """
    values = feature.values if isinstance(feature, SparseTensorValue) else feature
    if not isinstance(values, torch.Tensor):
        raise DataError(f"{type(handler).__name__}: feature {key!r} must be numbers. Got strings.")
    return values


def dense(feature: Any, default_value: Any = 0) -> Any:
    """The whole of a feature, whether its number of values varies or not."""
    return feature.to_dense(default_value) if isinstance(feature, SparseTensorValue) else feature
