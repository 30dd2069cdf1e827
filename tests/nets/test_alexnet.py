"""AlexNet's and OverFeat's arguments; names and numbers of the networks are in test_nets_goldens.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import torchslim as slim
from torchslim.nets import alexnet, overfeat

NETWORKS = [(alexnet.alexnet_v2, 224, 4096), (overfeat.overfeat, 231, 4096)]


def build(function: Any, height: int, width: int, **kwargs: Any) -> slim.Model:
    return slim.build(function, torch.empty(1, 3, height, width, device="meta"), **kwargs)


@pytest.mark.parametrize(("function", "size", "features"), NETWORKS)
def test_arguments(function: Any, size: int, features: int) -> None:
    assert function.default_image_size == size
    headless = build(function, size, size, num_classes=None)
    pooled = build(function, 320, 256, num_classes=20, global_pool=True)
    maps = build(function, 400, 320, num_classes=20, spatial_squeeze=False)
    renamed = build(function, size, size, scope="backbone", is_training=False)
    assert headless(torch.empty(2, 3, size, size, device="meta")).shape == (2, features, 1, 1)
    assert pooled(torch.empty(2, 3, 320, 256, device="meta")).shape == (2, 20)
    assert maps(torch.empty(2, 3, 400, 320, device="meta")).shape[1] == 20
    assert min(maps.end_points[f"{function.__name__}/fc8"].shape[2:]) > 1
    assert "global_pool" in pooled.end_points
    assert list(renamed.end_points)[-1] == "backbone/fc8"
    assert not renamed.train().backbone.dropout6.training


@pytest.mark.parametrize(("scope", "convolutions"), [("alexnet_v2", 0.1), ("overfeat", 0.0)])
def test_biases_begin_as_in_tf_slim(scope: str, convolutions: float) -> None:
    module = {"alexnet_v2": alexnet, "overfeat": overfeat}[scope]
    function = getattr(module, scope)
    size = function.default_image_size
    with slim.arg_scope(getattr(module, f"{scope}_arg_scope")()):
        model = build(function, size, size, num_classes=5)
    for layer, value in (("conv1", convolutions), ("conv5", convolutions), ("fc6", 0.1), ("fc7", 0.1), ("fc8", 0.0)):
        (biases,) = slim.get_variables(f"{scope}/{layer}/biases", module=model)
        biases.initialize()
        assert float(biases.tensor[0].detach()) == pytest.approx(value), layer
