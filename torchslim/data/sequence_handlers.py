"""How one item is made of features that have a list of values in each step of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from torchslim.data.features import SparseTensorValue
from torchslim.data.item_handlers import Features, ItemHandler, numbers_of, prefixed
from torchslim.data.items import DataError

__all__ = ["BoundingBoxSequence", "KeypointsSequence", "NumBoxesSequence"]


class _PointsSequence(ItemHandler):
    """Numbers that belong together, each in a feature of its own: `[steps, most in a step, features]`."""

    def __init__(self, keys: list[str], return_dense: bool, default_value: float) -> None:
        super().__init__(keys)
        self._return_dense, self._default_value = return_dense, default_value

    def tensors_to_item(self, keys_to_tensors: Features) -> Any:
        """The numbers; as a `SparseTensorValue` without `return_dense`."""
        parts = [_ragged(keys_to_tensors[key], key, self) for key in self.keys]
        first = parts[0]
        if any(not torch.equal(part.indices, first.indices) for part in parts):
            counts = {key: _counts(part).tolist() for key, part in zip(self.keys, parts, strict=True)}
            raise DataError(f"{type(self).__name__}: the features must have as many values in each step. Got {counts}.")
        values = [numbers_of(keys_to_tensors[key], key, self) for key in self.keys]
        places = first.indices.repeat_interleave(len(parts), 0)
        last = torch.arange(len(parts)).repeat(len(first.indices))
        points = SparseTensorValue(
            torch.cat([places, last[:, None]], 1),
            torch.stack(values, 1).reshape(-1),
            torch.tensor([*first.dense_shape.tolist(), len(parts)]),
        )
        return points.to_dense(self._default_value) if self._return_dense else points


class BoundingBoxSequence(_PointsSequence):
    """Boxes of each step, `[steps, most boxes in a step, 4]`, of four features with one side of each.

    Args:
        keys: names of the four; default: `ymin`, `xmin`, `ymax`, `xmax`.
        prefix: stands before each of them.
        return_dense: fill up with `default_value`; otherwise a `SparseTensorValue`.
        default_value: of the places without a box.

    Raises:
        ValueError: if `keys` are not four.
        DataError: while decoding, if a step has more of one side than of another.

    Example:
        >>> from torchslim.data import VarLenFeature, make_sequence_example, parse_single_sequence_example
        >>> steps = {key: [[0.5], []] for key in ('ymin', 'xmin', 'ymax', 'xmax')}
        >>> serialized = make_sequence_example({}, steps).SerializeToString()
        >>> floats = dict.fromkeys(steps, VarLenFeature(torch.float32))
        >>> _, features = parse_single_sequence_example(serialized, {}, floats)
        >>> BoundingBoxSequence().tensors_to_item(features)
        tensor([[[ 0.5000,  0.5000,  0.5000,  0.5000]],
                [[-1.0000, -1.0000, -1.0000, -1.0000]]])
    """

    def __init__(
        self,
        keys: Sequence[str] | None = None,
        prefix: str | None = None,
        return_dense: bool = True,
        default_value: float = -1.0,
    ) -> None:
        names = prefixed("BoundingBoxSequence", keys, prefix, ("ymin", "xmin", "ymax", "xmax"))
        super().__init__(names, return_dense, default_value)


class KeypointsSequence(_PointsSequence):
    """Points of each step, `[steps, most points in a step, 2]`, of two features with one coordinate of each.

    Args:
        keys: names of the two; default: `y`, `x`.
        prefix: stands before each of them.
        return_dense: fill up with `default_value`; otherwise a `SparseTensorValue`.
        default_value: of the places without a point.

    Raises:
        ValueError: if `keys` are not two.
        DataError: while decoding, if a step has more of one coordinate than of the other.

    Example:
        >>> from torchslim.data import VarLenFeature, make_sequence_example, parse_single_sequence_example
        >>> serialized = make_sequence_example({}, {'y': [[1.0, 2.0]], 'x': [[3.0, 4.0]]}).SerializeToString()
        >>> floats = VarLenFeature(torch.float32)
        >>> _, features = parse_single_sequence_example(serialized, {}, {'y': floats, 'x': floats})
        >>> KeypointsSequence().tensors_to_item(features)
        tensor([[[1., 3.],
                 [2., 4.]]])
    """

    def __init__(
        self,
        keys: Sequence[str] | None = None,
        prefix: str | None = None,
        return_dense: bool = True,
        default_value: float = -1.0,
    ) -> None:
        super().__init__(prefixed("KeypointsSequence", keys, prefix, ("y", "x")), return_dense, default_value)


class NumBoxesSequence(ItemHandler):
    """How many boxes each step has: int64 `[steps]`.

    Args:
        keys: names of features with a value for each box; the first is counted.
        check_consistency: whether the others must have as many.

    Raises:
        ValueError: if there are no `keys`.
        DataError: while decoding, if they have different numbers of values, or one is no `VarLenFeature` of a sequence.

    Example:
        >>> from torchslim.data import VarLenFeature, make_sequence_example, parse_single_sequence_example
        >>> serialized = make_sequence_example({}, {'ymin': [[0.1, 0.2], [], [0.3]]}).SerializeToString()
        >>> _, features = parse_single_sequence_example(serialized, {}, {'ymin': VarLenFeature(torch.float32)})
        >>> NumBoxesSequence('ymin').tensors_to_item(features)
        tensor([2, 0, 1])
    """

    def __init__(self, keys: str | Sequence[str] | None = None, check_consistency: bool = True) -> None:
        if not keys:
            raise ValueError(f"NumBoxesSequence: `keys` must name at least one feature. Got {keys!r}.")
        super().__init__(keys)
        self._check_consistency = check_consistency

    def tensors_to_item(self, keys_to_tensors: Features) -> torch.Tensor:
        """The counts `[steps]`."""
        counts = _counts(_ragged(keys_to_tensors[self.keys[0]], self.keys[0], self))
        for key in self.keys[1:] if self._check_consistency else ():
            others = _counts(_ragged(keys_to_tensors[key], key, self))
            if not torch.equal(counts, others):
                raise DataError(
                    f"NumBoxesSequence: all features must have as many values as {self.keys[0]!r}, {counts.tolist()}. "
                    f"Got {others.tolist()} for {key!r}."
                )
        return counts


def _counts(ragged: SparseTensorValue) -> torch.Tensor:
    return torch.bincount(ragged.indices[:, 0], minlength=int(ragged.dense_shape[0]))


def _ragged(feature: Any, key: str, handler: ItemHandler) -> SparseTensorValue:
    if not isinstance(feature, SparseTensorValue) or len(feature.dense_shape) != 2:
        raise DataError(
            f"{type(handler).__name__}: feature {key!r} must be a VarLenFeature of a sequence. Got "
            f"{'one of an example' if isinstance(feature, SparseTensorValue) else type(feature).__name__}."
        )
    return feature
