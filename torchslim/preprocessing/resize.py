"""TensorFlow's resizing of pictures, old and new, on any device and in batches.

`torch.nn.functional.interpolate` has neither the grid that TensorFlow 1 read pictures on (pixel `i` of the result at
`i * H / height` of the picture, no half-pixel centres) nor its cubic. TF-Slim's nets were trained with both.
"""

# Shape letters: C channels, H height, W width of the pictures given; h and w of the result.
from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.overrides import handle_torch_function, has_torch_function

from torchslim.preprocessing.image_ops import Draws, Pair, beside, crop_offset

__all__ = ["METHODS", "Resize", "random_part", "resize_images", "resize_part"]

METHODS = ("bilinear", "nearest", "bicubic", "area")  # in the order of TensorFlow's `ResizeMethod` numbers

_TABLE_SIZE = 1024  # TensorFlow rounds where its cubic is read to so many places between two pixels


def resize_images(
    images: torch.Tensor,
    height: int,
    width: int,
    method: str | int = "bilinear",
    *,
    align_corners: bool = False,
    half_pixel_centers: bool = False,
    window: tuple[int, int, int, int] | None = None,
) -> torch.Tensor:
    """Resizes as TensorFlow does, by default as TensorFlow 1's `tf.image.resize_images`.

    Args:
        images: `[..., C, H, W]`, any dtype, on any device.
        height: of the resized pictures.
        width: of the resized pictures.
        method: 'bilinear', 'nearest', 'bicubic' or 'area', or TensorFlow's number of it, 0 to 3.
        align_corners: the corner pixels stay in their places.
        half_pixel_centers: pixels are read at their centres, as in TensorFlow 2 (without its `antialias`).
        window: the part of the resized pictures that is wanted, `(top, left, h, w)`; only that is computed. Default:
            all of it.

    Returns:
        `[..., C, h, w]`, contiguous; float32, values not rounded; for 'nearest' of the dtype of `images`.

    Raises:
        ValueError: if `method` is unknown, a size is not positive, or both grids are asked for.

    TF-Slim: the same numbers, to float32's precision. TensorFlow returns pictures that have the size already as they
    are, in their own dtype; here they become float32 too.

    Example:
        >>> row = torch.tensor([[[0, 10, 20, 30]]], dtype=torch.uint8)
        >>> resize_images(row, 1, 8)
        tensor([[[ 0.,  5., 10., 15., 20., 25., 30., 30.]]])
    """
    if has_torch_function((images,)):
        options: dict[str, Any] = {"align_corners": align_corners, "half_pixel_centers": half_pixel_centers}
        return handle_torch_function(resize_images, (images,), images, height, width, method, window=window, **options)
    method = _checked_method(method, align_corners, half_pixel_centers)
    if images.ndim < 3 or min(height, width, *images.shape[-2:]) < 1:
        raise ValueError(
            "resize_images: pictures must be [..., C, H, W], and sizes positive. "
            f"Got shape {list(images.shape)}, to be {height}x{width}."
        )
    return _resized(images, (height, width), window, (method, align_corners, half_pixel_centers))


