"""Finds a net's preprocessing by name, as TF-Slim's research/slim/preprocessing/preprocessing_factory.py."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable

import torch

from torchslim.preprocessing import (
    cifarnet_preprocessing,
    cyclegan_preprocessing,
    inception_preprocessing,
    lenet_preprocessing,
    torchvision_preprocessing,
    vgg_preprocessing,
)

__all__ = ["PREPROCESSING", "get_preprocessing"]

_NETS = {
    cifarnet_preprocessing: ("cifarnet",),
    cyclegan_preprocessing: ("cyclegan", "pix2pix"),
    inception_preprocessing: (
        *("inception", "inception_v1", "inception_v2", "inception_v3", "inception_v4", "inception_resnet_v2"),
        *("mobilenet_v1", "mobilenet_v1_075", "mobilenet_v1_050", "mobilenet_v1_025"),
        *("mobilenet_v2", "mobilenet_v2_035", "mobilenet_v2_140"),
        *("mobilenet_v3_small", "mobilenet_v3_large", "mobilenet_v3_small_minimalistic"),
        *("mobilenet_v3_large_minimalistic", "mobilenet_edgetpu", "mobilenet_edgetpu_075"),
        *("nasnet_mobile", "nasnet_large", "pnasnet_mobile", "pnasnet_large"),
    ),
    lenet_preprocessing: ("lenet",),
    torchvision_preprocessing: ("torchvision",),
    vgg_preprocessing: (
        *("resnet_v1_50", "resnet_v1_101", "resnet_v1_152", "resnet_v1_200"),
        *("resnet_v2_50", "resnet_v2_101", "resnet_v2_152", "resnet_v2_200"),
        *("vgg", "vgg_a", "vgg_16", "vgg_19"),
    ),
}
PREPROCESSING: dict[str, Callable[..., torch.Tensor]] = {
    name: module.preprocess_image for module, names in _NETS.items() for name in names
}


def get_preprocessing(name: str, is_training: bool = False, use_grayscale: bool = False) -> Callable[..., torch.Tensor]:
    """Returns the preprocessing that goes with a net.

    Args:
        name: the net's name (`'vgg_16'`), or `'torchvision'` for weights from there.
        is_training: with random size, place and mirroring.
        use_grayscale: the results have one channel; for CifarNet, LeNet and the nets with Inception's.

    Returns:
        `preprocessing_fn(image, output_height, output_width, **kwargs)`, which can be pickled for worker processes. It
        takes one picture, or a batch on any device, of which each picture has its own random numbers.

    Raises:
        ValueError: if there is none of that name.

    TF-Slim: the same names, and `'cyclegan'`, `'pix2pix'` and `'torchvision'`. As there, `resnet_v2_*` get VGG's,
    although the published ResNet v2 checkpoints were trained with Inception's: take `'inception'` for those.

    Example:
        >>> preprocess = get_preprocessing("vgg_16")
        >>> preprocess(torch.zeros(3, 300, 400), output_height=224, output_width=224).shape
        torch.Size([3, 224, 224])
    """
    if name not in PREPROCESSING:
        known, close = sorted(PREPROCESSING), difflib.get_close_matches(name, PREPROCESSING, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"get_preprocessing: `name` must be one of {', '.join(known)}. Got {name!r}.{hint}")
    gray = {"use_grayscale": True} if use_grayscale else {}
    return functools.partial(PREPROCESSING[name], is_training=is_training, **gray)
