"""VGG preprocessing against numbers made by TF-Slim's own."""

from __future__ import annotations

import functools
import pickle

import pytest
import torch

from torchslim.preprocessing import get_preprocessing, vgg_preprocessing
from torchslim.preprocessing.image_ops import size_with_shorter_side


@pytest.mark.parametrize("memory", ["hwc", "chw"])
@pytest.mark.parametrize("name", ["vgg_eval_224/a", "vgg_eval_224/b", "vgg_eval_224/c", "vgg_eval_224_upscale"])
def test_evaluation_gives_tf_slims_numbers(goldens, name, memory):
    image = goldens.picture(name)
    output = get_preprocessing("vgg_16")(image.contiguous() if memory == "chw" else image, 224, 224)
    goldens.assert_close(output, name)


def test_nhwc_and_float_pictures_give_the_same(goldens):
    image = goldens.picture("vgg_eval_224/a").permute(1, 2, 0)
    output = vgg_preprocessing.preprocess_image(image.float(), 224, 224, data_format="NHWC")
    goldens.assert_close(output.permute(2, 0, 1), "vgg_eval_224/a")


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    # 5 * 1.5 = 7.5 and 7 * 1.5 = 10.5 lie in the middle: half to even.
    [((2, 5), 3, (3, 8)), ((2, 7), 3, (3, 10)), ((375, 500), 256, (256, 341)), ((500, 333), 256, (384, 256))],
)
def test_new_size_is_rounded_half_to_even(size, side, expected):
    assert tuple(size_with_shorter_side(*size, torch.tensor(side)).tolist()) == expected


def test_training_has_tf_slims_distribution(goldens):
    name = "random_train/vgg_64_side72_128"
    image, preprocess = goldens.picture(name), get_preprocessing("vgg_16", is_training=True)
    torch.manual_seed(1)
    outputs = torch.stack([preprocess(image, 64, 64, resize_side_min=72, resize_side_max=128) for _ in range(400)])
    goldens.assert_distribution(outputs, name)


@pytest.mark.parametrize("axis", [1, 2])
def test_training_draws_every_side_place_and_direction(axis):
    # Values count along one axis: a crop says where it was taken from, at what size, and whether it is mirrored.
    image = torch.arange(33.0).expand(3, 30, 33)
    image = image if axis == 2 else image.mT
    seen = set()
    for seed in range(300):
        torch.manual_seed(seed)
        crop = vgg_preprocessing.preprocess_image(image, 30, 30, True, 30, 31)[0] + 123.68
        line = crop[15] if axis == 2 else crop[:, 15]
        is_mirrored = bool(line[1] < line[0])
        line = line.flip(0) if is_mirrored else line
        side = round(30 / (line[5] - line[4]).item())
        steps = line[0] + torch.arange(30) * (line[1] - line[0])
        torch.testing.assert_close(line, steps.clamp(max=32), rtol=0, atol=1e-3)  # 32: the last pixel
        seen.add((side, round(line[0].item() * side / 30), is_mirrored))
    lengths = {30: 33, 31: 34}
    directions = (False, True) if axis == 2 else (False,)
    assert seen == {(s, x, m) for s, n in lengths.items() for x in range(n - 30 + 1) for m in directions}


def test_transform_can_be_pickled_for_workers():
    transform = functools.partial(get_preprocessing("vgg", is_training=True), output_height=32, output_width=48)
    image = torch.randint(0, 256, (3, 300, 310), dtype=torch.uint8)
    assert pickle.loads(pickle.dumps(transform))(image).shape == (3, 32, 48)


def test_input_stays_as_it_is():
    image = torch.rand(3, 256, 256) * 255
    before = image.clone()
    vgg_preprocessing.preprocess_image(image, 256, 256)
    assert torch.equal(image, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"image": torch.zeros(1, 300, 300)},
            r"`image` must be an RGB picture \[3, H, W\] or a batch \[N, 3, H, W\].*Got shape \[1, 300, 300\]",
        ),
        ({"image": torch.zeros(2, 1, 30, 30)}, r"Got shape \[2, 1, 30, 30\]"),
        ({"image": torch.zeros(5, 2, 3, 30, 30)}, r"Got shape \[5, 2, 3, 30, 30\]"),
        ({"use_grayscale": True}, "`use_grayscale` must be False: three means.*Got True"),
        ({"image": torch.zeros(3, 0, 30)}, r"Got shape \[3, 0, 30\]"),
        ({"data_format": "NHWC"}, r"\[N, H, W, 3\] for NHWC.*Got shape \[3, 300, 300\]"),
        ({"data_format": "CHW"}, "`data_format` must be.*'CHW'"),
        ({"resize_side_min": 100}, "It is 100x100, and the output 224x224"),
        ({"is_training": True, "resize_side_max": 200}, "at most `resize_side_max`. Got 256 and 200"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        vgg_preprocessing.preprocess_image(
            **{"image": torch.zeros(3, 300, 300), "output_height": 224, "output_width": 224, **arguments}
        )


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"Got 'vgg-16'\. Did you mean 'vgg_16'"):
        get_preprocessing("vgg-16")
