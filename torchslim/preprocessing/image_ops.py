"""Picture operations that the preprocessing of several nets shares, on channels-first pictures."""

# Shape letters: N pictures, C channels, H height, W width of the picture given.
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function

__all__ = [
    "Draws",
    "Pair",
    "Whole",
    "beside",
    "central_crop",
    "channels_first",
    "channels_last",
    "check_room",
    "choose",
    "crop_offset",
    "no_image_summaries",
    "per_image_standardization",
    "random_side",
    "recorded",
    "resize_image_with_crop_or_pad",
    "size_with_shorter_side",
]


# Of one picture, numbers are Python's, whose arithmetic takes a fraction of PyTorch's time; of a batch, tensors.
Whole = int | torch.Tensor  # `[N]`
Pair = tuple[int, int] | torch.Tensor  # a height and a width, or a row and a column: `[N, 2]`


class Draws:
    """Random numbers for pictures `[..., C, H, W]`: one for each picture of a batch, on their device.

    Args:
        images: the pictures.
        generator: where random numbers come from. Default: torch's own of the pictures' device.

    Example:
        >>> sides = Draws(torch.zeros(8, 3, 4, 4)).below(5)
        >>> sides.shape, bool((sides >= 0).all() and (sides < 5).all())
        (torch.Size([8]), True)
        >>> Draws(torch.zeros(3, 4, 4)).below(5) in range(5)
        True
    """

    def __init__(self, images: torch.Tensor, generator: torch.Generator | None = None):
        self.shape, self.device, self.generator = images.shape[:-3], images.device, generator

    def uniform(self, low: float, high: float, *times: int) -> torch.Tensor:
        """Numbers between two others, `[...]`, or `[*times, ...]` of them."""
        return self._chances(*times, *self.shape) * (high - low) + low

    def amount(self, low: float, high: float) -> torch.Tensor:
        """Numbers between two others, `[..., 1, 1, 1]`: how much of a colour, for example."""
        return self.uniform(low, high)[..., None, None, None]

    def below(self, limit: int) -> Whole:
        """An integer from 0 on, less than `limit`, which is positive, all equally likely."""
        chances = self._chances(*self.shape)  # 1 - 2**-24 at most: a product with that is not rounded up to the limit
        return (chances * limit).long() if self.shape else int(chances.item() * limit)

    def places(self, room: Pair) -> Pair:
        """A row and a column, from 0 to those of `room` (included), all equally likely."""
        chances = self._chances(*self.shape, 2)
        if self.shape:
            room = room if isinstance(room, torch.Tensor) else beside(self, torch.tensor(room))
            return (chances * (room + 1)).long()
        row, column = (int(chance * (limit + 1)) for chance, limit in zip(chances.tolist(), room, strict=True))
        return row, column

    def coin(self) -> bool | torch.Tensor:
        """True half of the time."""
        chances = self._chances(*self.shape)
        return chances < 0.5 if self.shape else chances.item() < 0.5

    def _chances(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, device=self.device, generator=self.generator)


def beside(images: torch.Tensor | Draws, tensor: torch.Tensor) -> torch.Tensor:
    """A small tensor from the CPU's memory, brought to where the pictures are without waiting."""
    return tensor if tensor.device == images.device else tensor.to(images.device, non_blocking=True)


def choose(which: Whole, options: Sequence[Callable[[], torch.Tensor]]) -> torch.Tensor:
    """Calls one of several functions for a picture; for a batch all of them, and takes one of the results for each.

    Args:
        which: the number of the function; for a batch `[N]`.
        options: each gives pictures, `[C, H, W]` or `[N, C, H, W]`.

    Example:
        >>> choose(torch.tensor([1, 0]), [lambda: torch.zeros(2, 1, 1, 1), lambda: torch.ones(2, 1, 1, 1)]).flatten()
        tensor([1., 0.])
    """
    if len(options) == 1:
        return options[0]()
    if isinstance(which, int):
        return options[which]()
    result = options[0]()
    for number, option in enumerate(options[1:], 1):
        result = torch.where((which == number)[:, None, None, None], option(), result)
    return result


def size_with_shorter_side(height: int, width: int, side: Whole) -> Pair:
    """Resizing the shorter side to `side`: the new size, rounded as TF-Slim does (float32, half to even).

    Args:
        height: of the pictures.
        width: of the pictures.
        side: the new length; for a batch `[N]`.

    Returns:
        Height and width; for a batch integers `[N, 2]`.

    Example:
        >>> size_with_shorter_side(333, 500, 256)
        (256, 384)
    """
    if isinstance(side, torch.Tensor):
        scale = side.float() / min(height, width)
        return torch.stack([scale * height, scale * width], -1).round().long()
    ratio = np.float32(side) / np.float32(min(height, width))
    return round(float(ratio * np.float32(height))), round(float(ratio * np.float32(width)))


