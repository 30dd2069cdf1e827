"""Picture operations that the preprocessing of several nets shares, on channels-first pictures."""

# Shape letters: C channels, H height, W width of the picture given.
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function
from torch.utils._pytree import tree_map

__all__ = [
    "central_crop",
    "channels_first",
    "crop_offset",
    "per_image_standardization",
    "random_flip",
    "random_side",
    "recorded",
    "resize_image_with_crop_or_pad",
    "size_with_shorter_side",
    "uniform",
]


def size_with_shorter_side(height: int, width: int, side: int) -> tuple[int, int]:
    """Resizing the shorter side to `side`: the new size, rounded as TF-Slim does (float32, half to even).

    Example:
        >>> size_with_shorter_side(333, 500, 256)
        (256, 384)
    """
    scale = torch.tensor(side, dtype=torch.float32) / min(height, width)
    new_height, new_width = (scale * torch.tensor([height, width])).round().tolist()
    return int(new_height), int(new_width)


def random_side(smallest: int, largest: int) -> int:
    """A side length, all from `smallest` to `largest` (included) equally likely, from torch's random numbers.

    Raises:
        ValueError: if they are not positive and in order.
    """
    if not 0 < smallest <= largest:
        raise ValueError(
            "preprocessing: `resize_side_min` must be positive and at most `resize_side_max`. "
            f"Got {smallest} and {largest}."
        )
    return int(torch.randint(smallest, largest + 1, ()))


def crop_offset(size: tuple[int, int], crop: tuple[int, int], is_random: bool) -> tuple[int, int]:
    """Where a crop starts: anywhere with equal chances, or so that it is the middle.

    Args:
        size: height and width of the (resized) picture.
        crop: height and width of the crop.
        is_random: anywhere; from torch's random numbers.

    Returns:
        Row and column of the crop's first pixel.

    Raises:
        ValueError: if the crop is larger than the picture.

    Example:
        >>> crop_offset((256, 341), (224, 224), is_random=False)
        (16, 58)
    """
    room = size[0] - crop[0], size[1] - crop[1]
    if min(room) < 0:
        raise ValueError(
            "preprocessing: the resized picture must be at least as large as the output. "
            f"It is {size[0]}x{size[1]}, and the output {crop[0]}x{crop[1]}. Raise `resize_side_min`."
        )
    if is_random:
        return int(torch.randint(room[0] + 1, ())), int(torch.randint(room[1] + 1, ()))
    return room[0] // 2, room[1] // 2


def central_crop(image: torch.Tensor, central_fraction: float) -> torch.Tensor:
    """The middle of pictures `[..., H, W]`, that share of each side.

    Raises:
        ValueError: if `central_fraction` is not in 0..1, or 0.

    TF-Slim: `tf.image.central_crop` for sizes that are known; for others TensorFlow rounds the fraction to float32.

    Example:
        >>> central_crop(torch.zeros(3, 33, 50), 0.875).shape
        torch.Size([3, 29, 44])
    """
    if not 0 < central_fraction <= 1:
        raise ValueError(f"central_crop: `central_fraction` must be more than 0, at most 1. Got {central_fraction}.")
    height, width = image.shape[-2:]
    top, left = int((height - height * central_fraction) / 2), int((width - width * central_fraction) / 2)
    return image[..., top : height - top, left : width - left]


def resize_image_with_crop_or_pad(image: torch.Tensor, target_height: int, target_width: int) -> torch.Tensor:
    """Makes pictures `[..., H, W]` that size without scaling: cuts off, or adds zeros, as much on both sides.

    Example:
        >>> resize_image_with_crop_or_pad(torch.tensor([[[1, 2, 3, 4]]]), 2, 2)
        tensor([[[2, 3],
                 [0, 0]]])
    """
    height, width = image.shape[-2:]
    top, left = max(height - target_height, 0) // 2, max(width - target_width, 0) // 2
    image = image[..., top : top + target_height, left : left + target_width]
    above, before = (target_height - image.shape[-2]) // 2, (target_width - image.shape[-1]) // 2
    below, after = target_height - image.shape[-2] - above, target_width - image.shape[-1] - before
    return functional.pad(image, (before, after, above, below))


def per_image_standardization(image: torch.Tensor) -> torch.Tensor:
    """Gives each picture `[..., C, H, W]` mean 0 and deviation 1; one of a single colour becomes zeros.

    Returns:
        float32, of the same shape.

    Example:
        >>> per_image_standardization(torch.tensor([[[0, 2]]]))
        tensor([[[-1.,  1.]]])
    """
    image = image.float()
    whole = (-3, -2, -1)
    least = image.shape[-3:].numel() ** -0.5
    deviation = image.std(whole, correction=0, keepdim=True).clamp(min=least)
    return (image - image.mean(whole, keepdim=True)) / deviation


def random_flip(image: torch.Tensor) -> torch.Tensor:
    """Mirrors a picture `[..., W]` left to right half of the time, by torch's random numbers."""
    return image.flip(-1) if torch.rand(()) < 0.5 else image


def uniform(low: float, high: float) -> float:
    """A number between two others, from torch's random numbers."""
    return torch.empty(()).uniform_(low, high).item()


def channels_first(image: torch.Tensor, data_format: str, caller: str, channels: Sequence[int] = (3,)) -> torch.Tensor:
    """Returns a picture as `[C, H, W]`, without copying.

    Args:
        image: `[C, H, W]` for `NCHW`, `[H, W, C]` for `NHWC`.
        data_format: where the channels are.
        caller: the function that errors name.
        channels: how many there may be: 3 for RGB, 1 for gray.

    Raises:
        ValueError: if `data_format` is unknown, or `image` has another shape.
    """
    if data_format not in ("NCHW", "NHWC"):
        raise ValueError(f"{caller}: `data_format` must be 'NCHW' or 'NHWC'. Got {data_format!r}.")
    axis = 0 if data_format == "NCHW" else -1
    if image.ndim != 3 or image.shape[axis] not in channels or image.numel() == 0:
        count = " or ".join(map(str, channels))
        layout = f"[{count}, H, W]" if data_format == "NCHW" else f"[H, W, {count}]"
        kind = "RGB picture" if channels == (3,) else "picture"
        raise ValueError(
            f"{caller}: `image` must be one {kind}, {layout} for {data_format}. Got shape {list(image.shape)}."
        )
    return image if data_format == "NCHW" else image.permute(2, 0, 1)


def recorded(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Lets a preprocessing function take a Symbol as its picture: the graph records one call of it.

    Args:
        function: called with a picture, the height and width of the output, and more.

    Returns:
        The same function. Where only the shape of a picture is known (`meta`), it is run on a black one, with the
        random numbers outside undisturbed, and gives a `meta` tensor.
    """

    @functools.wraps(function)
    def preprocess(
        image: torch.Tensor, output_height: int | None, output_width: int | None, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        if has_torch_function((image,)):
            return handle_torch_function(preprocess, (image,), image, output_height, output_width, *args, **kwargs)
        if not image.is_meta:
            return function(image, output_height, output_width, *args, **kwargs)
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            black, args, kwargs = tree_map(_zeros, (image, args, kwargs))
            return function(black, output_height, output_width, *args, **kwargs).to("meta")

    return preprocess


def _zeros(value: Any) -> Any:
    return torch.zeros_like(value, device="cpu") if isinstance(value, torch.Tensor) else value
