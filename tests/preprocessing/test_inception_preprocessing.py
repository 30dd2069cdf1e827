"""Inception's preprocessing against numbers and statistics made by TF-Slim's own."""

from __future__ import annotations

import functools
import pickle

import pytest
import torch

import torchslim as slim
from torchslim.preprocessing import get_preprocessing, inception_preprocessing
from torchslim.preprocessing.color import rgb_to_grayscale
from torchslim.preprocessing.resize import METHODS, resize_part


@pytest.mark.parametrize("name", ["inception_eval_299/a", "inception_eval_299/b", "inception_eval_299/c"])
def test_evaluation_gives_tf_slims_numbers(goldens, name):
    image = goldens.picture(name)
    goldens.assert_close(get_preprocessing("inception_v3")(image, 299, 299), name)
    output = get_preprocessing("mobilenet_v1")(image.permute(1, 2, 0) / 255, 299, 299, data_format="NHWC")
    goldens.assert_close(output.permute(2, 0, 1), name)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("inception_eval_nocrop", (128, 160)), ("inception_eval_noresize", (None, None))],
)
def test_parts_of_it_can_be_left_out(goldens, name, arguments):
    image, crops = goldens.picture(name), name != "inception_eval_nocrop"
    goldens.assert_close(inception_preprocessing.preprocess_for_eval(image, *arguments, central_crop=crops), name)
    goldens.assert_close(inception_preprocessing.preprocess_image(image, *arguments, crop_image=crops), name)


def test_training_has_tf_slims_distribution(goldens):
    name = "random_train/inception_64"
    image, preprocess = goldens.picture(name), get_preprocessing("inception_v1", is_training=True)
    torch.manual_seed(1)
    goldens.assert_distribution(torch.stack([preprocess(image, 64, 64) for _ in range(400)]), name)


def test_grayscale_has_one_channel():
    image = torch.rand(3, 40, 50)
    gray = inception_preprocessing.preprocess_for_eval(image, 30, 30, use_grayscale=True)
    expected = inception_preprocessing.preprocess_for_eval(rgb_to_grayscale(image).expand(3, -1, -1), 30, 30)
    torch.testing.assert_close(gray.expand(3, -1, -1), expected)
    assert inception_preprocessing.preprocess_image(image, 8, 9, True, use_grayscale=True).shape == (1, 8, 9)
    assert torch.equal(get_preprocessing("inception", use_grayscale=True)(image, 30, 30, crop_image=True), gray)


def test_slow_mode_draws_every_method_and_order(monkeypatch):
    seen = set()

    def spy(image, height, width, method, **options):
        seen.add(method)
        return resize_part(image, height, width, method, **options)

    def spy_on_color(image, amounts, order):
        seen.add(order)
        return image

    monkeypatch.setattr(inception_preprocessing, "resize_part", spy)
    monkeypatch.setattr(inception_preprocessing, "_changed", spy_on_color)
    for _ in range(60):
        inception_preprocessing.preprocess_for_train(torch.rand(3, 20, 20), 8, 8, fast_mode=False)
    orders = {order[0]: order for order in seen if isinstance(order, tuple)}
    assert seen == {*METHODS, *orders.values()}
    assert orders == {
        "brightness": ("brightness", "saturation", "hue", "contrast"),
        "saturation": ("saturation", "brightness", "contrast", "hue"),
        "contrast": ("contrast", "hue", "brightness", "saturation"),
        "hue": ("hue", "saturation", "contrast", "brightness"),
    }
    seen.clear()
    for _ in range(10):
        inception_preprocessing.preprocess_for_train(torch.rand(3, 20, 20), 8, 8)
    assert seen == {"bilinear", ("brightness", "saturation")}


@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("fast_mode", [True, False])
def test_colours_stay_in_range_and_change(order, fast_mode):
    image = torch.rand(3, 6, 6)
    outputs = [inception_preprocessing.distort_color(image, order, fast_mode) for _ in range(20)]
    assert all(output.min() >= 0 and output.max() <= 1 for output in outputs)
    assert not torch.equal(outputs[0], outputs[1])


def test_without_a_crop_training_shows_the_whole_picture():
    image = torch.linspace(0.3, 0.6, 16).expand(3, 16, 16)
    for _ in range(5):
        output = inception_preprocessing.preprocess_image(image, 16, 16, True, crop_image=False)[0, 0]
        steps = output.diff()
        torch.testing.assert_close(steps, steps[:1].expand(15), atol=1e-5, rtol=0)  # all columns are there, once


def test_a_symbol_is_recorded_and_draws_nothing_at_build_time():
    image = slim.placeholder((3, None, None), torch.uint8)
    before = torch.get_rng_state()
    output = get_preprocessing("inception_v3", is_training=True)(image, 32, 48)
    assert torch.equal(torch.get_rng_state(), before)
    assert (output.shape, output.dtype) == ((3, 32, 48), torch.float32)
    module = pickle.loads(pickle.dumps(image.owner.module(output)))
    picture = torch.randint(0, 256, (3, 50, 40), dtype=torch.uint8)
    torch.manual_seed(3)
    found = module(picture)
    torch.manual_seed(3)
    assert torch.equal(found, get_preprocessing("inception", True)(picture, 32, 48))


def test_transform_can_be_pickled_for_workers():
    transform = functools.partial(get_preprocessing("inception", is_training=True), output_height=8, output_width=9)
    image = torch.randint(0, 256, (3, 30, 31), dtype=torch.uint8)
    assert pickle.loads(pickle.dumps(transform))(image).shape == (3, 8, 9)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"inception_preprocessing.*Got shape \[1, 30, 30\]"):
        inception_preprocessing.preprocess_image(torch.zeros(1, 30, 30), 8, 8)
    with pytest.raises(ValueError, match=r"training needs.*Got None and 8"):
        inception_preprocessing.preprocess_image(torch.zeros(3, 30, 30), None, 8, True)
    with pytest.raises(ValueError, match=r"inception.*`add_image_summaries` must be False. Got True"):
        inception_preprocessing.preprocess_image(torch.zeros(3, 30, 30), 8, 8, True, None, True, True)
    with pytest.raises(ValueError, match=r"`color_ordering` must be 0 to 3. Got 4"):
        inception_preprocessing.distort_color(torch.zeros(3, 4, 4), 4)
    with pytest.raises(ValueError, match=r"`central_fraction` must be more than 0, at most 1. Got 1\.5"):
        inception_preprocessing.preprocess_for_eval(torch.zeros(3, 4, 4), 4, 4, central_fraction=1.5)
