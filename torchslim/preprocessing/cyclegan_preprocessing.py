"""The preprocessing of CycleGAN (arXiv:1703.10593) and pix2pix (arXiv:1611.07004): pictures in, pictures out, in -1..1.

In evaluation it is that of TF-Slim's research/gan/cyclegan; in training, the random jitter of the two papers.
"""

# Shape letters: N pictures, C channels, H height, W width of the pictures given.
from __future__ import annotations

import torch

from torchslim.preprocessing.image_ops import (
    Draws,
    channels_first,
    channels_last,
    check_room,
    recorded,
    resize_image_with_crop_or_pad,
)
from torchslim.preprocessing.resize import random_part, resize_images

__all__ = ["preprocess_image"]


@recorded
def preprocess_image(
    image: torch.Tensor,
    output_height: int,
    output_width: int,
    is_training: bool = False,
    enlargement: float = 286 / 256,
    crop_image: bool = True,
    *,
    data_format: str = "NCHW",
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Prepares pictures for a generator, or its discriminator.

    Args:
        image: in 0..255, uint8 or float, `[C, H, W]` or `[N, C, H, W]` (`[H, W, C]` or `[N, H, W, C]` for `NHWC`); or a
            Symbol of that. RGB; gray becomes RGB, and of RGBA the colours are taken. Six channels are a pair for
            pix2pix, one picture behind the other: both get the same part and direction.
        output_height: pixels.
        output_width: pixels.
        is_training: a random part of the picture that was made larger than the output, mirrored half of the time.
        enlargement: how much larger, 1 or more. Default: as the papers do, 286 pixels for an output of 256.
        crop_image: takes the middle of the output's shape first. False: the whole picture, stretched, as the papers do.
        data_format: where the channels are, in and out.
        generator: where random numbers come from. Default: torch's own of the device.

    Returns:
        float32 `[..., 3, output_height, output_width]` (channels last for `NHWC`) in -1..1; 6 channels for a pair.

    Raises:
        ValueError: if `image` is no such picture, or `enlargement` is less than 1.

    TF-Slim: the numbers of `data_provider.full_image_to_patch` for evaluation; that has no random part.

    Example:
        >>> preprocess_image(torch.full((3, 30, 40), 255, dtype=torch.uint8), 16, 16, is_training=True).max()
        tensor(1.)
    """
    image = channels_first(image, data_format, "cyclegan_preprocessing.preprocess_image", (1, 3, 4, 6))
    image = image.expand(*image.shape[:-3], 3, -1, -1) if image.shape[-3] == 1 else image
    image = image[..., :3, :, :] if image.shape[-3] == 4 else image
    if crop_image:
        height, width = image.shape[-2:]
        middle = height * output_width // output_height, width * output_height // output_width
        image = resize_image_with_crop_or_pad(image, min(height, middle[1]), min(width, middle[0]))
    if is_training:
        crop, draws = (output_height, output_width), Draws(image, generator)
        size = round(output_height * enlargement), round(output_width * enlargement)
        check_room(size, crop)
        image = random_part(image, size, crop, draws)
    else:
        image = resize_images(image, output_height, output_width)
    return channels_last((image - 127.5) / 127.5, data_format)
