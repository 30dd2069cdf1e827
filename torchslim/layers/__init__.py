"""Layers: small functions from what flows in, and hyper-parameters, to a module."""

from torchslim.layers import utils
from torchslim.layers.convolution import conv2d, convolution2d
from torchslim.layers.dense import fully_connected
from torchslim.layers.incoming import Incoming
from torchslim.layers.layer import is_layer, layer
from torchslim.layers.meta import repeat, stack
from torchslim.layers.normalization import batch_norm
from torchslim.layers.pooling import avg_pool2d, max_pool2d
from torchslim.layers.shape import dropout, flatten

# The layers that take a `data_format`: `with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format='NHWC'):`.
DATA_FORMAT_LAYERS = (avg_pool2d, batch_norm, convolution2d, max_pool2d)

__all__ = [
    "DATA_FORMAT_LAYERS",
    "Incoming",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "convolution2d",
    "dropout",
    "flatten",
    "fully_connected",
    "is_layer",
    "layer",
    "max_pool2d",
    "repeat",
    "stack",
    "utils",
]
