"""Feeding a graph: batches of a data set as Symbols."""

from torchslim.data import (
    data_decoder,
    data_provider,
    dataset,
    dataset_data_provider,
    example,
    parallel_reader,
    prefetch_queue,
    tfexample_decoder,
)
from torchslim.data.batch import batch
from torchslim.data.data_provider import DataProvider
from torchslim.data.dataset import Dataset
from torchslim.data.dataset_data_provider import DatasetDataProvider
from torchslim.data.example import make_example, make_sequence_example
from torchslim.data.features import (
    FixedLenFeature,
    FixedLenSequenceFeature,
    SparseTensorValue,
    VarLenFeature,
    parse_single_example,
    parse_single_sequence_example,
)
from torchslim.data.images import decode_image
from torchslim.data.items import DataError
from torchslim.data.loader import Loader
from torchslim.data.parallel_reader import ParallelReader, get_data_files, parallel_read, single_pass_read
from torchslim.data.prefetch import prefetch_to_device
from torchslim.data.record_format import DamagedRecordError
from torchslim.data.record_writer import RecordWriter
from torchslim.data.records import Record, RecordReader
from torchslim.queues import StalledError

TFRecordReader = RecordReader  # as a data set's `reader`

__all__ = [
    "DamagedRecordError",
    "DataError",
    "DataProvider",
    "Dataset",
    "DatasetDataProvider",
    "FixedLenFeature",
    "FixedLenSequenceFeature",
    "Loader",
    "ParallelReader",
    "Record",
    "RecordReader",
    "RecordWriter",
    "SparseTensorValue",
    "StalledError",
    "TFRecordReader",
    "VarLenFeature",
    "batch",
    "data_decoder",
    "data_provider",
    "dataset",
    "dataset_data_provider",
    "decode_image",
    "example",
    "get_data_files",
    "make_example",
    "make_sequence_example",
    "parallel_read",
    "parallel_reader",
    "parse_single_example",
    "parse_single_sequence_example",
    "prefetch_queue",
    "prefetch_to_device",
    "single_pass_read",
    "tfexample_decoder",
]
