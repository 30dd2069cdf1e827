"""CycleGAN's preprocessing against what it is made of, by hand."""

from __future__ import annotations

import pytest
import torch

from torchslim.preprocessing import get_preprocessing, resize, resize_images


@pytest.mark.parametrize(("size", "middle"), [((30, 41), (0, 5, 30, 30)), ((41, 30), (5, 0, 30, 30))])
def test_evaluation_is_the_middle_square_resized(size, middle):
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    top, left, h, w = middle
    expected = resize_images((image.float() - 127.5)[:, top : top + h, left : left + w] / 127.5, 16, 16)
    torch.testing.assert_close(get_preprocessing("cyclegan")(image, 16, 16), expected)
    stretched = resize_images((image.float() - 127.5) / 127.5, 16, 16)
    torch.testing.assert_close(get_preprocessing("pix2pix")(image, 16, 16, crop_image=False), stretched)


def test_the_middle_has_the_shape_of_the_output():
    image = torch.arange(60.0).expand(3, 40, 60)
    output = get_preprocessing("cyclegan")(image, 20, 10)  # of 60 columns, those from 20 to 39
    assert (output[0, 0] * 127.5 + 127.5).round().tolist() == list(range(20, 40, 2))


def test_training_draws_every_place_and_direction():
    image = torch.arange(7.0).expand(3, 7, 7)
    rows = set()
    for _ in range(200):
        output = get_preprocessing("cyclegan", is_training=True)(image, 5, 5, enlargement=7 / 5)
        rows.add(tuple((output[0, 0] * 127.5 + 127.5).round().int().tolist()))
    places = [tuple(range(start, start + 5)) for start in range(3)]
    assert rows == {*places, *(place[::-1] for place in places)}


def test_the_papers_sizes(monkeypatch):
    sizes = []
    resize_part = resize.resize_part
    monkeypatch.setattr(resize, "resize_part", lambda *a, **kw: sizes.append(kw["size"]) or resize_part(*a, **kw))
    get_preprocessing("cyclegan", True)(torch.zeros(3, 20, 20), 256, 128)
    assert sizes == [(286, 143)]


def test_a_pair_stays_a_pair():
    picture = torch.randint(0, 256, (8, 3, 20, 20), dtype=torch.uint8)
    pair = get_preprocessing("pix2pix", True)(torch.cat([picture, 255 - picture], 1), 16, 16)
    assert pair.shape == (8, 6, 16, 16)
    torch.testing.assert_close(pair[:, :3], -pair[:, 3:])


def test_gray_and_rgba_become_rgb():
    gray = torch.randint(0, 256, (1, 20, 30), dtype=torch.uint8)
    prepare = get_preprocessing("cyclegan")
    assert torch.equal(prepare(gray, 8, 8), prepare(gray.expand(3, -1, -1), 8, 8))
    rgba = torch.randint(0, 256, (2, 4, 20, 30), dtype=torch.uint8)
    assert torch.equal(prepare(rgba, 8, 8), prepare(rgba[:, :3], 8, 8))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"1 or 3 or 4 or 6.*Got shape \[2, 8, 8\]"):
        get_preprocessing("cyclegan")(torch.zeros(2, 8, 8), 4, 4)
    with pytest.raises(ValueError, match="It is 9x9, and the output 10x10"):
        get_preprocessing("cyclegan", True)(torch.zeros(3, 8, 8), 10, 10, enlargement=0.9)
