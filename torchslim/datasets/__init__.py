"""Data sets: Pascal VOC, and drawn stand-ins that need no download."""

from torchslim.datasets import sample_voc
from torchslim.datasets.dataset_factory import get_dataset
from torchslim.datasets.pascal_voc import CLASS_NAMES, PascalVOC, VOCObject
from torchslim.datasets.sample_shapes import SampleShapes

__all__ = ["CLASS_NAMES", "PascalVOC", "SampleShapes", "VOCObject", "get_dataset", "sample_voc"]
