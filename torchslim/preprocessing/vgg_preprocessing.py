"""VGG's preprocessing (arXiv:1409.1556, section 3), as in TF-Slim's research/slim/preprocessing.

The picture is resized so that its shorter side has a given length, cropped, and the mean colour of ImageNet
is subtracted. ResNet v1 and v2 of TF-Slim use the same.
"""

# Shape letters: N pictures, H height, W width of the pictures given.
from __future__ import annotations

import torch

from torchslim.preprocessing.image_ops import (
    Draws,
    beside,
    channels_first,
    channels_last,
    check_room,
    crop_offset,
    random_side,
    recorded,
    size_with_shorter_side,
)
from torchslim.preprocessing.resize import random_part, resize_part

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
    use_grayscale: bool = False,
    *,
    data_format: str = "NCHW",
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Prepares pictures for VGG.

    `functools.partial(preprocess_image, output_height=224, output_width=224)` is a `transform` for data sets.

    Args:
        image: RGB in 0..255, uint8 or float, `[3, H, W]` or `[N, 3, H, W]` (`[H, W, 3]` or `[N, H, W, 3]` for `NHWC`);
            or a Symbol of that.
        output_height: pixels.
        output_width: pixels.
        is_training: random size, place and mirroring; else the middle of the picture.
        resize_side_min: the shorter side before cropping, in pixels; in training the smallest one.
        resize_side_max: the largest shorter side before cropping in training; included.
        use_grayscale: no: as in TF-Slim, there are three means to subtract.
        data_format: where the channels are, in and out.
        generator: where random numbers come from. Default: torch's own of the device.

    Returns:
        float32 `[..., 3, output_height, output_width]` (channels last for `NHWC`), zero for the mean colour.

    Raises:
        ValueError: if `image` is no such picture, or may be smaller than the output after resizing; or gray is asked
            for.

    TF-Slim: the same numbers for evaluation; for training the same distribution.

    Example:
        >>> picture = torch.randint(0, 256, (3, 333, 500), dtype=torch.uint8)
        >>> preprocess_image(picture, 224, 224).shape
        torch.Size([3, 224, 224])
    """
    image = channels_first(image, data_format, "vgg_preprocessing.preprocess_image")
    crop = output_height, output_width
    if is_training:
        sides = resize_side_min, resize_side_max
        image = preprocess_for_train(image, *crop, *sides, use_grayscale, generator=generator)
    else:
        image = preprocess_for_eval(image, *crop, resize_side_min, use_grayscale)
    return channels_last(image, data_format)


def preprocess_for_train(
    image: torch.Tensor,
    output_height: int,
    output_width: int,
    resize_side_min: int = 256,
    resize_side_max: int = 512,
    use_grayscale: bool = False,
    *,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """A random crop of randomly resized pictures `[..., 3, H, W]`, mirrored half of the time.

    Args:
        image: RGB in 0..255, uint8 or float.
        output_height: pixels.
        output_width: pixels.
        resize_side_min: the smallest shorter side before cropping, in pixels.
        resize_side_max: the largest one, included.
        use_grayscale: no.
        generator: where random numbers come from.

    Raises:
        ValueError: if the sides are not in order, or a resized picture may be smaller than the output.
    """
    draws, crop = Draws(image, generator), (output_height, output_width)
    side = random_side(draws, resize_side_min, resize_side_max)
    check_room(image.shape[-2:], crop, resize_side_min)
    size = size_with_shorter_side(image.shape[-2], image.shape[-1], side)
    return _less_mean(random_part(image, size, crop, draws), use_grayscale)


def preprocess_for_eval(
    image: torch.Tensor,
    output_height: int,
    output_width: int,
    resize_side: int = 256,
    use_grayscale: bool = False,
) -> torch.Tensor:
    """The middle of resized pictures `[..., 3, H, W]`; see `preprocess_image`.

    Args:
        image: RGB in 0..255, uint8 or float.
        output_height: pixels.
        output_width: pixels.
        resize_side: the shorter side before cropping, in pixels.
        use_grayscale: no.

    Raises:
        ValueError: if a resized picture is smaller than the output.
    """
    crop = output_height, output_width
    check_room(image.shape[-2:], crop, resize_side)
    size = size_with_shorter_side(image.shape[-2], image.shape[-1], resize_side)
    return _less_mean(resize_part(image, *crop, size=size, offset=crop_offset(size, crop)), use_grayscale)


def _less_mean(image: torch.Tensor, use_grayscale: bool) -> torch.Tensor:
    if use_grayscale:
        raise ValueError(
            f"vgg_preprocessing: `use_grayscale` must be False: three means are subtracted. Got {use_grayscale!r}."
        )
    return image.sub_(beside(image, torch.tensor(RGB_MEANS))[:, None, None])
