"""What is done to a picture before a net sees it."""

from torchslim.preprocessing import (
    cifarnet_preprocessing,
    cyclegan_preprocessing,
    inception_preprocessing,
    lenet_preprocessing,
    torchvision_preprocessing,
    vgg_preprocessing,
)
from torchslim.preprocessing.bounding_boxes import sample_distorted_bounding_box
from torchslim.preprocessing.preprocessing_factory import get_preprocessing
from torchslim.preprocessing.resize import Resize, resize_images

__all__ = [
    "Resize",
    "cifarnet_preprocessing",
    "cyclegan_preprocessing",
    "get_preprocessing",
    "inception_preprocessing",
    "lenet_preprocessing",
    "resize_images",
    "sample_distorted_bounding_box",
    "torchvision_preprocessing",
    "vgg_preprocessing",
]