def resize_part(
    images: torch.Tensor,
    height: int,
    width: int,
    method: str = "bilinear",
    *,
    part: torch.Tensor | None = None,
    size: Pair | None = None,
    offset: Pair | None = None,
    mirrored: torch.Tensor | bool | None = None,
) -> torch.Tensor:
    """Cuts out, resizes, crops and mirrors, each picture of a batch in its own way, without waiting for the device.

    Args:
        images: `[N, C, H, W]`; or one picture, `[C, H, W]`, without `N` in what follows, and Python's numbers.
        height: of the results.
        width: of the results.
        method: as `resize_images` has it, on TensorFlow 1's grid; or 'antialias', torchvision's for smaller pictures.
        part: what is cut out: `(top, left, h, w)` in pixels, integers `[N, 4]`. Default: all of it.
        size: what that is resized to: `(h, w)`, integers `[N, 2]`, or two numbers for all. Default: the results' size.
        offset: where the result starts in that: `(top, left)`, integers `[N, 2]`, or two numbers for all. Default:
            `(0, 0)`.
        mirrored: whether the result is mirrored left to right, bool `[N]`. Default: none is.

    Returns:
        `[N, C, height, width]`, as by `resize_images`.

    Example:
        >>> part = torch.tensor([[0, 0, 1, 2], [0, 1, 1, 2]])
        >>> resize_part(torch.tensor([[[[0, 10, 20]]]] * 2), 1, 4, part=part, mirrored=torch.tensor([False, True]))
        tensor([[[[ 0.,  5., 10., 10.]]],
        <BLANKLINE>
        <BLANKLINE>
                [[[20., 20., 15., 10.]]]])
    """
    if images.ndim == 3:
        top, left, h, w = (0, 0, *images.shape[-2:]) if part is None else part.tolist()
        rows, columns = size or (height, width)
        down, right = offset or (0, 0)
        window = (down, right, height, width)
        images = images[:, top : top + h, left : left + w]
        if method == "nearest" and (rows, columns) == images.shape[1:]:
            result = images[:, down : down + height, right : right + width]
            return result.flip(-1) if mirrored else result
        return _resized(images, (rows, columns), window, (method, False, False), bool(mirrored))
    taps = []
    for axis, count in enumerate((height, width)):
        places = torch.arange(count, dtype=torch.float32, device=images.device)
        if axis and mirrored is not None:
            places = torch.where(torch.as_tensor(mirrored)[..., None], count - 1 - places, places)
        places = places if offset is None else places + _of_axis(offset, axis)
        new = count if size is None else _of_axis(size, axis)
        whole = images.shape[axis - 2]
        first, length = (0, whole) if part is None else (_of_axis(part, axis), _of_axis(part, axis + 2))
        scale = torch.as_tensor(length) / new  # a number over a tensor would be rounded twice
        indices, weights = _taps(places, scale, length, method, most=whole / count)
        taps.append((indices + first, weights))
    return _resampled(images, taps[0], taps[1], method)


def random_part(
    images: torch.Tensor, size: Pair, crop: tuple[int, int], draws: Draws, method: str = "bilinear"
) -> torch.Tensor:
    """Any part, with equal chances, of pictures resized to `size`, mirrored half of the time; see `resize_part`.

    Args:
        images: `[N, C, H, W]`, or one picture `[C, H, W]`.
        size: what they are resized to, as `resize_part` has it.
        crop: height and width of the part.
        draws: the random numbers.
        method: as `resize_part` has it.

    Returns:
        `[..., C, *crop]`.

    Example:
        >>> pictures = torch.rand(2, 3, 10, 20)
        >>> random_part(pictures, (12, 24), (8, 8), Draws(pictures)).shape
        torch.Size([2, 3, 8, 8])
    """
    offset = crop_offset(size, crop, draws)
    return resize_part(images, *crop, method, size=size, offset=offset, mirrored=draws.coin())


class Resize(nn.Module):
    """`resize_images` as a transform: on the CPU or on the device, one picture or a batch.

    Args:
        size: `(height, width)`, or one number for both.
        method: as in `resize_images`.
        align_corners: as in `resize_images`.
        half_pixel_centers: as in `resize_images`.

    Raises:
        ValueError: as `resize_images` does.

    Example:
        >>> Resize((2, 3))(torch.zeros(8, 3, 10, 10, dtype=torch.uint8)).shape
        torch.Size([8, 3, 2, 3])
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        method: str | int = "bilinear",
        align_corners: bool = False,
        half_pixel_centers: bool = False,
    ):
        super().__init__()
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.method = _checked_method(method, align_corners, half_pixel_centers)
        self.align_corners, self.half_pixel_centers = align_corners, half_pixel_centers

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Resizes `[..., C, H, W]`."""
        height, width = self.size
        return resize_images(
            images,
            height,
            width,
            self.method,
            align_corners=self.align_corners,
            half_pixel_centers=self.half_pixel_centers,
        )

    def extra_repr(self) -> str:
        """The arguments."""
        grid = f"align_corners={self.align_corners}, half_pixel_centers={self.half_pixel_centers}"
        return f"{self.size}, {self.method!r}, {grid}"


