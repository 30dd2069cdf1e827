"""Data sets: the usual ones, from their own files or from records, and drawn stand-ins that need no download."""

from torchslim.datasets import dataset_factory, dataset_utils, sample_voc
from torchslim.datasets.dataset_factory import get_dataset
from torchslim.datasets.image_folder import Flowers, ImageFolder, ImageNet
from torchslim.datasets.record_conversion import convert_image_folder, convert_voc
from torchslim.datasets.record_splits import cifar10, flowers, imagenet, mnist, pascal_voc, visualwakewords
from torchslim.datasets.sample_shapes import SampleShapes
from torchslim.datasets.small_images import CIFAR10, MNIST
from torchslim.datasets.voc import CLASS_NAMES, PascalVOC, VOCObject

__all__ = [
    "CIFAR10",
    "CLASS_NAMES",
    "MNIST",
    "Flowers",
    "ImageFolder",
    "ImageNet",
    "PascalVOC",
    "SampleShapes",
    "VOCObject",
    "cifar10",
    "convert_image_folder",
    "convert_voc",
    "dataset_factory",
    "dataset_utils",
    "flowers",
    "get_dataset",
    "imagenet",
    "mnist",
    "pascal_voc",
    "sample_voc",
    "visualwakewords",
]
