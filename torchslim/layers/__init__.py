"""Layers: small functions from what flows in, and hyper-parameters, to a module."""

from torchslim.layers import utils
from torchslim.layers.activations import maxout, poincare_normalize, scale_gradient, softmax, spatial_softmax
from torchslim.layers.bias import bias_add
from torchslim.layers.convolution import (
    conv1d,
    conv2d,
    conv3d,
    convolution,
    convolution1d,
    convolution2d,
    convolution3d,
)
from torchslim.layers.dense import elu, fully_connected, linear, relu, relu6
from torchslim.layers.divisive import GDN, gdn
from torchslim.layers.encoding import bucketize, dense_to_sparse, one_hot_encoding
from torchslim.layers.feature_cross import SparseStrings, sparse_feature_cross
from torchslim.layers.feature_normalization import group_norm, instance_norm, layer_norm, unit_norm
from torchslim.layers.incoming import Incoming
from torchslim.layers.layer import is_layer, layer
from torchslim.layers.legacy import legacy_fully_connected, legacy_linear, legacy_relu
from torchslim.layers.meta import repeat, stack
from torchslim.layers.normalization import batch_norm
from torchslim.layers.pooling import avg_pool2d, avg_pool3d, max_pool2d, max_pool3d, pool
from torchslim.layers.recompute import recompute_grad
from torchslim.layers.reversible import RevBlock, rev_block
from torchslim.layers.separable import (
    conv2d_in_plane,
    convolution2d_in_plane,
    separable_conv2d,
    separable_convolution2d,
)
from torchslim.layers.sequences import images_to_sequence, sequence_to_images
from torchslim.layers.shape import dropout, flatten
from torchslim.layers.transposed import (
    conv2d_transpose,
    conv3d_transpose,
    convolution2d_transpose,
    convolution3d_transpose,
)

# The layers that take a `data_format`: `with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format='NHWC'):`.
DATA_FORMAT_LAYERS = (
    avg_pool2d,
    avg_pool3d,
    batch_norm,
    bias_add,
    convolution,
    convolution1d,
    convolution2d,
    convolution2d_in_plane,
    convolution2d_transpose,
    convolution3d,
    convolution3d_transpose,
    images_to_sequence,
    max_pool2d,
    max_pool3d,
    maxout,
    pool,
    separable_convolution2d,
    softmax,
    spatial_softmax,
)

__all__ = [
    "DATA_FORMAT_LAYERS",
    "GDN",
    "Incoming",
    "RevBlock",
    "SparseStrings",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "bias_add",
    "bucketize",
    "conv1d",
    "conv2d",
    "conv2d_in_plane",
    "conv2d_transpose",
    "conv3d",
    "conv3d_transpose",
    "convolution",
    "convolution1d",
    "convolution2d",
    "convolution2d_in_plane",
    "convolution2d_transpose",
    "convolution3d",
    "convolution3d_transpose",
    "dense_to_sparse",
    "dropout",
    "elu",
    "flatten",
    "fully_connected",
    "gdn",
    "group_norm",
    "images_to_sequence",
    "instance_norm",
    "is_layer",
    "layer",
    "layer_norm",
    "legacy_fully_connected",
    "legacy_linear",
    "legacy_relu",
    "linear",
    "max_pool2d",
    "max_pool3d",
    "maxout",
    "one_hot_encoding",
    "poincare_normalize",
    "pool",
    "recompute_grad",
    "relu",
    "relu6",
    "repeat",
    "rev_block",
    "scale_gradient",
    "separable_conv2d",
    "separable_convolution2d",
    "sequence_to_images",
    "softmax",
    "sparse_feature_cross",
    "spatial_softmax",
    "stack",
    "unit_norm",
    "utils",
]