def _checked_method(method: str | int, align_corners: bool, half_pixel_centers: bool) -> str:
    names = dict(enumerate(METHODS)) | {name: name for name in METHODS}
    if method not in names:
        raise ValueError(f"resize_images: `method` must be one of {', '.join(METHODS)} (0 to 3). Got {method!r}.")
    if half_pixel_centers and (align_corners or method in ("area", 3)):
        raise ValueError(
            "resize_images: `half_pixel_centers` goes neither with `align_corners` nor with 'area'. "
            f"Got align_corners={align_corners}, method={method!r}."
        )
    return names[method]


def _of_axis(numbers: Any, axis: int) -> Any:
    """One of two numbers, or of four: for a batch `[N, 1]`."""
    return numbers[..., axis, None] if isinstance(numbers, torch.Tensor) else numbers[axis]


def _resized(
    images: torch.Tensor,
    size: tuple[int, int],
    window: tuple[int, int, int, int] | None,
    grid: tuple[str, bool, bool],
    is_mirrored: bool = False,
) -> torch.Tensor:
    """All pictures `[..., C, H, W]` in one way."""
    top, left, h, w = window or (0, 0, *size)
    needed_rows, rows = _window_taps(images, -2, size[0], top, h, *grid)
    needed_columns, columns = _window_taps(images, -1, size[1], left, w, *grid, is_mirrored)
    return _resampled(images[..., needed_rows, needed_columns], rows, columns, grid[0])


def _window_taps(
    images: torch.Tensor,
    axis: int,
    new_size: int,
    first: int,
    count: int,
    method: str,
    aligned: bool,
    centred: bool,
    is_mirrored: bool = False,
) -> tuple[slice, tuple[torch.Tensor, torch.Tensor]]:
    """The part of an axis that a window of the result needs, and the taps and weights within that part."""
    size, end = images.shape[axis], first + count
    scale = (size - 1) / (new_size - 1) if aligned and new_size > 1 else size / new_size
    ends = (end - 1, first - 1, -1) if is_mirrored else (first, end)
    places = torch.arange(*ends, dtype=torch.float32, device="cpu")
    indices, weights = _taps(places, scale, size, method, aligned, centred)
    start = max(int(first * scale) - 2, 0)  # two for the cubic and rounding; behind, one of their own more
    needed = slice(start, int(end * scale) + 4)
    return needed, (beside(images, indices - start), beside(images, weights))


def _resampled(
    images: torch.Tensor,
    rows: tuple[torch.Tensor, torch.Tensor],
    columns: tuple[torch.Tensor, torch.Tensor],
    method: str,
) -> torch.Tensor:
    """Pictures `[..., C, H, W]` made of their rows and columns: taps and weights, `[taps, n]`, or `[taps, N, n]`."""
    *leading, height, width = images.shape
    indices, weights = (tap.repeat_interleave(leading[-1], 1) if tap.ndim == 3 else tap for tap in rows)
    # A single picture as decoders give it, its channels last, can stay so.
    is_last = len(leading) == 1 and images.stride(0) == 1
    lines = images.permute(1, 2, 0).reshape(1, height, -1) if is_last else images.reshape(-1, height, width)
    result = _blend(lines.contiguous(), indices, weights)
    # Columns are picked where they are rows of memory: one by one, their pixels would be picked an element at a time.
    count = math.prod(leading[:-1])
    turned = result.reshape(count, -1, lines.shape[-1]).mT.contiguous().view(count, width, -1)
    turned = _blend(turned, *columns)
    result = turned.mT.contiguous().view(*leading, indices.shape[-1], columns[0].shape[-1])
    return result if method == "nearest" else result.float()


