"""The preprocessing that torchvision's ImageNet weights expect.

Values in 0..1, less ImageNet's mean colour, over its deviation. For fine-tuning from torchvision's weights
(`names='torchvision/vgg16'`); TF-Slim's weights expect `vgg_preprocessing`.
"""

# Shape letters: H height, W width of the picture given.
from __future__ import annotations

import torch
from torchvision.transforms.v2 import functional as F

from torchslim.preprocessing.image_ops import channels_first, crop_offset, random_flip, random_side, recorded

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
) -> torch.Tensor:
    """Prepares a picture for a net with torchvision's weights.

    In evaluation it is what `torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms()` does. In training,
    the crops are those of `vgg_preprocessing`: they keep more of a photograph with several objects than
    torchvision's own.

    Args:
        image: RGB in 0..255, uint8 or float, `[3, H, W]` (`[H, W, 3]` for `NHWC`).
        output_height: pixels.
        output_width: pixels.
        is_training: random size, place and mirroring; else the middle of the picture.
        resize_side_min: the shorter side before cropping, in pixels; in training the smallest one.
        resize_side_max: the largest shorter side before cropping in training; included.
        data_format: where the channels are, in and out.

    Returns:
        float32 `[3, output_height, output_width]` (`[output_height, output_width, 3]` for `NHWC`).

    Raises:
        ValueError: if `image` is no such picture, or smaller than the output after resizing.

    Example:
        >>> picture = torch.randint(0, 256, (3, 333, 500), dtype=torch.uint8)
        >>> preprocess_image(picture, 224, 224).shape
        torch.Size([3, 224, 224])
    """
    image = channels_first(image, data_format, "torchvision_preprocessing.preprocess_image")
    side = random_side(resize_side_min, resize_side_max) if is_training else resize_side_min
    image = F.resize(image, [side], antialias=True)
    crop = output_height, output_width
    offset = crop_offset((image.shape[1], image.shape[2]), crop, is_training)
    # torchvision's middle is another one where the margin is odd.
    image = F.crop(image, *offset, *crop) if is_training else F.center_crop(image, list(crop))
    image = image.float() / 255
    image = random_flip(image) if is_training else image
    image = F.normalize(image, list(RGB_MEANS), list(RGB_DEVIATIONS))
    return image if data_format == "NCHW" else image.permute(1, 2, 0)
