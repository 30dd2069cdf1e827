"""TensorFlow's resizing of pictures, old and new, on any device and in batches.

`torch.nn.functional.interpolate` has neither the grid that TensorFlow 1 read pictures on (pixel `i` of the result at
`i * H / height` of the picture, no half-pixel centres) nor its cubic. TF-Slim's nets were trained with both.
"""

# Shape letters: C channels, H height, W width of the pictures given; h and w of the result.
from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.overrides import handle_torch_function, has_torch_function

__all__ = ["METHODS", "Resize", "resize_images"]

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
    top, left, h, w = window or (0, 0, height, width)
    grid = method, align_corners, half_pixel_centers
    rows, down = (taps[:, top : top + h] for taps in _taps(images.shape[-2], height, *grid))
    columns, right = (taps[:, left : left + w] for taps in _taps(images.shape[-1], width, *grid))
    first_row, first_column = int(rows.min()), int(columns.min())
    needed = images[..., first_row : int(rows.max()) + 1, first_column : int(columns.max()) + 1].contiguous()
    rows, columns = (rows - first_row).to(images.device), (columns - first_column).to(images.device)
    adds_up = method == "bilinear"  # those of the others do so but for rounding, which TensorFlow keeps
    result = _blend(needed, -2, rows, down.to(images.device), adds_up)
    result = _blend(result, -1, columns, right.to(images.device), adds_up)
    return result if method == "nearest" else result.float()


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


def _blend(
    images: torch.Tensor, axis: int, indices: torch.Tensor, weights: torch.Tensor, adds_up: bool
) -> torch.Tensor:
    """Along `axis`, the sum of the pixels at `indices` `[taps, n]` with their `weights`, which may add up to one."""
    pixels = [images.index_select(axis, index) for index in indices]
    if len(pixels) == 1:
        return pixels[0]
    shaped = [weight if axis == -1 else weight[:, None] for weight in weights]
    if adds_up and len(pixels) == 2:
        return torch.lerp(pixels[0].float(), pixels[1].float(), shaped[1])
    result = pixels[0].float() * shaped[0]
    for pixel, weight in zip(pixels[1:], shaped[1:], strict=True):
        result += pixel * weight
    return result


def _taps(
    size: int, new_size: int, method: str, align_corners: bool, half_pixel_centers: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The pixels of an axis that each new pixel is made of, and their weights, both `[taps, new_size]`, on the CPU."""
    aligned = align_corners and new_size > 1
    scale = (size - 1) / (new_size - 1) if aligned else size / new_size
    places = torch.arange(new_size, dtype=torch.float32, device="cpu")
    if method == "area":
        return _area_taps(places, scale or 1.0, size)  # a single pixel with aligned corners has no scale
    source = (places + 0.5) * scale if half_pixel_centers else places * scale
    if method == "nearest":
        nearest = (source.double() + 0.5).floor() if align_corners else source.floor()
        return nearest.long().clamp_(max=size - 1)[None], torch.ones(1, new_size, device="cpu")
    source = source - 0.5 if half_pixel_centers else source
    floor = source.floor()
    first, fraction = floor.long(), source - floor
    if method == "bicubic":
        return _bicubic_taps(first, fraction, size, half_pixel_centers)
    return torch.stack([first, first + 1]).clamp_(0, size - 1), torch.stack([1 - fraction, fraction])


def _bicubic_taps(
    first: torch.Tensor, fraction: torch.Tensor, size: int, is_keys: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Four pixels around each point. With half-pixel centres, those beyond the border do not count."""
    a = -0.5 if is_keys else -0.75
    x = (fraction * _TABLE_SIZE).round().double() / _TABLE_SIZE
    near = torch.stack([x, 1 - x])
    far = near + 1
    near_weights = ((a + 2) * near - (a + 3)) * near**2 + 1
    far_weights = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
    weights = torch.stack([far_weights[0], near_weights[0], near_weights[1], far_weights[1]]).float()
    indices = first + torch.arange(-1, 3, device="cpu")[:, None]
    if is_keys:
        weights = weights * ((indices >= 0) & (indices < size))
        weights = weights / weights.sum(0)
    return indices.clamp_(0, size - 1), weights


def _area_taps(places: torch.Tensor, scale: float, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every pixel that a new one covers, by the part of it that is covered."""
    start, end = places * scale, (places + 1) * scale
    first = start.floor()
    indices = first + torch.arange(int((end.ceil() - first).max()), dtype=torch.float32, device="cpu")[:, None]
    covered = torch.minimum(indices + 1, end) - torch.maximum(indices, start)
    is_inside = (indices < start) & (indices + 1 > end)  # of one pixel: all of it, and not what rounding makes of that
    return indices.long().clamp_(max=size - 1), torch.where(is_inside, 1.0, covered.clamp_(min=0) / scale)
