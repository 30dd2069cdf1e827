"""Random parts of a picture: statistics made by TensorFlow, and what every part must hold to."""

from __future__ import annotations

import pytest
import torch

from torchslim.preprocessing import sample_distorted_bounding_box
from torchslim.preprocessing.bounding_boxes import draw_parts
from torchslim.preprocessing.image_ops import Draws


def test_tensorflows_distribution(goldens):
    case = goldens.cases["random_sample_distorted_bounding_box/full_box_300x400"]
    torch.manual_seed(1)
    parts = torch.tensor([sample_distorted_bounding_box((300, 400), **case["kwargs"]) for _ in range(2000)])
    top, left, h, w = parts.double().unbind(1)
    for name, values in {
        "area_fraction": h * w / (300 * 400),
        "aspect_ratio": w / h,
        "offset_y": top,
        "offset_x": left,
        "size_y": h,
        "size_x": w,
    }.items():
        expected = case[name]
        error = expected["std"] * (1 / expected["n"] + 1 / len(values)) ** 0.5
        assert abs(values.mean().item() - expected["mean"]) < 5 * error, name
        quantiles = torch.quantile(values, torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)).tolist()
        assert quantiles == pytest.approx(expected["quantiles_5_25_50_75_95"], abs=0.2 * expected["std"]), name


@pytest.mark.parametrize(
    ("size", "boxes", "options", "means", "deviations"),
    [  # of 3000 parts by TensorFlow 2.21
        (
            *((40, 60), [[0.1, 0.2, 0.5, 0.6]], {"min_object_covered": 0.5}),
            *((2.880, 10.874, 31.287, 33.142), (2.855, 6.522, 6.244, 8.102)),
        ),
        (
            *((40, 60), [[0.1, 0.2, 0.5, 0.6], [0.6, 0.5, 0.9, 1.0]]),
            {"min_object_covered": 0.9, "area_range": (0.1, 0.9), "aspect_ratio_range": (0.5, 2.0)},
            *((2.449, 6.834, 32.017, 43.763), (2.917, 5.961, 5.395, 9.323)),
        ),
        ((100, 30), [[0.0, 0.0, 1.0, 1.0]], {}, (37.872, 2.526, 23.824, 23.972), (22.058, 2.750, 5.086, 3.861)),
        (
            *((40, 60), [[0.3, 0.3, 0.4, 0.4]], {"min_object_covered": 1.0, "max_attempts": 3}),
            *((2.949, 7.846, 31.960, 36.473), (3.391, 5.850, 7.122, 12.435)),
        ),
    ],
)
def test_tensorflows_distribution_around_objects(size, boxes, options, means, deviations):
    draws = Draws(torch.empty(3000, 3, *size), torch.Generator().manual_seed(4))
    parts = draw_parts(draws, size, torch.tensor(boxes).expand(3000, -1, -1), **options).double()
    expected = torch.tensor([means, deviations], dtype=torch.float64)
    assert ((parts.mean(0) - expected[0]) / (expected[1] * (2 / 3000) ** 0.5)).abs().max() < 4
    torch.testing.assert_close(parts.std(0), expected[1], rtol=0.06, atol=0)


@pytest.mark.parametrize("size", [(30, 40), (7, 5), (1, 9), (500, 13)])
def test_parts_are_inside_and_in_range(size):
    for _ in range(50):
        top, left, h, w = sample_distorted_bounding_box(size, area_range=(0.2, 0.9), aspect_ratio_range=(0.5, 2))
        assert top >= 0
        assert left >= 0
        assert 0 < h <= size[0] - top
        assert 0 < w <= size[1] - left
        is_whole = (h, w) == size
        assert is_whole or 0.2 * size[0] * size[1] <= h * w <= 0.9 * size[0] * size[1]


def test_one_of_the_objects_is_shown():
    boxes = torch.tensor([[[0.0, 0.0, 0.1, 0.1], [0.8, 0.8, 0.9, 0.95]]])
    for _ in range(50):
        top, left, h, w = sample_distorted_bounding_box(
            (100, 100), boxes, min_object_covered=1.0, area_range=(0.1, 0.5)
        )
        shows_first = top == 0 and left == 0
        shows_second = top <= 80 and left <= 80 and top + h >= 90 and left + w >= 95
        assert shows_first or shows_second or (h, w) == (100, 100)


def test_what_cannot_be_had_is_the_whole_picture():
    assert sample_distorted_bounding_box((10, 1000), aspect_ratio_range=(1.0, 1.0), area_range=(0.9, 1.0)) == (
        *(0, 0),
        *(10, 1000),
    )
    nothing = torch.zeros(1, 1, 4)
    assert sample_distorted_bounding_box((30, 40), nothing) == (0, 0, 30, 40)


def test_without_objects_the_picture_is_one():
    torch.manual_seed(0)
    found = sample_distorted_bounding_box((30, 40), torch.zeros(1, 0, 4))
    torch.manual_seed(0)
    assert found == sample_distorted_bounding_box((30, 40))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bounding_boxes": torch.tensor([[0.0, 0.0, 30.0, 40.0]])}, "in 0..1. Got 0 to 40"),
        ({"area_range": (0.9, 0.1)}, r"`area_range` must be positive and in order. Got \(0.9, 0.1\)"),
        ({"aspect_ratio_range": (0.0, 1.0)}, r"`aspect_ratio_range`.*Got \(0.0, 1.0\)"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_distorted_bounding_box((30, 40), **arguments)
