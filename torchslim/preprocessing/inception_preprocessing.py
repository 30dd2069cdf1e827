"""Inception's preprocessing (arXiv:1409.4842, section 6), as in TF-Slim's research/slim/preprocessing.

Values end in -1..1. The MobileNets, NASNets and PNASNets of TF-Slim use the same.
"""

# Shape letters: N pictures, H height, W width of the pictures given; B boxes.
from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import torch

from torchslim.preprocessing.bounding_boxes import draw_parts, sample_distorted_bounding_box
from torchslim.preprocessing.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    convert_image_dtype,
    rgb_to_grayscale,
)
from torchslim.preprocessing.image_ops import Draws, channels_first, channels_last, choose, no_image_summaries, recorded
from torchslim.preprocessing.image_ops import central_crop as crop_center
from torchslim.preprocessing.resize import METHODS, resize_images, resize_part

__all__ = [
    "distort_color",
    "distorted_bounding_box_crop",
    "preprocess_for_eval",
    "preprocess_for_train",
    "preprocess_image",
]

_CHANGES = {  # and by how much
    "brightness": (adjust_brightness, -32 / 255, 32 / 255),
    "saturation": (adjust_saturation, 0.5, 1.5),
    "hue": (adjust_hue, -0.2, 0.2),
    "contrast": (adjust_contrast, 0.5, 1.5),
}
_ORDERS = (
    ("brightness", "saturation", "hue", "contrast"),
    ("saturation", "brightness", "contrast", "hue"),
    ("contrast", "hue", "brightness", "saturation"),
    ("hue", "saturation", "contrast", "brightness"),
)
_FAST_ORDERS = (("brightness", "saturation"), *[("saturation", "brightness")] * 3)