def random_side(draws: Draws, smallest: int, largest: int) -> Whole:
    """Side lengths, all from `smallest` to `largest` (included) equally likely.

    Raises:
        ValueError: if they are not positive and in order.
    """
    if not 0 < smallest <= largest:
        raise ValueError(
            "preprocessing: `resize_side_min` must be positive and at most `resize_side_max`. "
            f"Got {smallest} and {largest}."
        )
    return draws.below(largest - smallest + 1) + smallest


def crop_offset(size: Pair, crop: tuple[int, int], draws: Draws | None = None) -> Pair:
    """Where a crop starts: anywhere with equal chances, or so that it is the middle.

    Args:
        size: height and width of the (resized) pictures; for a batch integers `[N, 2]`, or two numbers for all.
        crop: height and width of the crop.
        draws: the random numbers. Default: the middle.

    Returns:
        Row and column of the crop's first pixel; for a batch integers `[N, 2]`, or two numbers for all.

    Example:
        >>> crop_offset((256, 341), (224, 224))
        (16, 58)
    """
    room: Pair
    if isinstance(size, torch.Tensor):
        room = size - beside(size, torch.tensor(crop))
        return draws.places(room) if draws else room // 2
    room = size[0] - crop[0], size[1] - crop[1]
    return draws.places(room) if draws else (room[0] // 2, room[1] // 2)


def check_room(size: Sequence[int], crop: tuple[int, int], side: int | None = None) -> None:
    """Raises a ValueError if pictures of a size, their shorter side resized to `side`, are smaller than the crop."""
    height, width = (round((side or min(size)) * length / min(size)) for length in size)
    if height < crop[0] or width < crop[1]:
        raise ValueError(
            "preprocessing: a picture must be at least as large as what is cropped out of it. "
            f"It is {height}x{width}, and the output {crop[0]}x{crop[1]}."
            + (" Raise `resize_side_min`." if side else "")
        )


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


def no_image_summaries(add_image_summaries: bool, caller: str) -> None:
    """Raises a ValueError where a user of TF-Slim asks for summaries of what happens in a worker process."""
    if add_image_summaries:
        raise ValueError(
            f"{caller}: `add_image_summaries` must be False. Got {add_image_summaries!r}. "
            "Add one of the batch: `slim.summaries.add_image_summary`."
        )


def channels_first(image: torch.Tensor, data_format: str, caller: str, channels: Sequence[int] = (3,)) -> torch.Tensor:
    """Returns pictures as `[..., C, H, W]`, without copying.

    Args:
        image: `[C, H, W]` or `[N, C, H, W]` for `NCHW`, `[H, W, C]` or `[N, H, W, C]` for `NHWC`.
        data_format: where the channels are.
        caller: the function that errors name.
        channels: how many there may be: 3 for RGB, 1 for gray.

    Raises:
        ValueError: if `data_format` is unknown, or `image` has another shape.
    """
    if data_format not in ("NCHW", "NHWC"):
        raise ValueError(f"{caller}: `data_format` must be 'NCHW' or 'NHWC'. Got {data_format!r}.")
    axis = -3 if data_format == "NCHW" else -1
    if image.ndim not in (3, 4) or image.shape[axis] not in channels or 0 in image.shape[-3:]:
        count = " or ".join(map(str, channels))
        layout = f"{count}, H, W]" if data_format == "NCHW" else f"H, W, {count}]"
        kind = "an RGB picture" if channels == (3,) else "a picture"
        raise ValueError(
            f"{caller}: `image` must be {kind} [{layout} or a batch [N, {layout} for {data_format}. "
            f"Got shape {list(image.shape)}."
        )
    return image if data_format == "NCHW" else image.movedim(-1, -3)


def channels_last(image: torch.Tensor, data_format: str) -> torch.Tensor:
    """Returns pictures `[..., C, H, W]` in `data_format`, without copying."""
    return image if data_format == "NCHW" else image.movedim(-3, -1)


def recorded(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Lets a preprocessing function take a Symbol as its picture: the graph records one call of it.

    Args:
        function: called with a picture or a batch, the height and width of the output, and more. Of pictures in the
            CPU's memory only may it look at numbers.

    Returns:
        The same function. A picture that is elsewhere is given to it as a batch of one: nothing waits for the device,
        and a `meta` picture, of which the shape alone is known, draws no random numbers.
    """

    @functools.wraps(function)
    def preprocess(
        image: torch.Tensor, output_height: int | None, output_width: int | None, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        if has_torch_function((image,)):
            return handle_torch_function(preprocess, (image,), image, output_height, output_width, *args, **kwargs)
        if image.ndim == 3 and image.device.type != "cpu":
            return function(image[None], output_height, output_width, *args, **kwargs)[0]
        return function(image, output_height, output_width, *args, **kwargs)

    return preprocess
