"""Crosses of sparse features: which values of several columns occur together in a row (TensorFlow's contrib layers).

Shape letters: B rows (examples), C columns of a feature, K crosses of the row that has most.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.overrides import handle_torch_function, has_torch_function

# TensorFlow's: the key that hashing starts from, the multiplier of its fingerprints and the number of buckets if none
# is given (the largest int64: hashes are not negative).
_HASH_KEY = 0xDECAFCAFFE
_MULTIPLIER = 0xC6A4A7935BD1E995 - 2**64
_LARGEST = 2**63 - 1


class SparseStrings(NamedTuple):
    """Strings at some places of a matrix, which PyTorch has no tensors for (TensorFlow's `SparseTensorValue`).

    Attributes:
        indices: `[n, 2]`, row and column of each, sorted.
        values: `[n]`, the strings.
        dense_shape: `(B, C)`.
    """

    indices: np.ndarray
    values: np.ndarray
    dense_shape: tuple[int, int]


class _Feature(NamedTuple):
    """The values of a feature, row after row, and how many each row has."""

    values: torch.Tensor | np.ndarray
    counts: torch.Tensor
    columns: int | None  # of a dense one, the same for each row


def sparse_feature_cross(
    inputs: Sequence[Any],
    hashed_output: bool = False,
    num_buckets: int = 0,
    name: str | None = None,
    hash_key: int | None = None,
) -> Any:
    """Crosses features: row by row, each combination of one value of each (TensorFlow's function of this name).

    Crosses are in TensorFlow's order: features that are sparse come before those that are dense, whatever their order
    in `inputs`, and the values of the last feature change fastest.

    TensorFlow: hashes of whole numbers are equal to those of `tf.sparse.cross_hashed`, bit for bit. Strings are hashed
    by BLAKE2 here, and by FarmHash there. Crosses that are not hashed are strings, so they are no tensor.

    Args:
        inputs: the features, each `[B, C]`: a tensor of whole numbers, dense or `torch.sparse_coo`; a Symbol (dense);
            a numpy array of strings; or `SparseStrings`.
        hashed_output: give a number for each cross; False: a string such as `'7_X_red'`.
        num_buckets: hashes are from 0 to `num_buckets - 1`; 0: any number that is not negative.
        name: accepted because TensorFlow has it; a function without variables needs none.
        hash_key: where hashing starts; another key gives other collisions. Default: TensorFlow's.

    Returns:
        If `hashed_output`, an int64 `torch.sparse_coo` tensor `[B, K]`, coalesced; else `SparseStrings`. A row in which
        any feature has no value has no cross.

    Raises:
        TypeError: if an input is of another kind.
        ValueError: if there is no input, one is not a matrix, they differ in their rows, or `num_buckets` is negative.

    Example:
        >>> import torch, torchslim as slim
        >>> colours = slim.dense_to_sparse(torch.tensor([[1, 2], [3, 0]]))
        >>> sizes = torch.tensor([[10], [20]])
        >>> slim.sparse_feature_cross([colours, sizes]).values
        array(['1_X_10', '2_X_10', '3_X_20'], dtype='<U6')
        >>> slim.sparse_feature_cross([colours, sizes], hashed_output=True, num_buckets=100).values()
        tensor([ 6, 54, 17])
    """
    if not inputs:
        raise ValueError("sparse_feature_cross: `inputs` must hold at least one feature. Got none.")
    if num_buckets < 0:
        raise ValueError(f"sparse_feature_cross: `num_buckets` must not be negative. Got {num_buckets}.")
    if has_torch_function(tuple(inputs)):
        return handle_torch_function(
            sparse_feature_cross, tuple(inputs), list(inputs), hashed_output, num_buckets, hash_key=hash_key
        )
    features = [_feature(given) for given in sorted(inputs, key=lambda given: not _is_sparse(given))]
    rows_of = [len(feature.counts) for feature in features]
    if len(set(rows_of)) > 1:
        raise ValueError(f"sparse_feature_cross: all features must have the same number of rows. Got {rows_of}.")
    total = torch.stack([feature.counts for feature in features]).prod(0)
    rows, columns, picked = _combinations(features, total)
    widest = _widest(features, total)
    if not hashed_output:
        pairs = zip(features, picked, strict=True)
        texts = [_as_text(feature.values)[index.numpy(force=True)] for feature, index in pairs]
        joined = np.array(["_X_".join(parts) for parts in zip(*texts, strict=True)], dtype=np.str_)
        return SparseStrings(torch.stack([rows, columns], 1).numpy(force=True), joined, (rows_of[0], widest))
    hashes = torch.full_like(rows, _signed(_HASH_KEY if hash_key is None else hash_key))
    any_text = any(isinstance(feature.values, np.ndarray) for feature in features)
    for feature, index in zip(features, picked, strict=True):
        values = _fingerprints(_as_text(feature.values)).to(rows.device) if any_text else feature.values
        hashes = _fingerprint_cat(hashes, values[index])
    values = _unsigned_remainder(hashes, num_buckets or _LARGEST)
    return torch.sparse_coo_tensor(
        torch.stack([rows, columns]), values, (rows_of[0], widest), is_coalesced=True, check_invariants=False
    )


def _is_sparse(given: Any) -> bool:
    return isinstance(given, SparseStrings) or (isinstance(given, torch.Tensor) and given.is_sparse)


def _feature(given: Any) -> _Feature:
    if isinstance(given, SparseStrings):
        rows = torch.as_tensor(given.indices)[:, 0]
        return _Feature(np.asarray(given.values), torch.bincount(rows, minlength=given.dense_shape[0]), None)
    if not isinstance(given, torch.Tensor) and (not isinstance(given, np.ndarray) or given.dtype.kind not in "UO"):
        raise TypeError(
            "sparse_feature_cross: a feature is a tensor of whole numbers, an array of strings or `SparseStrings`. "
            f"Got {type(given).__name__}."
        )
    if given.ndim != 2:
        raise ValueError(f"sparse_feature_cross: a feature must be a matrix [B, C]. Got shape {tuple(given.shape)}.")
    if isinstance(given, torch.Tensor):
        if given.is_floating_point() or given.is_complex():
            raise TypeError(f"sparse_feature_cross: a feature must be of whole numbers. Got {given.dtype}.")
        if given.is_sparse:
            if given.is_meta:
                raise ValueError(
                    f"sparse_feature_cross: how many crosses a sparse Symbol has depends on its values. Got {given!r}. "
                    "Cross it where the data is read, or in an `nn.Module` of your own."
                )
            given = given.coalesce()
            counts = torch.bincount(given.indices()[0], minlength=given.shape[0])
            return _Feature(given.values().long(), counts, None)
    device = given.device if isinstance(given, torch.Tensor) else None
    counts = torch.full(given.shape[:1], given.shape[1], dtype=torch.int64, device=device)
    values = given.flatten().long() if isinstance(given, torch.Tensor) else given.flatten()
    return _Feature(values, counts, given.shape[1])


def _combinations(
    features: list[_Feature], total: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Row and column of each cross, and for each feature where in its values the cross takes its part."""
    columns_of = [feature.columns for feature in features if feature.columns is not None]
    # Where all are dense, the size is known: nothing waits for the device, and meta tensors will do.
    size = len(total) * math.prod(columns_of) if len(columns_of) == len(features) else None
    rows = torch.repeat_interleave(torch.arange(len(total), device=total.device), total, output_size=size)
    columns = torch.arange(len(rows), device=total.device) - (total.cumsum(0) - total)[rows]
    picked, rest = [], columns
    for feature in reversed(features):
        start, count = feature.counts.cumsum(0) - feature.counts, feature.counts[rows]
        picked.append(start[rows] + rest % count)
        rest = rest // count
    return rows, columns, picked[::-1]


def _widest(features: list[_Feature], total: torch.Tensor) -> int:
    columns_of = [feature.columns for feature in features if feature.columns is not None]
    if len(columns_of) == len(features):
        return math.prod(columns_of)
    return int(total.max()) if len(total) else 0


def _as_text(values: torch.Tensor | np.ndarray) -> np.ndarray:
    return (values.numpy(force=True) if isinstance(values, torch.Tensor) else values).astype(np.str_)


def _fingerprints(texts: np.ndarray) -> torch.Tensor:
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
    return torch.tensor([int.from_bytes(digest, "little", signed=True) for digest in digests], dtype=torch.int64)


def _signed(number: int) -> int:
    """The int64 with the bits of a number modulo 2**64."""
    return (number + 2**63) % 2**64 - 2**63


def _fingerprint_cat(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """TensorFlow's FingerprintCat64 of two unsigned numbers, kept in int64: products wrap as theirs do."""
    result = (first ^ _MULTIPLIER) ^ (_shift_mix(second * _MULTIPLIER) * _MULTIPLIER)
    return _shift_mix(_shift_mix(result * _MULTIPLIER) * _MULTIPLIER)


def _shift_mix(number: torch.Tensor) -> torch.Tensor:
    return number ^ ((number >> 47) & 0x1FFFF)  # the shift of signed numbers copies the sign: only 17 bits are left


def _unsigned_remainder(number: torch.Tensor, divisor: int) -> torch.Tensor:
    """The remainder of int64s read as unsigned ones; nothing in between is larger than an int64."""
    low, high = (number & _LARGEST) % divisor, 2**63 % divisor
    wrapped = torch.where(low >= divisor - high, low - (divisor - high), low + high)
    return torch.where(number < 0, wrapped, low)
