"""What is done to a picture before a net sees it."""

from torchslim.preprocessing import torchvision_preprocessing, vgg_preprocessing
from torchslim.preprocessing.preprocessing_factory import get_preprocessing

__all__ = ["get_preprocessing", "torchvision_preprocessing", "vgg_preprocessing"]
