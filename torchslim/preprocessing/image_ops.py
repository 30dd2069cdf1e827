"""Picture operations that the preprocessing of several nets shares."""

# Shape letters: C channels, H height, W width of the picture given; h and w of the result.
from __future__ import annotations

import torch

__all__ = ["channels_first", "crop_offset", "random_side", "resize_bilinear", "size_with_shorter_side"]


def resize_bilinear(
    image: torch.Tensor, height: int, width: int, window: tuple[int, int, int, int] | None = None
) -> torch.Tensor:
    """Resizes as TensorFlow 1's `resize_images` did: what the nets of TF-Slim were trained with.

    Pixel `i` of the result is read at `i * H / height` of the picture: no half-pixel centres, no
    antialiasing. (`torch.nn.functional.interpolate` has no such mode.)

    Args:
        image: `[C, H, W]`, any dtype.
        height: of the resized picture.
        width: of the resized picture.
        window: the part of the resized picture that is wanted, `(top, left, h, w)`; only that is computed.
            Default: all of it.

    Returns:
        float32 `[C, h, w]`, contiguous; uint8 values are not rounded again.

    Example:
        >>> row = torch.tensor([[[0, 10, 20, 30]]], dtype=torch.uint8)
        >>> resize_bilinear(row, 1, 8)
        tensor([[[ 0.,  5., 10., 15., 20., 25., 30., 30.]]])
    """
    top, left, h, w = window or (0, 0, height, width)
    upper, lower, down = _taps(image.shape[1], height, top, h)
    before, after, right = _taps(image.shape[2], width, left, w)
    first_row, first_column = int(upper[0]), int(before[0])
    needed = image[:, first_row : int(lower[-1]) + 1, first_column : int(after[-1]) + 1].contiguous()
    rows = torch.lerp(
        needed.index_select(1, upper - first_row).float(),
        needed.index_select(1, lower - first_row).float(),
        down[:, None],
    )
    return torch.lerp(rows.index_select(2, before - first_column), rows.index_select(2, after - first_column), right)


def _taps(size: int, new_size: int, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For `count` points of an axis: the two pixels they lie between, and how far they are from the first."""
    source = torch.arange(start, start + count, dtype=torch.float32) * (size / new_size)
    first = source.floor().long().clamp_(max=size - 1)
    return first, (first + 1).clamp_(max=size - 1), source - first


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


def channels_first(image: torch.Tensor, data_format: str, caller: str) -> torch.Tensor:
    """Returns an RGB picture as `[3, H, W]`, without copying.

    Args:
        image: `[3, H, W]` for `NCHW`, `[H, W, 3]` for `NHWC`.
        data_format: where the channels are.
        caller: the function that errors name.

    Raises:
        ValueError: if `data_format` is unknown, or `image` has another shape.
    """
    if data_format not in ("NCHW", "NHWC"):
        raise ValueError(f"{caller}: `data_format` must be 'NCHW' or 'NHWC'. Got {data_format!r}.")
    channels = 0 if data_format == "NCHW" else -1
    if image.ndim != 3 or image.shape[channels] != 3 or image.numel() == 0:
        layout = "[3, H, W]" if data_format == "NCHW" else "[H, W, 3]"
        raise ValueError(
            f"{caller}: `image` must be one RGB picture, {layout} for {data_format}. Got shape {list(image.shape)}."
        )
    return image if data_format == "NCHW" else image.permute(2, 0, 1)
