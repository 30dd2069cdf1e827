"""What a data set of records is: files, how they are read, how records are decoded, and what is in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Dataset"]


class Dataset:
    """Describes a data set; `DatasetDataProvider` reads it.

    Args:
        data_sources: files or patterns of them (`'train-*'`).
        reader: a class, called with the files: `slim.data.RecordReader`, or another one that iterates over bytes.
        decoder: makes items of a record: has `list_items()` and `decode(record, items)`, as `TFExampleDecoder` has.
        num_samples: how many records there are, or None.
        items_to_descriptions: what each item is, in words.
        kwargs: further attributes, such as `num_classes` and `labels_to_names`.

    TF-Slim: the same attributes.

    Example:
        >>> from torchslim.data import Dataset, RecordReader
        >>> dataset = Dataset(['train-*'], RecordReader, None, 120, {'image': 'A photograph.'}, num_classes=5)
        >>> dataset.num_samples, dataset.num_classes
        (120, 5)
    """

    data_sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    reader: Callable[..., Any]
    decoder: Any
    num_samples: int | None
    items_to_descriptions: Mapping[str, str]

    def __init__(
        self,
        data_sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        reader: Callable[..., Any],
        decoder: Any,
        num_samples: int | None,
        items_to_descriptions: Mapping[str, str],
        **kwargs: Any,
    ):
        self.__dict__.update(
            kwargs,
            data_sources=data_sources,
            reader=reader,
            decoder=decoder,
            num_samples=num_samples,
            items_to_descriptions=items_to_descriptions,
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"Dataset: there is no {name!r} in it. It has {', '.join(self.__dict__)}.")

    def __repr__(self) -> str:
        return f"Dataset({self.data_sources!r})"