@recorded
def preprocess_image(
    image: torch.Tensor,
    output_height: int | None,
    output_width: int | None,
    is_training: bool = False,
    bbox: torch.Tensor | None = None,
    fast_mode: bool = True,
    add_image_summaries: bool = False,
    crop_image: bool = True,
    use_grayscale: bool = False,
    *,
    data_format: str = "NCHW",
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Prepares pictures for Inception.

    Args:
        image: RGB, integers up to their largest number or floats in 0..1, `[3, H, W]` or `[N, 3, H, W]` (`[H, W, 3]` or
            `[N, H, W, 3]` for `NHWC`); or a Symbol of that.
        output_height: pixels; None (with `output_width`, not in training): as large as the crop.
        output_width: pixels.
        is_training: a random part, stretched, mirrored and with other colours; else the middle of the picture.
        bbox: for training: where the objects are, `[..., 4]`, for a batch `[N, B, 4]` (zeros where there are fewer), as
            `(ymin, xmin, ymax, xmax)` in 0..1. Default: all of it.
        fast_mode: for training: bilinear resizing, and only brightness and saturation change.
        add_image_summaries: no; see below.
        crop_image: whether the picture is cropped.
        use_grayscale: the result has one channel.
        data_format: where the channels are, in and out.
        generator: where random numbers come from. Default: torch's own of the device.

    Returns:
        float32 `[..., 3, output_height, output_width]` (channels last for `NHWC`) in -1..1, or with one channel.

    Raises:
        ValueError: if `image` is no such picture, or summaries are asked for.

    TF-Slim: the same numbers for evaluation, the same distribution for training. It adds image summaries; here, use
    `slim.summaries` on the batch.

    Example:
        >>> picture = torch.randint(0, 256, (3, 333, 500), dtype=torch.uint8)
        >>> preprocess_image(picture, 299, 299).shape
        torch.Size([3, 299, 299])
    """
    image = channels_first(image, data_format, "inception_preprocessing.preprocess_image")
    if is_training:
        if output_height is None or output_width is None:
            raise ValueError(
                "inception_preprocessing.preprocess_image: training needs `output_height` and `output_width`. "
                f"Got {output_height} and {output_width}."
            )
        image = preprocess_for_train(
            *(image, output_height, output_width, bbox, fast_mode, add_image_summaries, crop_image, use_grayscale),
            generator=generator,
        )
    else:
        image = preprocess_for_eval(
            image, output_height, output_width, central_crop=crop_image, use_grayscale=use_grayscale
        )
    return channels_last(image, data_format)


def preprocess_for_train(
    image: torch.Tensor,
    height: int,
    width: int,
    bbox: torch.Tensor | None = None,
    fast_mode: bool = True,
    add_image_summaries: bool = False,
    random_crop: bool = True,
    use_grayscale: bool = False,
    *,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """A random part of pictures `[..., 3, H, W]`, stretched, mirrored half of the time, in other colours.

    Args:
        image: as in `preprocess_image`.
        height: pixels.
        width: pixels.
        bbox: as in `preprocess_image`.
        fast_mode: as in `preprocess_image`.
        add_image_summaries: no.
        random_crop: False: the whole picture.
        use_grayscale: as in `preprocess_image`.
        generator: as in `preprocess_image`.

    Returns:
        float32 `[..., 3, height, width]` or `[..., 1, height, width]` in -1..1.
    """
    no_image_summaries(add_image_summaries, "inception_preprocessing.preprocess_for_train")
    image, draws = convert_image_dtype(image, torch.float32), Draws(image, generator)
    part = draw_parts(draws, image.shape[-2:], bbox) if random_crop else None
    resize = functools.partial(resize_part, image, height, width, part=part, mirrored=draws.coin())
    methods, orders = (METHODS[:1], _FAST_ORDERS[:1]) if fast_mode else (METHODS, _ORDERS)
    image = choose(draws.below(len(methods)), [functools.partial(resize, method) for method in methods])
    amounts = _amounts(draws)
    changed = [functools.partial(_changed, image, amounts, order) for order in orders]
    image = choose(draws.below(len(orders)), changed)
    return (rgb_to_grayscale(image) if use_grayscale else image) * 2 - 1


def preprocess_for_eval(
    image: torch.Tensor,
    height: int | None,
    width: int | None,
    central_fraction: float | None = 0.875,
    central_crop: bool = True,
    use_grayscale: bool = False,
) -> torch.Tensor:
    """The middle of pictures `[..., 3, H, W]`, stretched.

    Args:
        image: as in `preprocess_image`.
        height: pixels; None: not stretched.
        width: pixels.
        central_fraction: the share of each side that the middle is; None: all of it.
        central_crop: False: all of it too.
        use_grayscale: as in `preprocess_image`.

    Returns:
        float32 `[..., 3, height, width]` or `[..., 1, height, width]` in -1..1.
    """
    image = convert_image_dtype(image, torch.float32)
    if use_grayscale:
        image = rgb_to_grayscale(image)
    if central_crop and central_fraction:
        image = crop_center(image, central_fraction)
    if height and width:
        image = resize_images(image, height, width)
    return (image - 0.5) * 2


def distorted_bounding_box_crop(
    image: torch.Tensor,
    bbox: torch.Tensor | None = None,
    min_object_covered: float = 0.1,
    aspect_ratio_range: tuple[float, float] = (0.75, 1.33),
    area_range: tuple[float, float] = (0.05, 1.0),
    max_attempts: int = 100,
) -> tuple[torch.Tensor, tuple[int, int, int, int]]:
    """Cuts a random part out of pictures `[..., H, W]`; see `sample_distorted_bounding_box`.

    Returns:
        The part, and where it was: `(top, left, height, width)` in pixels.

    Example:
        >>> part, (top, left, h, w) = distorted_bounding_box_crop(torch.rand(3, 30, 40))
        >>> part.shape == (3, h, w)
        True
    """
    top, left, h, w = part = sample_distorted_bounding_box(
        (image.shape[-2], image.shape[-1]),
        bbox,
        min_object_covered=min_object_covered,
        aspect_ratio_range=aspect_ratio_range,
        area_range=area_range,
        max_attempts=max_attempts,
    )
    return image[..., top : top + h, left : left + w], part


def distort_color(
    image: torch.Tensor,
    color_ordering: int = 0,
    fast_mode: bool = True,
    *,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Changes brightness, saturation, hue and contrast by random amounts.

    Args:
        image: RGB in 0..1, `[..., 3, H, W]`.
        color_ordering: 0 to 3: in which order.
        fast_mode: only brightness and saturation.
        generator: where random numbers come from. Default: torch's own of the device.

    Returns:
        The same pictures in other colours, clipped to 0..1.

    Raises:
        ValueError: if `color_ordering` is none of these.

    Example:
        >>> distort_color(torch.rand(3, 4, 4), color_ordering=2, fast_mode=False).shape
        torch.Size([3, 4, 4])
    """
    if color_ordering not in range(len(_ORDERS)):
        raise ValueError(f"distort_color: `color_ordering` must be 0 to 3. Got {color_ordering!r}.")
    return _changed(image, _amounts(Draws(image, generator)), (_FAST_ORDERS if fast_mode else _ORDERS)[color_ordering])


def _amounts(draws: Draws) -> dict[str, torch.Tensor]:
    return {change: draws.amount(low, high) for change, (_, low, high) in _CHANGES.items()}


def _changed(image: torch.Tensor, amounts: Mapping[str, torch.Tensor], order: Sequence[str]) -> torch.Tensor:
    for change in order:
        image = _CHANGES[change][0](image, amounts[change])
    return image.clamp(0, 1)
