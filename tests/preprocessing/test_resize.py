"""TensorFlow's resizing against numbers made by TensorFlow, by hand and by torch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import torchslim as slim
from torchslim.preprocessing import Resize, resize_images
from torchslim.preprocessing.resize import METHODS


@pytest.mark.parametrize(
    ("name", "method", "align_corners"),
    [
        ("op_resize_images_bilinear_11x31", 0, False),
        ("op_resize_images_nearest_neighbor_11x31", 1, False),
        ("op_resize_images_bicubic_11x31", 2, False),
        ("op_resize_images_area_11x31", 3, False),
        ("op_resize_bilinear_aligncorners_11x31", "bilinear", True),
        ("op_resize_nearest_aligncorners_11x31", "nearest", True),
    ],
)
def test_tensorflows_numbers(goldens, name, method, align_corners):
    image = goldens.picture(name)
    goldens.assert_close(resize_images(image, 11, 31, method, align_corners=align_corners), name)
    batch = Resize((11, 31), method, align_corners)(torch.stack([image, image.flip(0)]))
    goldens.assert_close(batch[0], name)
    assert torch.equal(batch[1], batch[0].flip(0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(7, 5), (17, 40), (17, 23), (1, 1)])
def test_a_window_is_a_part_of_the_whole(method, size):
    image = torch.randint(0, 256, (3, 17, 23), dtype=torch.uint8)
    whole = resize_images(image, *size, method)
    assert whole.dtype == (torch.uint8 if method == "nearest" else torch.float32)
    top, left = size[0] // 3, size[1] // 3
    part = resize_images(image, *size, method, window=(top, left, size[0] - top, size[1] - left))
    torch.testing.assert_close(part, whole[:, top:, left:], rtol=0, atol=0)


@pytest.mark.parametrize("size", [(7, 5), (17, 23), (40, 50)])
def test_torch_has_the_other_grids(size):
    # TensorFlow 2's grid and aligned corners are the ones that torch knows too.
    images = torch.rand(2, 3, 17, 23)
    for ours, theirs in (({"half_pixel_centers": True}, False), ({"align_corners": True}, True)):
        expected = functional.interpolate(images, size, mode="bilinear", align_corners=theirs)
        torch.testing.assert_close(resize_images(images, *size, **ours), expected, rtol=0, atol=1e-5)
    expected = functional.interpolate(images, size, mode="nearest-exact")
    assert torch.equal(resize_images(images, *size, "nearest", half_pixel_centers=True), expected)
    # Without half-pixel centres its cubic is torch's, on an axis that keeps its scale of 2 exactly.
    row = torch.rand(1, 1, 1, 8)
    expected = functional.interpolate(row, (1, 15), mode="bicubic", align_corners=True)
    torch.testing.assert_close(resize_images(row, 1, 15, "bicubic", align_corners=True), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 4), (6, 8)])
def test_area_is_the_mean_of_what_a_pixel_covers(height, width):
    images = torch.rand(2, 3, 6, 8)
    expected = functional.avg_pool2d(images, (6 // height, 8 // width))
    torch.testing.assert_close(resize_images(images, height, width, "area"), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_one_pixel_fills_any_size(method, channels):
    pixel = torch.randint(0, 256, (channels, 1, 1), dtype=torch.uint8)
    torch.testing.assert_close(resize_images(pixel, 5, 7, method).float(), pixel.float().expand(-1, 5, 7))


def test_gradients_flow_through_it():
    images = torch.rand(1, 1, 4, 5, dtype=torch.float32, requires_grad=True)
    resize_images(images, 8, 3).sum().backward()
    assert images.grad.sum() == pytest.approx(24)  # every new pixel is made of pixels whose weights add up to one


def test_a_symbol_is_recorded():
    images = slim.placeholder((None, 3, None, None), torch.uint8)
    small = Resize((4, 6))(images)
    assert (small.shape, small.dtype) == ((None, 3, 4, 6), torch.float32)
    batch = torch.randint(0, 256, (2, 3, 9, 5), dtype=torch.uint8)
    assert torch.equal(small.owner.run(small, {images: batch}), resize_images(batch, 4, 6))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_the_device_gives_the_same(method):
    images = torch.randint(0, 256, (4, 3, 30, 41), dtype=torch.uint8)
    on_device = resize_images(images.cuda(), 17, 60, method)
    torch.testing.assert_close(on_device.cpu(), resize_images(images, 17, 60, method), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "cubic"}, r"`method` must be one of bilinear, nearest, bicubic, area \(0 to 3\). Got 'cubic'"),
        ({"method": 4}, "Got 4"),
        ({"method": "area", "half_pixel_centers": True}, "goes neither.*method='area'"),
        ({"align_corners": True, "half_pixel_centers": True}, "align_corners=True"),
        ({"height": 0}, "to be 0x5"),
        ({"images": torch.zeros(4, 4)}, r"Got shape \[4, 4\]"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        resize_images(**{"images": torch.zeros(1, 4, 4), "height": 5, "width": 5, **arguments})
