"""Every case of the goldens, called as it says that TF-Slim and TensorFlow were."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from torchslim import preprocessing
from torchslim.preprocessing import color, image_ops, resize_images, sample_distorted_bounding_box

CASES = json.loads((Path(__file__).parents[1] / "goldens" / "preprocessing" / "expected.json").read_text())
RESIZING = {"resize_bilinear": "bilinear", "resize_nearest_neighbor": "nearest", "resize_images": None}


def operation(op: str, call: dict[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """One of `tf.image`, with the arguments of a case."""
    name = op.rpartition(".")[-1]
    if name in RESIZING:
        options = {"method": RESIZING[name] or call["method"], "align_corners": call.get("align_corners", False)}
        return lambda image: resize_images(image, call["height"], call["width"], **options)
    function = getattr(color, name, None) or getattr(image_ops, name)
    arguments = [call[key] for key in ("value", "central_fraction") if key in call]
    return lambda image: function(image, *arguments)


def output_of(case: dict[str, Any], image: torch.Tensor) -> torch.Tensor:
    call = {key: value for key, value in case["call"].items() if key not in ("note", "method_name")}
    if "sequence" in call:
        for change, amount in call["sequence"]:
            image = getattr(color, f"adjust_{change}")(image, amount)
        return image.clamp(0, 1)
    if "op" in call:
        return operation(call.pop("op"), call)(image)
    size = call.pop("height"), call.pop("width")
    if "function" in call:
        module, _, name = call.pop("function").partition(".")
        return getattr(getattr(preprocessing, module), name)(image, *size, **call)
    return preprocessing.get_preprocessing(call.pop("factory"), call.pop("is_training", False))(image, *size, **call)


def test_there_are_31() -> None:
    assert len(CASES) == 31


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("random_")])
def test_numbers(goldens, name):
    image = goldens.picture(name)
    goldens.assert_close(output_of(CASES[name], image), name)
    batch = output_of(CASES[name], torch.stack([image.flip(-1), image]))
    goldens.assert_close(batch[1], name)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("random_train/")])
def test_distributions_of_a_batch(goldens, name):
    torch.manual_seed(2)
    images = goldens.picture(name).expand(1500, -1, -1, -1)
    goldens.assert_distribution(output_of(CASES[name], images), name)


def test_boxes_have_a_case_of_their_own() -> None:
    others = [name for name in CASES if name.startswith("random_") and not name.startswith("random_train/")]
    assert others == [f"random_{sample_distorted_bounding_box.__name__}/full_box_300x400"]
