"""The arguments of LeNet and CifarNet; their names and numbers are in test_nets_goldens.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import torchslim as slim
from torchslim.nets import cifarnet, lenet

NETWORKS = [(lenet.lenet, 28, 1024), (cifarnet.cifarnet, 32, 192)]


@pytest.mark.parametrize(("function", "size", "features"), NETWORKS)
def test_arguments(function: Any, size: int, features: int) -> None:
    assert function.default_image_size == size
    images = torch.empty(2, 3, size + 12, size, device="meta")
    for none in (None, 0):
        model = slim.build(function, images, num_classes=none)
        assert model(images).shape == (2, features)
    model = slim.build(function, images, scope="small", prediction_fn=lambda logits, scope: torch.sigmoid(logits))
    assert all(variable.op.name.startswith("small/") for variable in slim.get_variables(module=model))
    assert model.end_points["Predictions"].shape == (None, 10)


@pytest.mark.parametrize(("function", "size", "features"), NETWORKS)
def test_dropout_is_off_unless_it_is_asked_for(function: Any, size: int, features: int) -> None:
    images = torch.randn(2, 3, size, size)
    for is_training, drops in ((False, False), (None, True), (True, True)):
        with slim.Graph():
            model = slim.build(function, images, is_training=is_training, dropout_keep_prob=0.1).train()
        assert torch.equal(model(images), model(images)) != drops
        model.eval()
        assert torch.equal(model(images), model(images))
