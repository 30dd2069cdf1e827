"""The preprocessing of CifarNet, as in TF-Slim's research/slim/preprocessing: no scaling, colours standardized.

Random choices come from torch's default generator.
"""

# Shape letters: C channels (3, or 1 for gray), H height, W width of the picture given.
from __future__ import annotations

import torch
from torch.nn import functional

from torchslim.preprocessing.color import adjust_brightness, adjust_contrast, rgb_to_grayscale
from torchslim.preprocessing.image_ops import (
    channels_first,
    crop_offset,
    per_image_standardization,
    random_flip,
    recorded,
    resize_image_with_crop_or_pad,
    uniform,
)

__all__ = ["preprocess_for_eval", "preprocess_for_train", "preprocess_image"]


@recorded
def preprocess_image(
    image: torch.Tensor,
    output_height: int,
    output_width: int,
    is_training: bool = False,
    use_grayscale: bool = False,
    *,
    data_format: str = "NCHW",
) -> torch.Tensor:
    """Prepares a picture for CifarNet.

    Args:
        image: in 0..255, uint8 or float, `[C, H, W]` (`[H, W, C]` for `NHWC`); or a Symbol of one.
        output_height: pixels.
        output_width: pixels.
        is_training: a random part, mirrored, with other brightness and contrast; else the middle of the picture.
        use_grayscale: the result has one channel.
        data_format: where the channels are, in and out.

    Returns:
        float32 with mean 0 and deviation 1. In training it is `output_height` high; in evaluation, as TF-Slim has it,
        `output_width` high and `output_height` wide.

    Raises:
        ValueError: if `image` is no such picture, or too small to crop in training.

    TF-Slim: the same numbers for evaluation, the swapped sides included; the same distribution for training.
    `add_image_summaries` is left out: use `slim.summaries` on the batch.

    Example:
        >>> preprocess_image(torch.randint(0, 256, (3, 32, 32)), 24, 28).shape
        torch.Size([3, 28, 24])
    """
    image = channels_first(image, data_format, "cifarnet_preprocessing.preprocess_image", (1, 3))
    prepare = preprocess_for_train if is_training else preprocess_for_eval
    image = prepare(image, output_height, output_width, use_grayscale=use_grayscale)
    return image if data_format == "NCHW" else image.permute(1, 2, 0)


def preprocess_for_train(
    image: torch.Tensor, output_height: int, output_width: int, padding: int = 4, use_grayscale: bool = False
) -> torch.Tensor:
    """A random part of a picture `[C, H, W]` with a black margin, mirrored half of the time; see `preprocess_image`.

    Args:
        image: in 0..255, uint8 or float.
        output_height: pixels.
        output_width: pixels.
        padding: of the margin, in pixels.
        use_grayscale: the result has one channel.

    Raises:
        ValueError: if the picture with its margin is smaller than the output.
    """
    image = functional.pad(_to_float(image, use_grayscale), [padding] * 4)
    top, left = crop_offset((image.shape[-2], image.shape[-1]), (output_height, output_width), is_random=True)
    image = random_flip(image[:, top : top + output_height, left : left + output_width])
    image = adjust_contrast(adjust_brightness(image, uniform(-63, 63)), uniform(0.2, 1.8))
    return per_image_standardization(image)


def preprocess_for_eval(
    image: torch.Tensor, output_height: int, output_width: int, use_grayscale: bool = False
) -> torch.Tensor:
    """The middle of a picture `[C, H, W]`, `output_width` high as in TF-Slim; see `preprocess_image`."""
    image = resize_image_with_crop_or_pad(_to_float(image, use_grayscale), output_width, output_height)
    return per_image_standardization(image)


def _to_float(image: torch.Tensor, use_grayscale: bool) -> torch.Tensor:
    return rgb_to_grayscale(image.float()) if use_grayscale else image.float()
