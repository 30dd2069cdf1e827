"""Random parts of a picture that still show what is in it."""

# Shape letters: N pictures, B boxes of each.
from __future__ import annotations

from collections.abc import Sequence

import torch

from torchslim.preprocessing.image_ops import Draws

__all__ = ["draw_parts", "sample_distorted_bounding_box"]


def sample_distorted_bounding_box(
    image_size: Sequence[int],
    bounding_boxes: torch.Tensor | None = None,
    *,
    min_object_covered: float = 0.1,
    aspect_ratio_range: tuple[float, float] = (0.75, 1.33),
    area_range: tuple[float, float] = (0.05, 1.0),
    max_attempts: int = 100,
    generator: torch.Generator | None = None,
) -> tuple[int, int, int, int]:
    """Draws a part of a picture, as `tf.image.sample_distorted_bounding_box` does.

    Args:
        image_size: height and width in pixels.
        bounding_boxes: of the objects, `[..., 4]` as `(ymin, xmin, ymax, xmax)`, shares of the sides in 0..1. Default,
            or none: one object, the whole picture.
        min_object_covered: at least one object must be inside with this share of its area.
        aspect_ratio_range: of the part, width over height.
        area_range: of the part, as a share of the picture's area.
        max_attempts: draws; when none of them fits, the part is the whole picture.
        generator: where random numbers come from. Default: torch's own.

    Returns:
        `(top, left, height, width)` in pixels.

    Raises:
        ValueError: if the boxes are not in 0..1, or a range is not in order.

    TF-Slim: the same distribution, by torch's random numbers. As there, a part that is smaller than the picture never
    touches its lower or right border.

    Example:
        >>> sample_distorted_bounding_box((300, 400), area_range=(1.0, 1.0), aspect_ratio_range=(1.33, 1.34))
        (0, 0, 300, 400)
    """
    for name, (low, high) in (("aspect_ratio_range", aspect_ratio_range), ("area_range", area_range)):
        if not 0 < low <= high:
            raise ValueError(
                f"sample_distorted_bounding_box: `{name}` must be positive and in order. Got {(low, high)}."
            )
    boxes = None if bounding_boxes is None else bounding_boxes.cpu()
    if boxes is not None and boxes.numel() and (boxes.min() < 0 or boxes.max() > 1):
        raise ValueError(
            "sample_distorted_bounding_box: `bounding_boxes` must be shares of the sides, in 0..1. "
            f"Got {boxes.min().item():g} to {boxes.max().item():g}."
        )
    draws = Draws(torch.empty(1, *image_size), generator)
    part = draw_parts(draws, image_size, boxes, min_object_covered, aspect_ratio_range, area_range, max_attempts)
    top, left, height, width = part.tolist()
    return top, left, height, width


def draw_parts(
    draws: Draws,
    image_size: Sequence[int],
    boxes: torch.Tensor | None = None,
    min_object_covered: float = 0.1,
    aspect_ratio_range: tuple[float, float] = (0.75, 1.33),
    area_range: tuple[float, float] = (0.05, 1.0),
    max_attempts: int = 100,
) -> torch.Tensor:
    """Draws a part of each picture of a batch: `sample_distorted_bounding_box`, without waiting for the device.

    Args:
        draws: the random numbers.
        image_size: height and width in pixels.
        boxes: of the objects, for a batch `[N, B, 4]`; those without an area do not count. Not checked.
        min_object_covered: as there.
        aspect_ratio_range: as there.
        area_range: as there.
        max_attempts: as there; that many are always made, at once.

    Returns:
        `(top, left, height, width)` in pixels, integers `[..., 4]`.
    """
    height, width = image_size
    whole = torch.stack([torch.full(draws.shape, n, device=draws.device) for n in (0, 0, height, width)])
    corners = whole[None].movedim(1, -1).float()  # [B, ..., 4]
    if boxes is not None and boxes.numel():
        corners = boxes.to(draws.device, non_blocking=True).reshape(*draws.shape, -1, 4).movedim(-2, 0)
        sides = (height, width, height, width)
        corners = torch.stack([share * n for share, n in zip(corners.unbind(-1), sides, strict=True)], -1).trunc()
    parts, fits = _attempts(draws, (height, width), aspect_ratio_range, area_range, max_attempts)
    fits &= (_covered(parts, corners[:, None]) >= min_object_covered).any(0)
    first = fits.int().argmax(0)  # the first that fits
    part = parts.gather(1, first.expand(4, 1, *draws.shape))[:, 0]
    return torch.where(fits.any(0), part, whole).movedim(0, -1)


def _attempts(
    draws: Draws,
    size: tuple[int, int],
    aspect_ratio_range: tuple[float, float],
    area_range: tuple[float, float],
    count: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Parts of random shape, size and place, `[4, count, ...]`, and whether the picture has room for them."""
    height, width = size
    least, most = (share * height * width for share in area_range)
    ratio = draws.uniform(*aspect_ratio_range, count)
    lowest, highest = ((area / ratio).sqrt().round() for area in (least, most))
    fitting = ((width + 0.5) / ratio).floor()
    fitting -= ((fitting * ratio).round() > width).float()
    highest = torch.where((highest * ratio).round() > width, fitting, highest).clamp(max=height)
    chance, down, right = draws.uniform(0, 1, 3, count)
    h = torch.minimum(lowest, highest)
    h += _below(highest - h + 1, chance)
    w = (h * ratio).round()
    is_small = h * w < least  # by the rounding
    h, w = h + is_small, torch.where(is_small, ((h + 1) * ratio).round(), w)
    fits = (least <= h * w) & (h * w <= most) & (w > 0) & (w <= width) & (h > 0) & (h <= height)
    return torch.stack([_below(height - h, down), _below(width - w, right), h, w]).long(), fits


def _below(limits: torch.Tensor, chances: torch.Tensor) -> torch.Tensor:
    """Whole numbers from 0 on, less than the limits (0 if those are not positive), by random numbers in 0..1."""
    return (limits * chances).floor().minimum(limits - 1).clamp(min=0)


def _covered(parts: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """The share of boxes `(ymin, xmin, ymax, xmax)` `[B, 1, ..., 4]` inside of parts; 0 for boxes without an area."""
    top, left, h, w = parts
    ymin, xmin, ymax, xmax = boxes.unbind(-1)
    area = (ymax - ymin) * (xmax - xmin)
    tall = torch.minimum(top + h, ymax) - torch.maximum(top, ymin)
    wide = torch.minimum(left + w, xmax) - torch.maximum(left, xmin)
    return torch.where(area > 0, tall.clamp(min=0) * wide.clamp(min=0) / area, 0.0)
