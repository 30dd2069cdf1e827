"""VGG's preprocessing (arXiv:1409.1556, section 3), as in TF-Slim's research/slim/preprocessing.

The picture is resized so that its shorter side has a given length, cropped, and the mean colour of ImageNet
is subtracted. ResNet v1 and v2 of TF-Slim use the same. Random choices come from torch's default generator.
"""

# Shape letters: H height, W width of the picture given.
from __future__ import annotations

import torch

from torchslim.preprocessing.image_ops import (
    channels_first,
    crop_offset,
    random_flip,
    random_side,
    recorded,
    size_with_shorter_side,
)
from torchslim.preprocessing.resize import resize_images

__all__ = ["RGB_MEANS", "preprocess_for_eval", "preprocess_for_train", "preprocess_image"]

RGB_MEANS = (123.68, 116.78, 103.94)


@recorded
def preprocess_image(
    image: torch.Tensor,
    output_height: int,
    output_width: int,
    is_training: bool = False,
    resize_side_min: int = 256,
    resize_side_max: int = 512,
    *,
    data_format: str = "NCHW",
) -> torch.Tensor:
    """Prepares a picture for VGG.

    `functools.partial(preprocess_image, output_height=224, output_width=224)` is a `transform` for data sets.

    Args:
        image: RGB in 0..255, uint8 or float, `[3, H, W]` (`[H, W, 3]` for `NHWC`); or a Symbol of one.
        output_height: pixels.
        output_width: pixels.
        is_training: random size, place and mirroring; else the middle of the picture.
        resize_side_min: the shorter side before cropping, in pixels; in training the smallest one.
        resize_side_max: the largest shorter side before cropping in training; included.
        data_format: where the channels are, in and out.

    Returns:
        float32 `[3, output_height, output_width]` (`[output_height, output_width, 3]` for `NHWC`), zero for
        the mean colour.

    Raises:
        ValueError: if `image` is no such picture, or smaller than the output after resizing.

    TF-Slim: the same numbers for evaluation; for training the same distribution. `use_grayscale` is left out
    (it never worked there: one channel against three means).

    Example:
        >>> picture = torch.randint(0, 256, (3, 333, 500), dtype=torch.uint8)
        >>> preprocess_image(picture, 224, 224).shape
        torch.Size([3, 224, 224])
    """
    image = channels_first(image, data_format, "vgg_preprocessing.preprocess_image")
    if is_training:
        image = preprocess_for_train(image, output_height, output_width, resize_side_min, resize_side_max)
    else:
        image = preprocess_for_eval(image, output_height, output_width, resize_side_min)
    return image if data_format == "NCHW" else image.permute(1, 2, 0)


def preprocess_for_train(
    image: torch.Tensor,
    output_height: int,
    output_width: int,
    resize_side_min: int = 256,
    resize_side_max: int = 512,
) -> torch.Tensor:
    """A random crop of a randomly resized picture `[3, H, W]`, mirrored half of the time.

    Args:
        image: RGB in 0..255, uint8 or float.
        output_height: pixels.
        output_width: pixels.
        resize_side_min: the smallest shorter side before cropping, in pixels.
        resize_side_max: the largest one, included.

    Raises:
        ValueError: if the sides are not in order, or the resized picture is smaller than the output.
    """
    side = random_side(resize_side_min, resize_side_max)
    return random_flip(_resize_and_crop(image, side, (output_height, output_width), is_random=True))


def preprocess_for_eval(
    image: torch.Tensor, output_height: int, output_width: int, resize_side: int = 256
) -> torch.Tensor:
    """The middle of a resized picture `[3, H, W]`; see `preprocess_image`.

    Args:
        image: RGB in 0..255, uint8 or float.
        output_height: pixels.
        output_width: pixels.
        resize_side: the shorter side before cropping, in pixels.

    Raises:
        ValueError: if the resized picture is smaller than the output.
    """
    return _resize_and_crop(image, resize_side, (output_height, output_width), is_random=False)


def _resize_and_crop(image: torch.Tensor, side: int, crop: tuple[int, int], is_random: bool) -> torch.Tensor:
    """Resizes, but computes the crop only; subtracts the mean colour."""
    size = size_with_shorter_side(image.shape[1], image.shape[2], side)
    result = resize_images(image, *size, window=(*crop_offset(size, crop, is_random), *crop))
    return result.sub_(torch.tensor(RGB_MEANS, device=image.device)[:, None, None])
