"""Finds a net's preprocessing by name, as TF-Slim's research/slim/preprocessing/preprocessing_factory.py."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable

import torch

from torchslim.preprocessing import torchvision_preprocessing, vgg_preprocessing

__all__ = ["PREPROCESSING", "get_preprocessing"]

PREPROCESSING: dict[str, Callable[..., torch.Tensor]] = {
    "torchvision": torchvision_preprocessing.preprocess_image,
    "vgg": vgg_preprocessing.preprocess_image,
    "vgg_16": vgg_preprocessing.preprocess_image,
    "vgg_19": vgg_preprocessing.preprocess_image,
    "vgg_a": vgg_preprocessing.preprocess_image,
}


def get_preprocessing(name: str, is_training: bool = False) -> Callable[..., torch.Tensor]:
    """Returns the preprocessing that goes with a net.

    Args:
        name: the net's name (`'vgg_16'`), or `'torchvision'` for weights from there.
        is_training: with random size, place and mirroring.

    Returns:
        `preprocessing_fn(image, output_height, output_width, **kwargs)`, which can be pickled for worker
        processes.

    Raises:
        ValueError: if there is none of that name.

    Example:
        >>> preprocess = get_preprocessing("vgg_16")
        >>> preprocess(torch.zeros(3, 300, 400), output_height=224, output_width=224).shape
        torch.Size([3, 224, 224])
    """
    if name not in PREPROCESSING:
        known, close = sorted(PREPROCESSING), difflib.get_close_matches(name, PREPROCESSING, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"get_preprocessing: `name` must be one of {', '.join(known)}. Got {name!r}.{hint}")
    return functools.partial(PREPROCESSING[name], is_training=is_training)
