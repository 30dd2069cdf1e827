"""The preprocessing of CifarNet, as in TF-Slim's research/slim/preprocessing: no scaling, colours standardized."""

# Shape letters: N pictures, C channels (3, or 1 for gray), H height, W width of the picture given.
from __future__ import annotations

import torch
from torch.nn import functional

from torchslim.preprocessing.color import adjust_brightness, adjust_contrast, rgb_to_grayscale
from torchslim.preprocessing.image_ops import (
    Draws,
    channels_first,
    channels_last,
    check_room,
    no_image_summaries,
    per_image_standardization,
    recorded,
    resize_image_with_crop_or_pad,
)
from torchslim.preprocessing.resize import random_part

__all__ = ["preprocess_for_eval", "preprocess_for_train", "preprocess_image"]


@recorded
def preprocess_image(
    image: torch.Tensor,
    output_height: int,
    output_width: int,
    is_training: bool = False,
    add_image_summaries: bool = False,
    use_grayscale: bool = False,
    *,
    data_format: str = "NCHW",
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Prepares pictures for CifarNet.

    Args:
        image: in 0..255, uint8 or float, `[C, H, W]` or `[N, C, H, W]` (`[H, W, C]` or `[N, H, W, C]` for `NHWC`); or a
            Symbol of that.
        output_height: pixels.
        output_width: pixels.
        is_training: a random part, mirrored, with other brightness and contrast; else the middle of the picture.
        add_image_summaries: no; see below.
        use_grayscale: the result has one channel.
        data_format: where the channels are, in and out.
        generator: where random numbers come from. Default: torch's own of the device.

    Returns:
        float32, each picture with mean 0 and deviation 1. In training it is `output_height` high; in evaluation, as
        TF-Slim has it, `output_width` high and `output_height` wide.

    Raises:
        ValueError: if `image` is no such picture, or too small to crop in training; or summaries are asked for.

    TF-Slim: the same numbers for evaluation, the swapped sides included; the same distribution for training. It adds
    image summaries; here, use `slim.summaries` on the batch.

    Example:
        >>> preprocess_image(torch.randint(0, 256, (3, 32, 32)), 24, 28).shape
        torch.Size([3, 28, 24])
    """
    image = channels_first(image, data_format, "cifarnet_preprocessing.preprocess_image", (1, 3))
    options = {"add_image_summaries": add_image_summaries, "use_grayscale": use_grayscale}
    if is_training:
        image = preprocess_for_train(image, output_height, output_width, **options, generator=generator)
    else:
        image = preprocess_for_eval(image, output_height, output_width, **options)
    return channels_last(image, data_format)


def preprocess_for_train(
    image: torch.Tensor,
    output_height: int,
    output_width: int,
    padding: int = 4,
    add_image_summaries: bool = False,
    use_grayscale: bool = False,
    *,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """A random part of pictures `[..., C, H, W]` with a black margin, mirrored half of the time.

    Args:
        image: in 0..255, uint8 or float.
        output_height: pixels.
        output_width: pixels.
        padding: of the margin, in pixels.
        add_image_summaries: no.
        use_grayscale: the result has one channel.
        generator: where random numbers come from.

    Raises:
        ValueError: if a picture with its margin is smaller than the output.
    """
    no_image_summaries(add_image_summaries, "cifarnet_preprocessing.preprocess_for_train")
    image, crop = functional.pad(_to_float(image, use_grayscale), [padding] * 4), (output_height, output_width)
    size, draws = (image.shape[-2], image.shape[-1]), Draws(image, generator)
    check_room(size, crop)
    image = random_part(image, size, crop, draws, "nearest")
    image = adjust_contrast(adjust_brightness(image, draws.amount(-63, 63)), draws.amount(0.2, 1.8))
    return per_image_standardization(image)


def preprocess_for_eval(
    image: torch.Tensor,
    output_height: int,
    output_width: int,
    add_image_summaries: bool = False,
    use_grayscale: bool = False,
) -> torch.Tensor:
    """The middle of pictures `[..., C, H, W]`, `output_width` high as in TF-Slim; see `preprocess_image`."""
    no_image_summaries(add_image_summaries, "cifarnet_preprocessing.preprocess_for_eval")
    image = resize_image_with_crop_or_pad(_to_float(image, use_grayscale), output_width, output_height)
    return per_image_standardization(image)


def _to_float(image: torch.Tensor, use_grayscale: bool) -> torch.Tensor:
    return rgb_to_grayscale(image.float()) if use_grayscale else image.float()
