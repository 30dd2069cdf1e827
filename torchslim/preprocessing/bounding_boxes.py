"""Random parts of a picture that still show what is in it."""

# Shape letters: N boxes.
from __future__ import annotations

from collections.abc import Sequence

import torch

from torchslim.preprocessing.image_ops import uniform

__all__ = ["sample_distorted_bounding_box"]


def sample_distorted_bounding_box(
    image_size: Sequence[int],
    bounding_boxes: torch.Tensor | None = None,
    *,
    min_object_covered: float = 0.1,
    aspect_ratio_range: tuple[float, float] = (0.75, 1.33),
    area_range: tuple[float, float] = (0.05, 1.0),
    max_attempts: int = 100,
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
    height, width = image_size
    for name, (low, high) in (("aspect_ratio_range", aspect_ratio_range), ("area_range", area_range)):
        if not 0 < low <= high:
            raise ValueError(
                f"sample_distorted_bounding_box: `{name}` must be positive and in order. Got {(low, high)}."
            )
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    boxes = whole if bounding_boxes is None or bounding_boxes.numel() == 0 else bounding_boxes.reshape(-1, 4).cpu()
    if boxes.min() < 0 or boxes.max() > 1:
        raise ValueError(
            "sample_distorted_bounding_box: `bounding_boxes` must be shares of the sides, in 0..1. "
            f"Got {boxes.min().item():g} to {boxes.max().item():g}."
        )
    corners = (boxes * torch.tensor([height, width, height, width])).trunc().tolist()
    for _ in range(max_attempts):
        part = _draw((height, width), uniform(*aspect_ratio_range), area_range)
        if part and any(_covered(part, corner) >= min_object_covered for corner in corners):
            return part
    return 0, 0, height, width


def _draw(
    size: tuple[int, int], aspect_ratio: float, area_range: tuple[float, float]
) -> tuple[int, int, int, int] | None:
    """A part of that shape with a random height and place; None if the picture has no room for it."""
    height, width = size
    least, most = (share * height * width for share in area_range)
    lowest, highest = round((least / aspect_ratio) ** 0.5), round((most / aspect_ratio) ** 0.5)
    if round(highest * aspect_ratio) > width:
        highest = int((width + 0.5 - 1e-7) / aspect_ratio)
        highest -= round(highest * aspect_ratio) > width
    highest = min(highest, height)
    h = min(lowest, highest)
    h += _below(highest - h + 1)
    w = round(h * aspect_ratio)
    if h * w < least:  # by the rounding
        h, w = h + 1, round((h + 1) * aspect_ratio)
    if not least <= h * w <= most or not 0 < w <= width or not 0 < h <= height:
        return None
    return _below(height - h), _below(width - w), h, w


def _below(limit: int) -> int:
    """A random number from 0 on, less than `limit` (0 if that is 0)."""
    return int(torch.randint(limit, ())) if limit > 0 else 0


def _covered(part: tuple[int, int, int, int], box: Sequence[float]) -> float:
    """The share of a box `(ymin, xmin, ymax, xmax)` that is inside of a part; 0 for a box without an area."""
    top, left, h, w = part
    ymin, xmin, ymax, xmax = box
    area = (ymax - ymin) * (xmax - xmin)
    shared = max(min(top + h, ymax) - max(top, ymin), 0) * max(min(left + w, xmax) - max(left, xmin), 0)
    return shared / area if area > 0 else 0.0