def _blend(images: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Of `[N, K, M]`, `[N, n, M]`: the sum of the rows at `indices` with their `weights`.

    Of two whose weights add up to one there is the second's alone. Others do so but for rounding, which TensorFlow
    keeps.
    """

    def pick(index: torch.Tensor) -> torch.Tensor:
        if index.ndim == 1:
            return images.index_select(1, index)
        starts = torch.arange(len(images), device=images.device)[:, None] * images.shape[1]
        return images.flatten(0, 1).index_select(0, (starts + index).flatten()).unflatten(0, index.shape)

    if len(weights) < len(indices):
        before, behind = pick(indices.movedim(0, -2).flatten(-2)).float().chunk(2, 1)
        return torch.lerp(before, behind, weights[0, ..., None])
    result = pick(indices[0])
    if len(indices) == 1:
        return result
    result = result.float()  # of its own memory from here on: large temporary tensors cost more than the arithmetic
    result *= weights[0, ..., None]
    for index, weight in zip(indices[1:], weights[1:, ..., None], strict=True):
        result += pick(index) * weight
    return result


def _taps(
    places: torch.Tensor,
    scale: float | torch.Tensor,
    size: int | torch.Tensor,
    method: str,
    align_corners: bool = False,
    half_pixel_centers: bool = False,
    most: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The pixels of an axis that new pixels are made of, and their weights.

    Args:
        places: of the new pixels, from 0 on, float `[..., n]`.
        scale: the old size over the new one; a number, or `[..., 1]`.
        size: the old size; likewise.
        method: as in `resize_part`.
        align_corners: as in `resize_images`.
        half_pixel_centers: as in `resize_images`.
        most: the largest scale, where `scale` is a tensor.

    Returns:
        Both `[taps, ..., n]`; for 'bilinear' the second one's weights alone.
    """
    most = scale if isinstance(scale, float) else most
    if method == "area":
        return _area_taps(places, scale, size, most)
    if method == "antialias":
        return _antialias_taps(places, scale, size, most)
    source = (places + 0.5) * scale if half_pixel_centers else places * scale
    if method == "nearest":
        nearest = (source.double() + 0.5).floor() if align_corners else source.floor()
        return nearest.long().clamp(max=size - 1)[None], torch.ones_like(source)[None]
    source = source - 0.5 if half_pixel_centers else source
    if method == "bicubic":
        return _bicubic_taps(source, size, half_pixel_centers)
    source = source.clamp(min=0) if half_pixel_centers else source
    first = source.long()
    return torch.stack([first, first + 1]).clamp(max=size - 1), (source - first)[None]


def _neighbours(first: torch.Tensor, start: int, end: int) -> torch.Tensor:
    """`first` `[..., n]` plus each number from `start` on, less than `end`: `[taps, ..., n]`."""
    return torch.stack([first + step for step in range(start, end)])


def _bicubic_taps(source: torch.Tensor, size: int | torch.Tensor, is_keys: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Four pixels around each point. With half-pixel centres, those beyond the border do not count."""
    a, floor = -0.5 if is_keys else -0.75, source.floor()
    x = ((source - floor) * _TABLE_SIZE).round().double() / _TABLE_SIZE
    near = torch.stack([x, 1 - x])
    far = near + 1
    near_weights = ((a + 2) * near - (a + 3)) * near**2 + 1
    far_weights = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
    weights = torch.stack([far_weights[0], near_weights[0], near_weights[1], far_weights[1]]).float()
    indices = _neighbours(floor.long(), -1, 3)
    if is_keys:
        weights = weights * ((indices >= 0) & (indices < size))
        weights = weights / weights.sum(0)
    return indices.clamp(min=0).clamp(max=size - 1), weights


def _area_taps(
    places: torch.Tensor, scale: float | torch.Tensor, size: int | torch.Tensor, most: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Every pixel that a new one covers, by the part of it that is covered."""
    scale = scale or 1.0 if isinstance(scale, float) else scale  # a single pixel with aligned corners has none
    start, end = places * scale, (places + 1) * scale
    indices = _neighbours(start.floor(), 0, math.ceil(most) + 1)
    covered = torch.minimum(indices + 1, end) - torch.maximum(indices, start)
    is_inside = (indices < start) & (indices + 1 > end)  # of one pixel: all of it, and not what rounding makes of that
    return indices.long().clamp(max=size - 1), torch.where(is_inside, 1.0, covered.clamp(min=0) / scale)


def _antialias_taps(
    places: torch.Tensor, scale: float | torch.Tensor, size: int | torch.Tensor, most: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels around each point, by a triangle as wide as two new pixels."""
    reach = torch.as_tensor(scale).clamp(min=1)
    source = (places + 0.5) * scale - 0.5
    indices = _neighbours((source - reach).floor(), 0, 2 * math.ceil(max(most, 1)) + 2)
    weights = (1 - (indices - source).abs() / reach).clamp(min=0) * ((indices >= 0) & (indices < size))
    return indices.long().clamp(min=0).clamp(max=size - 1), weights / weights.sum(0)
