"""TensorFlow's changes of a picture's colours.

All take pictures `[..., C, H, W]`: floats, usually in 0..1, which they leave unclipped, or integers, which become
floats in 0..1 on the way and are clipped and rounded down to integers again. How much is a number, or a tensor with a
number for each picture, `[N, 1, 1, 1]`.
"""

# Shape letters: C channels, H height, W width.
from __future__ import annotations

import torch

__all__ = [
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "convert_image_dtype",
    "rgb_to_grayscale",
]

_GRAY_WEIGHTS = (0.2989, 0.5870, 0.1140)


def convert_image_dtype(image: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Changes the dtype of pictures and their scale: floats are in 0..1, integers go up to their largest number.

    Args:
        image: pictures of any shape.
        dtype: the new dtype. What does not fit into an integer is clipped.

    Example:
        >>> convert_image_dtype(torch.tensor([0.0, 0.5, 1.1]), torch.uint8)
        tensor([  0, 127, 255], dtype=torch.uint8)
    """
    if image.dtype == dtype or (image.is_floating_point() and dtype.is_floating_point):
        return image.to(dtype)
    if dtype.is_floating_point:
        return image.to(dtype) * torch.tensor(1 / torch.iinfo(image.dtype).max, dtype=dtype)
    if image.is_floating_point():
        most = torch.iinfo(dtype).max
        return (image * (most + 0.5)).clamp(torch.iinfo(dtype).min, most).to(dtype)
    old, new = torch.iinfo(image.dtype), torch.iinfo(dtype)
    up, down = (new.max + 1) // (old.max + 1), (old.max + 1) // (new.max + 1)
    values = image.long() * up if up else image.long().div(down, rounding_mode="floor")
    return values.clamp(new.min, new.max).to(dtype)


def adjust_brightness(image: torch.Tensor, delta: float | torch.Tensor) -> torch.Tensor:
    """Adds `delta`, which is in 0..1 for integers too.

    Example:
        >>> adjust_brightness(torch.tensor([[[0.5]]]), 0.25)
        tensor([[[0.7500]]])
    """
    return convert_image_dtype(_to_float(image) + delta, image.dtype)


def adjust_contrast(image: torch.Tensor, contrast_factor: float | torch.Tensor) -> torch.Tensor:
    """Moves each value away from its channel's mean, by a factor.

    Example:
        >>> adjust_contrast(torch.tensor([[[0.4, 0.6]]]), 2.0)
        tensor([[[0.3000, 0.7000]]])
    """
    values = _to_float(image)
    mean = values.mean((-2, -1), keepdim=True)
    return convert_image_dtype(torch.lerp(mean, values, contrast_factor), image.dtype)


def adjust_saturation(image: torch.Tensor, saturation_factor: float | torch.Tensor) -> torch.Tensor:
    """Multiplies the saturation (of hue, saturation and value) and keeps it in 0..1.

    Args:
        image: RGB, `[..., 3, H, W]`.
        saturation_factor: 0: gray, 1: as it is.

    Raises:
        ValueError: if `image` is not RGB.

    Example:
        >>> adjust_saturation(torch.tensor([0.2, 0.4, 0.8]).reshape(3, 1, 1), 0.5).flatten()
        tensor([0.5000, 0.6000, 0.8000])
    """
    values = _to_rgb(image, "adjust_saturation")
    high, spread, hue = _high_spread_hue(values)
    saturation = torch.where(high > 0, spread / high, 0.0)
    spread = (saturation * saturation_factor).clamp(0, 1) * high
    return convert_image_dtype(high - spread * (1 - _pure(hue)), image.dtype)


def adjust_hue(image: torch.Tensor, delta: float | torch.Tensor) -> torch.Tensor:
    """Turns the colour wheel by `delta` of a whole turn.

    Args:
        image: RGB, `[..., 3, H, W]`.
        delta: -1 to 1.

    Raises:
        ValueError: if `image` is not RGB.

    Example:
        >>> adjust_hue(torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1), 1 / 3).flatten()  # red becomes green
        tensor([0., 1., 0.])
    """
    values = _to_rgb(image, "adjust_hue")
    high, spread, hue = _high_spread_hue(values)
    return convert_image_dtype(high - spread * (1 - _pure((hue + 6 * delta) % 6)), image.dtype)


def rgb_to_grayscale(image: torch.Tensor) -> torch.Tensor:
    """The brightness of RGB pictures `[..., 3, H, W]` as `[..., 1, H, W]`, in their dtype.

    Raises:
        ValueError: if `image` is not RGB.

    Example:
        >>> rgb_to_grayscale(torch.tensor([255, 0, 0], dtype=torch.uint8).reshape(3, 1, 1)).item()
        76
    """
    red, green, blue = (
        channel * weight
        for channel, weight in zip(_to_rgb(image, "rgb_to_grayscale").split(1, -3), _GRAY_WEIGHTS, strict=True)
    )
    gray = red + green + blue
    return convert_image_dtype(gray, image.dtype)


def _to_float(image: torch.Tensor) -> torch.Tensor:
    return image if image.is_floating_point() else convert_image_dtype(image, torch.float32)


def _to_rgb(image: torch.Tensor, caller: str) -> torch.Tensor:
    if image.ndim < 3 or image.shape[-3] != 3:
        raise ValueError(f"{caller}: `image` must be RGB, [..., 3, H, W]. Got shape {list(image.shape)}.")
    return _to_float(image)


def _high_spread_hue(rgb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The largest of the three values, how far the smallest is below it, and the hue in 0..6; each `[..., 1, H, W]`."""
    high, strongest = rgb.max(-3, keepdim=True)
    spread = high - rgb.amin(-3, keepdim=True)
    red, green, blue = rgb.split(1, -3)
    ahead = torch.where(strongest == 0, green - blue, torch.where(strongest == 1, blue - red, red - green))
    hue = torch.where(spread > 0, ahead / spread + 2 * strongest, 0.0)
    return high, spread, hue % 6


def _pure(hue: torch.Tensor) -> torch.Tensor:
    """The full colour of a hue `[..., 1, H, W]`: `[..., 3, H, W]` in 0..1."""
    distances = [(hue - 3).abs() - 1, 2 - (hue - 2).abs(), 2 - (hue - 4).abs()]
    return torch.cat(distances, -3).clamp(0, 1)
