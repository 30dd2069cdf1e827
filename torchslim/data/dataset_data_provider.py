"""`DatasetDataProvider`: the items of a data set's samples as Symbols, or one sample after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from torchslim.data.data_provider import DataProvider
from torchslim.data.dataset import Dataset
from torchslim.data.items import DataError, to_tensor
from torchslim.data.parallel_reader import parallel_read
from torchslim.graph import Graph, Symbol, get_default_graph

__all__ = ["PROVIDER", "DatasetDataProvider"]

PROVIDER = "slim_provider"  # the key of `node.meta` that holds the provider of a placeholder, and the item
_PROBES = 4  # samples that are read to learn which sizes vary


class DatasetDataProvider(DataProvider):
    """Reads the samples of a data set.

    `get` gives Symbols of one sample. Functions are applied to them, preprocessing among them, and `slim.data.batch`
    makes batches of what comes out. `iterate` gives the samples themselves.

    Args:
        dataset: a `slim.data.Dataset`; or a data set as PyTorch knows it, with the names of an item's fields as its
            `items_to_descriptions` (those of `slim.datasets` have that).
        num_readers: how many files `iterate` reads at a time; if several, as many processes make the batches.
        reader_kwargs: further arguments of `dataset.reader`.
        shuffle: in a random order, another one in each pass. In batches it is one of all samples; `iterate` shuffles
            the files, and the records within the queue.
        num_epochs: `iterate`: how many passes there are, None: without end. In batches: how many passes over the data
            are one pass over the batches, None: one.
        common_queue_capacity: records that wait for `iterate`.
        common_queue_min: records that wait at least, to be shuffled.
        record_key: the item with where a record comes from, `'file:offset'` (for `iterate` only: it is no tensor).
        seed: of the order.
        timeout: `iterate`: seconds to wait for a record; None: as long as it takes, with warnings from 30 s on. For
            batches, `slim.data.batch` has its own.

    Raises:
        ValueError: if `record_key` is an item of the data set.
        TypeError: if `dataset` is no data set of named items.

    TF-Slim: the same arguments.

    Example:
        >>> import tempfile
        >>> from torchslim.datasets import PascalVOC, sample_voc
        >>> from torchslim.preprocessing import get_preprocessing
        >>> voc = PascalVOC(sample_voc.create(tempfile.mkdtemp(), num_images=6), 'train')
        >>> provider = DatasetDataProvider(voc, shuffle=False)
        >>> image, label = provider.get(['image', 'label'])
        >>> image = get_preprocessing('vgg_16', is_training=True)(image, 32, 32)
        >>> images, labels = slim.data.batch([image, label], batch_size=2)
        >>> images.shape, labels.shape
        ((None, 3, 32, 32), (None, 20))
    """

    def __init__(
        self,
        dataset: Any,
        num_readers: int = 1,
        reader_kwargs: dict[str, Any] | None = None,
        shuffle: bool = True,
        num_epochs: int | None = None,
        common_queue_capacity: int = 256,
        common_queue_min: int = 128,
        record_key: str = "record_key",
        seed: int | None = None,
        *,
        timeout: float | None = None,
    ):
        super().__init__({}, getattr(dataset, "num_samples", None) or _length(dataset))
        self.dataset, self.num_readers, self.reader_kwargs = dataset, num_readers, reader_kwargs or {}
        self.shuffle, self.num_epochs, self.seed = shuffle, num_epochs, seed
        self.record_key, self.timeout = record_key, timeout
        self._queue = {"capacity": common_queue_capacity, "min_after_dequeue": common_queue_min}
        self._is_decoded = isinstance(dataset, Dataset)
        if not self._is_decoded and not (hasattr(dataset, "items_to_descriptions") and hasattr(dataset, "__getitem__")):
            raise TypeError(
                "DatasetDataProvider: `dataset` must be a slim.data.Dataset, or have __getitem__ and "
                f"`items_to_descriptions`. Got {type(dataset).__name__}."
            )
        self._names = list(dataset.decoder.list_items() if self._is_decoded else dataset.items_to_descriptions)
        if record_key in self._names:
            raise ValueError(
                f"DatasetDataProvider: `record_key` must be no item of the data set. Got {record_key!r}: give another."
            )
        self._probes: list[dict[str, Any]] = []
        self._symbols: dict[tuple[Graph, str], Symbol] = {}

    def list_items(self) -> list[str]:
        """The names of all items."""
        return [*self._names, self.record_key]

    def get(self, items: Sequence[str]) -> list[Symbol]:
        """Returns Symbols of items, all of the same sample, whether they are asked for together or not.

        The first samples are read to learn shapes and dtypes: a size on which they differ is `None`.

        Raises:
            ValueError: if `items` is not a list or tuple of names that there are.
            TypeError: if one of them is no tensor.
        """
        self._validate_items(items)
        return [self._symbol(item) for item in items]

    def iterate(self, items: Sequence[str] | None = None) -> Iterator[tuple[Any, ...]]:
        """Gives items of one sample after the other, as they are decoded.

        Args:
            items: which ones; None: all of `list_items`.

        Raises:
            ValueError: if `items` is not a list or tuple of names that there are.
            DataError: for a record that cannot be read or decoded: it names file and offset.
            StalledError: if none comes in time.
        """
        names = self.list_items() if items is None else items
        self._validate_items(names)
        return self._iterate(names) if self._is_decoded else self._iterate_items(names)

    def _symbol(self, item: str) -> Symbol:
        graph = get_default_graph()
        if (graph, item) not in self._symbols:
            values = [self._probe_value(probe, item) for probe in self._probed()]
            shapes = [value.shape for value in values]
            if len({(len(shape), value.dtype) for shape, value in zip(shapes, values, strict=True)}) > 1:
                kinds = ", ".join(f"{value.dtype} {list(value.shape)}" for value in values)
                raise TypeError(f"DatasetDataProvider.get: item {item!r} must be alike in all samples. Got {kinds}.")
            sizes = [set(axis) for axis in zip(*shapes, strict=True)]
            shape = [size.pop() if len(size) == 1 else None for size in sizes]
            symbol = graph.placeholder(shape, values[0].dtype, f"{item}_of_sample")
            symbol.node.meta[PROVIDER] = (self, item, symbol)
            self._symbols[graph, item] = symbol
        return self._symbols[graph, item]

    def _probed(self) -> list[dict[str, Any]]:
        if not self._probes:
            once = DatasetDataProvider(
                self.dataset, reader_kwargs=self.reader_kwargs, shuffle=False, num_epochs=1, record_key=self.record_key
            )
            names = once.list_items()
            self._probes = [dict(zip(names, v, strict=True)) for v in itertools.islice(once.iterate(), _PROBES)]
        return self._probes

    def _probe_value(self, probe: dict[str, Any], item: str) -> torch.Tensor:
        try:
            return to_tensor(probe[item])
        except TypeError as error:
            raise TypeError(
                f"DatasetDataProvider.get: `items` must be tensors or numbers. Got {item!r}, which is "
                f"{type(probe[item]).__name__}: `provider.iterate([{item!r}])` gives it."
            ) from error

    def _iterate(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        decoder, wanted = self.dataset.decoder, [name for name in names if name != self.record_key]
        records = parallel_read(
            self.dataset.data_sources,
            self.dataset.reader,
            self.num_epochs,
            self.num_readers,
            self.reader_kwargs,
            self.shuffle,
            seed=self.seed,
            timeout=self.timeout,
            **self._queue,
        )
        for key, data in records:
            try:
                values = dict(zip(wanted, decoder.decode(data, wanted), strict=True))
            except Exception as error:
                raise DataError(
                    f"DatasetDataProvider: record {key!r} failed. {type(error).__name__}: {error}"
                ) from error
            yield tuple((values | {self.record_key: key})[name] for name in names)

    def _iterate_items(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        generator = np.random.default_rng(self.seed)
        size = len(self.dataset)
        for _ in itertools.count() if self.num_epochs is None else range(self.num_epochs):
            for index in generator.permutation(size).tolist() if self.shuffle else range(size):
                values = dict(zip(self._names, self.dataset[index], strict=False))
                yield tuple((values | {self.record_key: str(index)})[name] for name in names)


def _length(dataset: Any) -> int | None:
    return len(dataset) if hasattr(dataset, "__len__") else None
