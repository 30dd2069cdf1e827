"""`slim.data.batch`: the data set's items as Symbols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from torchslim.data.loader import Loader
from torchslim.graph import Symbol, get_default_graph

__all__ = ["batch"]


def batch(
    dataset: Dataset[Any] | Sequence[Any],
    batch_size: int,
    *,
    num_workers: int = 0,
    shuffle: bool = False,
    drop_last: bool = False,
    seed: int | None = None,
    pin_memory: bool | str = "auto",
    names: Sequence[str] | None = None,
) -> tuple[Symbol, ...]:
    """Gives the items of a data set to the graph, in batches.

    The loops pull the batches: `learning.train` makes as many passes as it needs, an evaluation exactly one,
    with the last, smaller batch kept (unless `drop_last`). See `data.Loader` for how items are made.

    Args:
        dataset: `len(dataset)` items; an item is a tensor or a tuple (list) of tensors, arrays and numbers,
            alike in shape and dtype. Item 0 is read at once: the Symbols have its shapes and dtypes.
        batch_size: items in a batch.
        num_workers: processes that make items; 0: this one.
        shuffle: a new random order in every pass; for training.
        drop_last: leave out the last batch if it is smaller.
        seed: of order and random items; None: a random one, from torch's generator.
        pin_memory: batches in page-locked memory; 'auto': where there is CUDA.
        names: of the placeholders, one for each field of an item.

    Returns:
        A Symbol for each field of an item, the batch being the first dimension.

    Raises:
        TypeError: if `dataset` or its items are of another kind.
        ValueError: if there would be no batch, or `names` are not as many as fields.
        DataError: for an item that fails or is unlike item 0 (while iterating); the original error is its
            cause.

    TF-Slim: takes the place of `slim.dataset_data_provider` with `tf.train.batch` and its queues.

    Example:
        >>> import torchslim as slim
        >>> from torchslim.datasets import SampleShapes
        >>> with slim.Graph():
        ...     images, labels = slim.data.batch(SampleShapes(100, size=32), batch_size=8)
        >>> images.shape, labels.dtype
        ((None, 3, 32, 32), torch.int64)
    """
    loader = Loader(
        dataset,
        batch_size,
        num_workers=num_workers,
        shuffle=shuffle,
        drop_last=drop_last,
        seed=seed,
        pin_memory=pin_memory,
    )
    graph, fields = get_default_graph(), loader.fields
    if names is not None and len(names) != len(fields):
        raise ValueError(
            f"data.batch: `names` must be as many as the fields of an item, {len(fields)}. Got {list(names)}."
        )
    symbols = tuple(
        graph.placeholder((None, *field.shape), field.dtype, names[place] if names else None)
        for place, field in enumerate(fields)
    )
    graph.add_feed(loader, symbols)
    return symbols
