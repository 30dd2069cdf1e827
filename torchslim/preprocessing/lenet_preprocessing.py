"""The preprocessing of LeNet, as in TF-Slim's research/slim/preprocessing: no scaling, values in -1..1."""

# Shape letters: N pictures, C channels (3, or 1 for gray), H height, W width of the pictures given.
from __future__ import annotations

import torch

from torchslim.preprocessing.color import rgb_to_grayscale
from torchslim.preprocessing.image_ops import channels_first, channels_last, recorded, resize_image_with_crop_or_pad

__all__ = ["preprocess_image"]


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
    """Prepares pictures for LeNet: their middle, in -1..1.

    Args:
        image: in 0..255, uint8 or float, `[C, H, W]` or `[N, C, H, W]` (`[H, W, C]` or `[N, H, W, C]` for `NHWC`); or a
            Symbol of that.
        output_height: pixels.
        output_width: pixels.
        is_training: makes no difference; there for `get_preprocessing`.
        use_grayscale: the result has one channel.
        data_format: where the channels are, in and out.

    Returns:
        float32 `[..., C, output_width, output_height]`: as TF-Slim has it, `output_width` is the height.

    Raises:
        ValueError: if `image` is no such picture.

    TF-Slim: the same numbers, the swapped sides included.

    Example:
        >>> preprocess_image(torch.full((1, 28, 28), 192, dtype=torch.uint8), 28, 28)[0, 0, 0]
        tensor(0.5000)
    """
    image = channels_first(image, data_format, "lenet_preprocessing.preprocess_image", (1, 3)).float()
    if use_grayscale:
        image = rgb_to_grayscale(image)
    image = (resize_image_with_crop_or_pad(image, output_width, output_height) - 128) / 128
    return channels_last(image, data_format)
