"""The preprocessing that torchvision's ImageNet weights expect.

Values in 0..1, less ImageNet's mean colour, over its deviation. For fine-tuning from torchvision's weights
(`names='torchvision/vgg16'`); TF-Slim's weights expect `vgg_preprocessing`.
"""

# Shape letters: N pictures, H height, W width of the pictures given.
from __future__ import annotations

from typing import Any

import torch

from torchslim.preprocessing.image_ops import (
    Draws,
    Pair,
    beside,
    channels_first,
    channels_last,
    check_room,
    crop_offset,
    random_side,
    recorded,
)
from torchslim.preprocessing.resize import random_part

__all__ = ["RGB_DEVIATIONS", "RGB_MEANS", "preprocess_image"]

RGB_MEANS = (0.485, 0.456, 0.406)
RGB_DEVIATIONS = (0.229, 0.224, 0.225)


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
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Prepares pictures for a net with torchvision's weights.

    In evaluation it is what `torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms()` does. In training,
    the crops are those of `vgg_preprocessing`: they keep more of a photograph with several objects than
    torchvision's own.

    Args:
        image: RGB in 0..255, uint8 or float, `[3, H, W]` or `[N, 3, H, W]` (`[H, W, 3]` or `[N, H, W, 3]` for `NHWC`);
            or a Symbol of that.
        output_height: pixels.
        output_width: pixels.
        is_training: random size, place and mirroring; else the middle of the picture.
        resize_side_min: the shorter side before cropping, in pixels; in training the smallest one.
        resize_side_max: the largest shorter side before cropping in training; included.
        data_format: where the channels are, in and out.
        generator: where random numbers come from. Default: torch's own of the device.

    Returns:
        float32 `[..., 3, output_height, output_width]` (channels last for `NHWC`).

    Raises:
        ValueError: if `image` is no such picture, or may be smaller than the output after resizing.

    Example:
        >>> picture = torch.randint(0, 256, (3, 333, 500), dtype=torch.uint8)
        >>> preprocess_image(picture, 224, 224).shape
        torch.Size([3, 224, 224])
    """
    image = channels_first(image, data_format, "torchvision_preprocessing.preprocess_image")
    crop, shorter = (output_height, output_width), min(image.shape[-2:])
    smallest = [resize_side_min * length // shorter for length in image.shape[-2:]]
    check_room(smallest, crop)
    if is_training:
        draws = Draws(image, generator)
        side = random_side(draws, resize_side_min, resize_side_max)
        sides: list[Any] = [side * length // shorter for length in image.shape[-2:]]
        size: Pair = torch.stack(sides, -1) if isinstance(side, torch.Tensor) else (sides[0], sides[1])
        image = _random_part(image, size, crop, draws)
    else:
        image = _middle(image, smallest, crop)
    means, deviations = (beside(image, torch.tensor(c))[:, None, None] for c in (RGB_MEANS, RGB_DEVIATIONS))
    return channels_last((image / 255 - means) / deviations, data_format)


def _random_part(image: torch.Tensor, size: Pair, crop: tuple[int, int], draws: Draws) -> torch.Tensor:
    if image.ndim == 4:
        return random_part(image, size, crop, draws, "antialias")
    top, left = crop_offset(size, crop, draws)
    image = _resized(image, list(size))[:, top : top + crop[0], left : left + crop[1]]
    return image.flip(-1) if draws.coin() else image


def _middle(image: torch.Tensor, size: list[int], crop: tuple[int, int]) -> torch.Tensor:
    """The middle as torchvision has it, another one than TF-Slim's where the margin is odd."""
    top, left = (round((length - needed) / 2) for length, needed in zip(size, crop, strict=True))
    return _resized(image, size)[..., top : top + crop[0], left : left + crop[1]]


def _resized(image: torch.Tensor, size: list[int]) -> torch.Tensor:
    from torchvision.transforms.v2 import functional as F  # takes seconds: only who prepares pictures so waits for it

    return F.resize(image, size, antialias=True)
