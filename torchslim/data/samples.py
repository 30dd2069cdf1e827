"""What batches are made of when Symbols of a sample are batched: the sample's items, and what is computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from torchslim.data.dataset import Dataset
from torchslim.data.dataset_data_provider import PROVIDER, DatasetDataProvider
from torchslim.data.items import to_tensor
from torchslim.data.parallel_reader import get_data_files
from torchslim.graph import Symbol
from torchslim.graph.symbol import needed_for

__all__ = ["ProvidedItems", "provided_items"]


class ProvidedItems(torch.utils.data.Dataset[tuple[torch.Tensor, ...]]):
    """What was computed from the Symbols of a provider, for each sample.

    Args:
        provider: gives the samples.
        items: of a sample, that `module` takes.
        module: what is computed.
    """

    def __init__(self, provider: DatasetDataProvider, items: list[str], module: nn.Module):
        self.samples, self.module = _samples(provider, items), module
        self.repeats = provider.num_epochs or 1
        self.name = repr(provider.dataset)

    def __len__(self) -> int:
        return len(self.samples) * self.repeats

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        values = [to_tensor(value) for value in self.samples[index % len(self.samples)]]
        with torch.no_grad():
            return self.module(*values)

    def __repr__(self) -> str:
        return self.name

    def locate(self, index: int) -> str | None:
        """Where the sample comes from."""
        return self.samples.locate(index % len(self.samples))


def provided_items(symbols: Sequence[Symbol]) -> tuple[ProvidedItems, DatasetDataProvider]:
    """What gives values to Symbols that were computed from those of a provider, sample by sample.

    Raises:
        ValueError: if they come from no provider or several, or variables take part.
        TypeError: if the reader of the data set gives no record by its number.
    """
    needed = _placeholders(symbols)
    sources = [node.meta[PROVIDER] for node in needed if PROVIDER in node.meta]
    if not needed or len(sources) < len(needed) or len({id(provider) for provider, _, _ in sources}) > 1:
        raise ValueError(
            "data.batch: Symbols must all be computed from the items of one provider (`provider.get([...])`). "
            f"Got {', '.join(map(repr, symbols))}, from {', '.join(node.name for node in needed) or 'nothing'}."
        )
    provider = sources[0][0]
    inputs = [symbol for _, _, symbol in sources]
    module = symbols[0].owner.module(tuple(symbols), inputs, initialize=False)
    variables = [name for name, _ in module.named_parameters()]
    if variables:
        raise ValueError(
            "data.batch: what is computed sample by sample must have no variables. "
            f"Got {', '.join(variables)}: apply layers to the batch."
        )
    return ProvidedItems(provider, [item for _, item, _ in sources], module.eval()), provider


def _samples(provider: DatasetDataProvider, items: list[str]) -> _Picked | _Decoded:
    dataset = provider.dataset
    if not isinstance(dataset, Dataset):
        names = list(dataset.items_to_descriptions)
        return _Picked(dataset, [names.index(item) for item in items])
    reader = dataset.reader(get_data_files(dataset.data_sources), **provider.reader_kwargs)
    if not (hasattr(reader, "__len__") and hasattr(reader, "__getitem__")):
        raise TypeError(
            "data.batch: the reader of a data set must have __len__ and __getitem__, as slim.data.RecordReader has. "
            f"Got {type(reader).__name__}: use `provider.iterate` with it."
        )
    return _Decoded(reader, dataset.decoder, items)


def _placeholders(symbols: Sequence[Symbol]) -> list[Any]:
    """The nodes of the placeholders that Symbols depend on, in the graph's order."""
    needed = needed_for(symbol.node for symbol in symbols)
    return [node for node in symbols[0].owner.fx_graph.nodes if node in needed and node.op == "placeholder"]


class _Picked:
    """Some fields of the items of a data set."""

    def __init__(self, dataset: Any, places: list[int]):
        self.dataset, self.places = dataset, places

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> list[Any]:
        item = self.dataset[index]
        return [item[place] for place in self.places]

    def locate(self, index: int) -> str | None:
        """The file, where the data set tells."""
        images = getattr(self.dataset, "images", None)
        return images[index] if images else None


class _Decoded:
    """Items of the records of a reader."""

    def __init__(self, reader: Any, decoder: Any, items: list[str]):
        self.reader, self.decoder, self.items = reader, decoder, items

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> list[Any]:
        return self.decoder.decode(self.reader[index], self.items)

    def locate(self, index: int) -> str | None:
        """The file, and the offset of the record in it."""
        if not hasattr(self.reader, "locate"):
            return None
        file, offset = self.reader.locate(index)
        return f"{file}, byte {offset}"
