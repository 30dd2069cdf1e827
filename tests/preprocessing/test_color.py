"""Changes of colours against numbers made by TensorFlow, and against Python's colorsys."""

from __future__ import annotations

import colorsys
import functools

import pytest
import torch

from torchslim.preprocessing import color
from torchslim.preprocessing.image_ops import central_crop, per_image_standardization

OPERATIONS = {
    "op_adjust_brightness_0.12549": functools.partial(color.adjust_brightness, delta=32 / 255),
    "op_adjust_contrast_0.5": functools.partial(color.adjust_contrast, contrast_factor=0.5),
    "op_adjust_saturation_0.5": functools.partial(color.adjust_saturation, saturation_factor=0.5),
    "op_adjust_hue_0.2": functools.partial(color.adjust_hue, delta=0.2),
    "op_rgb_to_grayscale": color.rgb_to_grayscale,
    "op_rgb_to_grayscale_float": color.rgb_to_grayscale,
    "op_per_image_standardization": per_image_standardization,
    "op_central_crop_0875": functools.partial(central_crop, central_fraction=0.875),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_tensorflows_numbers(goldens, name):
    image = goldens.picture(name)
    goldens.assert_close(OPERATIONS[name](image), name)
    batch = OPERATIONS[name](torch.stack([image.flip(-1), image]))
    goldens.assert_close(batch[1], name)


@pytest.mark.parametrize("name", ["op_distort_color_order0", "op_distort_color_order1"])
def test_the_sequences_of_distort_color(goldens, name):
    image = goldens.picture(name)
    for change, amount in goldens.cases[name]["call"]["sequence"]:
        image = getattr(color, f"adjust_{change}")(image, amount)
    goldens.assert_close(image.clamp(0, 1), name)


@pytest.mark.parametrize("delta", [-0.4, 0.0, 0.25, 1.0])
@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 5.0])
def test_hue_and_saturation_are_those_of_colorsys(delta, factor):
    edges = [(0, 0, 0), (1, 1, 1), (1, 0, 0), (0, 1, 1), (0.5, 0.5, 0.2)]
    pixels = torch.cat([torch.rand(20, 3), torch.tensor(edges)])
    expected_hue, expected_saturation = [], []
    for pixel in pixels.tolist():
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        expected_hue.append(colorsys.hsv_to_rgb((h + delta) % 1, s, v))
        expected_saturation.append(colorsys.hsv_to_rgb(h, min(s * factor, 1), v))
    image = pixels.T[:, :, None]
    torch.testing.assert_close(color.adjust_hue(image, delta)[..., 0].T, torch.tensor(expected_hue), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        color.adjust_saturation(image, factor)[..., 0].T, torch.tensor(expected_saturation), atol=1e-5, rtol=0
    )


def test_integers_keep_their_dtype_and_are_clipped():
    image = torch.tensor([0, 100, 250], dtype=torch.uint8).reshape(3, 1, 1)
    assert color.adjust_brightness(image, 20 / 255).flatten().tolist() == [20, 120, 255]
    assert color.adjust_brightness(image, -0.5).flatten().tolist() == [0, 0, 122]  # floor((250/255 - 0.5) * 255.5)
    assert color.adjust_hue(image, 0.0).dtype == torch.uint8


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (255, torch.uint8, torch.float32, 1.0),
        (32767, torch.int16, torch.float32, 1.0),
        (0.999, torch.float32, torch.uint8, 255),
        (-0.1, torch.float32, torch.uint8, 0),
        (128, torch.uint8, torch.uint8, 128),
        (0.25, torch.float16, torch.float32, 0.25),
        (255, torch.uint8, torch.int16, 32640),  # TensorFlow: times 128
        (-3, torch.int16, torch.int8, -1),  # over 256, rounded down
        (-3, torch.int8, torch.uint8, 0),
    ],
)
def test_dtypes_have_their_scales(value, source, target, expected):
    result = color.convert_image_dtype(torch.tensor([value], dtype=source), target)
    assert result.dtype == target
    assert result.item() == pytest.approx(expected)


@pytest.mark.parametrize("function", [color.adjust_hue, color.adjust_saturation])
def test_gray_pictures_have_no_colour_to_change(function):
    with pytest.raises(ValueError, match=rf"{function.__name__}: `image` must be RGB.*Got shape \[1, 4, 4\]"):
        function(torch.zeros(1, 4, 4), 0.5)
    with pytest.raises(ValueError, match=r"rgb_to_grayscale: .*Got shape \[2, 4\]"):
        color.rgb_to_grayscale(torch.zeros(2, 4))
