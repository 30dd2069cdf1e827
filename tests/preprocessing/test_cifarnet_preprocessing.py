"""CifarNet's and LeNet's preprocessing against numbers made by TF-Slim's own."""

from __future__ import annotations

import pytest
import torch

import torchslim as slim
from torchslim.preprocessing import cifarnet_preprocessing, get_preprocessing, lenet_preprocessing
from torchslim.preprocessing.color import rgb_to_grayscale
from torchslim.preprocessing.image_ops import Draws, per_image_standardization, resize_image_with_crop_or_pad


@pytest.mark.parametrize("name", ["cifarnet_eval_32", "cifarnet_eval_crop"])
def test_cifarnet_gives_tf_slims_numbers(goldens, name):
    image = goldens.picture(name)
    goldens.assert_close(get_preprocessing("cifarnet")(image, 32, 32), name)
    output = get_preprocessing("cifarnet")(image.permute(1, 2, 0), 32, 32, data_format="NHWC")
    goldens.assert_close(output.permute(2, 0, 1), name)


@pytest.mark.parametrize("is_training", [False, True])
def test_lenet_gives_tf_slims_numbers(goldens, is_training):
    image = goldens.picture("lenet_eval_28")
    goldens.assert_close(get_preprocessing("lenet", is_training)(image, 28, 28), "lenet_eval_28")


@pytest.mark.parametrize("name", ["cifarnet", "lenet"])
def test_evaluation_swaps_height_and_width_as_tf_slim_does(name):
    image = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    assert get_preprocessing(name)(image, 24, 32).shape == (3, 32, 24)
    assert get_preprocessing("cifarnet", is_training=True)(image, 24, 32).shape == (3, 24, 32)


@pytest.mark.parametrize(
    ("sizes", "target", "expected"),
    [
        # One too many is cut off, or added, behind.
        ([1, 2, 3, 4, 5], 2, [2, 3]),
        ([1, 2, 3, 4], 3, [1, 2, 3]),
        ([1, 2], 5, [0, 1, 2, 0, 0]),
        ([1, 2, 3], 3, [1, 2, 3]),
    ],
)
def test_crop_or_pad_by_hand(sizes, target, expected):
    row = torch.tensor(sizes)
    assert resize_image_with_crop_or_pad(row.reshape(1, 1, -1), 1, target).flatten().tolist() == expected
    assert resize_image_with_crop_or_pad(row.reshape(1, -1, 1), target, 1).flatten().tolist() == expected


def test_gray_comes_from_the_colours():
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    gray = rgb_to_grayscale(image.float())
    assert torch.equal(lenet_preprocessing.preprocess_image(image, 8, 8, use_grayscale=True), (gray - 128) / 128)
    expected = per_image_standardization(gray)
    assert torch.equal(cifarnet_preprocessing.preprocess_image(image, 8, 8, use_grayscale=True), expected)
    assert cifarnet_preprocessing.preprocess_image(image, 8, 8, True, use_grayscale=True).shape == (1, 8, 8)


def test_a_single_colour_becomes_zeros():
    assert torch.equal(per_image_standardization(torch.full((2, 3, 4, 4), 7)), torch.zeros(2, 3, 4, 4))


def test_training_draws_every_place_and_direction(monkeypatch):
    image = torch.arange(1.0, 7.0).expand(3, 6, 6)
    monkeypatch.setattr(Draws, "amount", lambda draws, low, high: (low + high) / 2)  # 0 and 1: no change
    monkeypatch.setattr(cifarnet_preprocessing, "per_image_standardization", lambda output: output)
    rows = set()
    for _ in range(300):
        output = cifarnet_preprocessing.preprocess_for_train(image, 12, 6, padding=3)
        rows.add(tuple(output[0, 5].round().int().tolist()))
    padded = [0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0]
    places = [padded[start : start + 6] for start in range(7)]
    assert rows == {tuple(place) for place in places} | {tuple(place[::-1]) for place in places}


def test_training_draws_brightness_and_contrast_in_tf_slims_ranges(monkeypatch):
    drawn, amount = [], Draws.amount
    monkeypatch.setattr(Draws, "amount", lambda draws, *ends: drawn.append(ends) or amount(draws, *ends))
    output = cifarnet_preprocessing.preprocess_for_train(torch.rand(3, 32, 32) * 255, 32, 32)
    assert drawn == [(-63, 63), (0.2, 1.8)]
    assert output.mean().item() == pytest.approx(0, abs=1e-5)
    assert output.std(correction=0).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("is_training", [False, True])
def test_image_summaries_are_of_the_batch(is_training):
    image = torch.zeros(3, 8, 8)
    assert get_preprocessing("cifarnet", is_training)(image, 8, 8, add_image_summaries=False).shape == (3, 8, 8)
    with pytest.raises(ValueError, match=r"cifarnet.*`add_image_summaries` must be False\. Got True"):
        get_preprocessing("cifarnet", is_training)(image, 8, 8, add_image_summaries=True)


def test_symbols_are_recorded():
    image = slim.placeholder((3, None, None), torch.uint8)
    picture = torch.randint(0, 256, (3, 20, 20), dtype=torch.uint8)
    for name in ("cifarnet", "lenet", "vgg_16"):
        output = get_preprocessing(name)(image, 16, 12)
        expected = get_preprocessing(name)(picture, 16, 12)
        assert output.shape == expected.shape
        assert torch.equal(image.owner.run(output, {image: picture}), expected)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"cifarnet_pre.*a picture \[1 or 3, H, W\].*Got shape \[2, 8, 8\]"):
        cifarnet_preprocessing.preprocess_image(torch.zeros(2, 8, 8), 8, 8)
    with pytest.raises(ValueError, match=r"lenet_pre.*Got shape \[8, 8\]"):
        lenet_preprocessing.preprocess_image(torch.zeros(8, 8), 8, 8)
    with pytest.raises(ValueError, match="It is 16x16, and the output 24x24"):
        cifarnet_preprocessing.preprocess_image(torch.zeros(3, 8, 8), 24, 24, is_training=True)
