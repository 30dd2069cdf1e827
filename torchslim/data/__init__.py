"""Feeding a graph: batches of a data set as Symbols."""

from torchslim.data.batch import batch
from torchslim.data.items import DataError
from torchslim.data.loader import Loader

__all__ = ["DataError", "Loader", "batch"]
