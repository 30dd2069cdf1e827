"""`slim.data.batch`: the data set's items as Symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch.utils.data import Dataset

from torchslim.data.loader import Loader
from torchslim.data.samples import provided_items
from torchslim.graph import Symbol, get_default_graph

__all__ = ["batch"]


def batch(
    dataset: Dataset[Any] | Sequence[Any] | Symbol | Mapping[str, Symbol],
    batch_size: int,
    *,
    num_workers: int | None = None,
    shuffle: bool | None = None,
    drop_last: bool = False,
    seed: int | None = None,
    pin_memory: bool | str = "auto",
    names: Sequence[str] | None = None,
    dynamic_pad: bool = False,
    timeout: float | None = None,
) -> Any:
    """Gives the items of a data set to the graph, in batches.

    The loops pull the batches: `learning.train` makes as many passes as it needs, an evaluation exactly one,
    with the last, smaller batch kept (unless `drop_last`). See `data.Loader` for how items are made.

    Args:
        dataset: `len(dataset)` items; an item is a tensor or a tuple (list) of tensors, arrays and numbers,
            alike in shape and dtype. Item 0 is read at once: the Symbols have its shapes and dtypes. Or Symbols of one
            sample, a list or dict of them, from `DatasetDataProvider.get` or computed from such: each sample is read
            and computed on its own, where items are made.
        batch_size: items in a batch.
        num_workers: processes that make items; 0: this one. Default: 0, or for Symbols the provider's
            `num_readers` if these are several.
        shuffle: a new random order in every pass; for training. Default: False, or as the provider has it.
        drop_last: leave out the last batch if it is smaller.
        seed: of order and random items; None: the provider's or a random one, from torch's generator.
        pin_memory: batches in page-locked memory; 'auto': where there is CUDA.
        names: of the placeholders, one for each field of an item.
        dynamic_pad: items may differ in size: zeros are added behind, up to the largest of a batch.
        timeout: seconds to wait for a batch from the workers; None: as long as it takes (see `Loader`).

    Returns:
        A Symbol for each field of an item, the batch being the first dimension: a tuple of them, a dict if a dict of
        Symbols was given, a single one for a single one.

    Raises:
        TypeError: if `dataset` or its items are of another kind.
        ValueError: if there would be no batch, `names` are not as many as fields, or Symbols are not of one
            provider or not of known sizes.
        DataError: for an item that fails or is unlike item 0 (while iterating); the original error is its
            cause.
        StalledError: while iterating, if no batch came in time.

    TF-Slim: takes the place of `tf.train.batch` and its queues; also of `slim.dataset_data_provider`, where a data set
    is given at once.

    Example:
        >>> import torchslim as slim
        >>> from torchslim.datasets import SampleShapes
        >>> with slim.Graph():
        ...     images, labels = slim.data.batch(SampleShapes(100, size=32), batch_size=8)
        >>> images.shape, labels.dtype
        ((None, 3, 32, 32), torch.int64)
    """
    options: dict[str, Any] = {
        "drop_last": drop_last,
        "pin_memory": pin_memory,
        "dynamic_pad": dynamic_pad,
        "timeout": timeout,
    }
    symbols = _symbols_of(dataset)
    if not symbols:
        source = cast(Dataset[Any], dataset)
        loader = Loader(source, batch_size, num_workers=num_workers or 0, shuffle=bool(shuffle), seed=seed, **options)
        shapes = [(None,) * len(f.shape) if dynamic_pad else f.shape for f in loader.fields]
        return _feed(loader, shapes, names)
    unknown = [symbol for symbol in symbols if None in symbol.shape]
    if unknown and not dynamic_pad:
        raise ValueError(
            "data.batch: Symbols of a sample must have known sizes. "
            f"Got {unknown[0]!r}: resize or crop it (`slim.preprocessing`), or pass dynamic_pad=True."
        )
    items, provider = provided_items(symbols)
    loader = Loader(
        items,
        batch_size,
        num_workers=(provider.num_readers if provider.num_readers > 1 else 0) if num_workers is None else num_workers,
        shuffle=provider.shuffle if shuffle is None else shuffle,
        seed=provider.seed if seed is None else seed,
        **options,
    )
    batches = _feed(loader, [symbol.shape for symbol in symbols], names)
    if isinstance(dataset, Mapping):
        return dict(zip(dataset, batches, strict=True))
    return batches[0] if isinstance(dataset, Symbol) else batches


def _symbols_of(dataset: Any) -> list[Symbol]:
    """The Symbols that are to be batched, if it is such that were given."""
    if isinstance(dataset, Symbol):
        return [dataset]
    values = list(dataset.values()) if isinstance(dataset, Mapping) else dataset
    is_list = isinstance(values, list | tuple) and bool(values) and isinstance(values[0], Symbol)
    return list(values) if is_list else []


def _feed(loader: Loader, shapes: Sequence[Sequence[int | None]], names: Sequence[str] | None) -> tuple[Symbol, ...]:
    """New placeholders that the loader fills."""
    graph, fields = get_default_graph(), loader.fields
    if names is not None and len(names) != len(fields):
        raise ValueError(
            f"data.batch: `names` must be as many as the fields of an item, {len(fields)}. Got {list(names)}."
        )
    symbols = tuple(
        graph.placeholder((None, *shape), field.dtype, names[place] if names else None)
        for place, (shape, field) in enumerate(zip(shapes, fields, strict=True))
    )
    graph.add_feed(loader, symbols)
    return symbols
