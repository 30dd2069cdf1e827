"""VGG against TF-Slim: names, shapes, counts, end points, logits and regularization loss (tests/goldens/nets)."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim.nets import vgg

GOLDENS = Path(__file__).parents[1] / "goldens" / "nets"
NAMES = ["vgg_16", "vgg_16__classes20", "vgg_19", "vgg_a", "vgg_a__fcsame_64"]


def load(name: str) -> dict[str, Any]:
    return json.loads((GOLDENS / f"{name}.json").read_text())


def golden_value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The values that the goldens were recorded with: noise that the variable's name seeds."""
    values = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape).astype("float32")
    return values * np.float32(0.1 if name.endswith("biases") else math.sqrt(2.0 / np.prod(shape[:-1])))


def build(case: dict[str, Any], data_format: str) -> slim.Model:
    function = getattr(vgg, case["call"]["function"].rpartition(".")[2])
    _, height, width, channels = case["input_shape"]
    shape = (height, width, channels) if data_format == "NHWC" else (channels, height, width)
    with (
        torch.device("meta"),
        slim.arg_scope(vgg.vgg_arg_scope()),
        slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=data_format),
    ):
        return slim.build(function, slim.InputSpec((None, *shape)), **case["call"]["kwargs"])


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", NAMES)
def test_structure(name: str, data_format: str) -> None:
    case = load(name)
    model = build(case, data_format)
    variables = slim.get_variables(module=model)
    assert [[v.op.name, list(v.tf_shape), v.trainable] for v in variables] == case["variables"]
    assert sum(p.numel() for p in model.parameters()) == case["counts"]["parameters_trainable"]
    assert sum(v.regularizer is not None for v in variables) == case["counts"]["regularization_losses"]
    assert list(model.end_points) == [end_point[0] for end_point in case["end_points"]]
    for end_point, shape in ((model.end_points[e[0]], e[1]) for e in case["end_points"]):
        ours = shape if data_format == "NHWC" or len(shape) == 2 else [shape[i] for i in (0, 3, 1, 2)]
        assert list(end_point.shape) == [None, *ours[1:]], end_point.name


@pytest.mark.slow
@pytest.mark.parametrize(("name", "data_format"), [("vgg_16", "NCHW"), ("vgg_a__fcsame_64", "NHWC")])
def test_numbers(name: str, data_format: str) -> None:
    case = load(name)
    model = build(case, data_format).eval()
    variables = slim.get_variables(module=model)
    for variable in variables:
        variable.assign(variable.from_tf(golden_value(variable.op.name, variable.tf_shape)))
    images = np.random.RandomState(case["input_seed"]).uniform(-1, 1, case["input_shape"]).astype("float32")
    to_ours = (0, 1, 2, 3) if data_format == "NHWC" else (0, 3, 1, 2)
    to_theirs = (0, 1, 2, 3) if data_format == "NHWC" else (0, 2, 3, 1)
    with torch.inference_mode():
        ends = model.extract(*model.end_points)(torch.from_numpy(images).permute(to_ours))
        loss = sum(v.regularizer(v.tensor) for v in variables if v.regularizer)
    assert float(loss) == pytest.approx(case["regularization_loss"], rel=1e-5)
    for (key, shape, mean, std, first), end in zip(case["end_points"], ends, strict=True):
        end = end.permute(to_theirs) if end.ndim == 4 else end
        assert list(end.shape) == shape
        assert float(end.mean()) == pytest.approx(mean, abs=1e-4 * std), key
        assert float(end.std(correction=0)) == pytest.approx(std, rel=1e-4), key
        np.testing.assert_allclose(end.flatten()[: len(first)], first, atol=1e-4 * std, err_msg=key)
    output = case["output"]
    np.testing.assert_allclose(end.flatten()[: len(output["values"])], output["values"], atol=1e-4 * output["std"])


def test_arguments() -> None:
    with torch.device("meta"):
        features = slim.build(vgg.vgg_a, torch.empty(1, 3, 224, 224), num_classes=None)
        pooled = slim.build(vgg.vgg_a, torch.empty(1, 3, 320, 256), num_classes=20, global_pool=True)
        maps = slim.build(vgg.vgg_a, torch.empty(1, 3, 320, 256), num_classes=20, spatial_squeeze=False)
        renamed = slim.build(vgg.vgg_a, torch.empty(1, 3, 224, 224), scope="backbone", is_training=False)
        assert features(torch.empty(2, 3, 224, 224)).shape == (2, 4096, 1, 1)
        assert pooled(torch.empty(2, 3, 320, 256)).shape == (2, 20)
        assert maps(torch.empty(2, 3, 320, 256)).shape == (2, 20, 4, 2)
    assert "global_pool" in pooled.end_points
    assert list(renamed.end_points)[-1] == "backbone/fc8"
    assert not renamed.train().backbone.dropout6.training


def test_reuse_shares_every_variable() -> None:
    def twins(a: slim.Symbol, b: slim.Symbol) -> tuple[slim.Symbol, slim.Symbol]:
        return vgg.vgg_a(a, 5)[0], vgg.vgg_a(b, 5, reuse=True)[0]

    with torch.device("meta"):
        model = slim.build(twins, *[torch.empty(1, 3, 224, 224)] * 2)
        alone = slim.build(vgg.vgg_a, torch.empty(1, 3, 224, 224), num_classes=5)
    assert list(model.state_dict()) == list(alone.state_dict())
