"""The preprocessing for torchvision's weights against torchvision's own."""

from __future__ import annotations

import pytest
import torch
import torchvision

from torchslim.preprocessing import get_preprocessing


@pytest.mark.parametrize("size", [(300, 400), (512, 290), (90, 121)])
def test_evaluation_is_what_the_weights_ask_for(size):
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    reference = torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms()
    # Its resizing of uint8 pictures rounds in another way now and then: by one of 256 levels, 0.018 here.
    difference = get_preprocessing("torchvision")(image, 224, 224) - reference(image)
    assert difference.abs().max() < 0.0176
    assert difference.abs().mean() < 0.004
    exact = get_preprocessing("torchvision")(image.float(), 224, 224)
    resized = torchvision.transforms.functional.resize(image.float() / 255, [256], antialias=True)
    middle = torchvision.transforms.functional.center_crop(resized, [224, 224])
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    torch.testing.assert_close(exact, (middle - mean) / deviation, rtol=1e-5, atol=1e-5)


def test_nhwc_is_the_same_picture():
    image = torch.randint(0, 256, (3, 300, 400), dtype=torch.uint8)
    preprocess = get_preprocessing("torchvision")
    channels_last = preprocess(image.permute(1, 2, 0), 64, 96, data_format="NHWC")
    assert torch.equal(channels_last.permute(2, 0, 1), preprocess(image, 64, 96))


def test_training_crops_at_random():
    image = torch.arange(40.0).expand(3, 30, 40)
    preprocess = get_preprocessing("torchvision", is_training=True)
    rows = set()
    for _ in range(200):
        row = preprocess(image, 30, 30, resize_side_min=30, resize_side_max=30)[0, 0] * 0.229 + 0.485
        rows.add(tuple((row * 255).round().int().tolist()))
    columns = [list(range(start, start + 30)) for start in range(11)]
    assert rows == {tuple(c) for c in columns} | {tuple(c[::-1]) for c in columns}


def test_too_small_a_picture_is_refused():
    with pytest.raises(ValueError, match="It is 64x64, and the output 100x50"):
        get_preprocessing("torchvision")(torch.zeros(3, 20, 20), 100, 50, resize_side_min=64)
