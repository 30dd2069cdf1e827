"""Padding and enlarging images: the numbers are TensorFlow's (`tf.pad`, `tf.compat.v1.image`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim.nets.generative import enlarge_images, leaky_relu, pad_images

IMAGE = torch.tensor([[0.0, 1.0, 4.0], [9.0, 16.0, 25.0]])
LEGACY = [
    [0, 1 / 3, 2 / 3, 1, 2, 3, 4, 4, 4],
    [4.5, 35 / 6, 43 / 6, 8.5, 10.5, 12.5, 14.5, 14.5, 14.5],
    [9, 34 / 3, 41 / 3, 16, 19, 22, 25, 25, 25],
    [9, 34 / 3, 41 / 3, 16, 19, 22, 25, 25, 25],
]
CORNERS = [
    [0, 0.25, 0.5, 0.75, 1, 1.75, 2.5, 3.25, 4],
    [3, 3.75, 4.5, 5.25, 6, 7.25, 8.5, 9.75, 11],
    [6, 7.25, 8.5, 9.75, 11, 12.75, 14.5, 16.25, 18],
    [9, 10.75, 12.5, 14.25, 16, 18.25, 20.5, 22.75, 25],
]
REPEATED = [[0, 0, 0, 1, 1, 1, 4, 4, 4]] * 2 + [[9, 9, 9, 16, 16, 16, 25, 25, 25]] * 2


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"bilinear": True}, LEGACY),
        ({"bilinear": True, "align_corners": True}, CORNERS),
        ({"bilinear": False}, REPEATED),
    ],
)
def test_enlarged(layout: str, options: dict[str, bool], expected: list[list[float]]) -> None:
    image = IMAGE[None, None] if layout == "NCHW" else IMAGE[None, :, :, None]
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=layout):
        larger = enlarge_images(image, [2, 3], **options)
        recorded = slim.build(lambda x: enlarge_images(x, [2, 3], **options), slim.InputSpec((None, *image.shape[1:])))
    torch.testing.assert_close(larger.squeeze(), torch.tensor(expected, dtype=torch.float32))
    torch.testing.assert_close(recorded(image), larger)


def test_images_of_unknown_size_are_enlarged() -> None:
    model = slim.build(lambda x: enlarge_images(x, [2, 3], bilinear=True), slim.InputSpec((None, 1, None, None)))
    torch.testing.assert_close(model(IMAGE[None, None]).squeeze(), torch.tensor(LEGACY))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("mode", ["CONSTANT", "REFLECT", "SYMMETRIC"])
def test_padded(layout: str, mode: str) -> None:
    images = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    if layout == "NHWC":
        images = images.movedim(1, -1)
    pads: Any = [(1, 2), (2, 0)]
    around = [(0, 0), (0, 0), *pads] if layout == "NCHW" else [(0, 0), *pads, (0, 0)]
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=layout):
        padded = pad_images(images, pads, mode)
    np.testing.assert_array_equal(padded, np.pad(images.numpy(), around, mode.lower()))


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match=r"pad_images: `mode` must be one of .* Got 'EDGE'"):
        pad_images(IMAGE[None, None], [(1, 1), (1, 1)], "EDGE")


def test_leaky_relu_has_the_slope_of_tensorflow() -> None:
    assert leaky_relu(torch.tensor([-5.0, 5.0])).tolist() == [-1.0, 5.0]
