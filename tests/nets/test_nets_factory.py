"""`get_network_fn`: every network by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import torchslim as slim
from torchslim.nets import inception, nets_factory

# The networks that TF-Slim's factory has.
NAMES = [
    "alexnet_v2",
    "cifarnet",
    "overfeat",
    "vgg_a",
    "vgg_16",
    "vgg_19",
    "inception_v1",
    "inception_v2",
    "inception_v3",
    "inception_v4",
    "inception_resnet_v2",
    "i3d",
    "s3dg",
    "lenet",
    "resnet_v1_50",
    "resnet_v1_101",
    "resnet_v1_152",
    "resnet_v1_200",
    "resnet_v2_50",
    "resnet_v2_101",
    "resnet_v2_152",
    "resnet_v2_200",
    "mobilenet_v1",
    "mobilenet_v1_075",
    "mobilenet_v1_050",
    "mobilenet_v1_025",
    "mobilenet_v2",
    "mobilenet_v2_140",
    "mobilenet_v2_035",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "mobilenet_v3_small_minimalistic",
    "mobilenet_v3_large_minimalistic",
    "mobilenet_edgetpu",
    "mobilenet_edgetpu_075",
    "nasnet_cifar",
    "nasnet_mobile",
    "nasnet_large",
    "pnasnet_large",
    "pnasnet_mobile",
]
GOLDENS = Path(__file__).parents[1] / "goldens" / "nets"


def test_names() -> None:
    assert list(nets_factory.networks_map) == NAMES
    assert list(nets_factory.networks_map) == list(nets_factory.arg_scopes_map)
    assert repr(nets_factory.networks_map).startswith("<40 networks: alexnet_v2, cifarnet, ")


@pytest.mark.parametrize("name", nets_factory.networks_map)
def test_networks_have_the_variables_of_the_goldens(name: str) -> None:
    case = json.loads((GOLDENS / f"{name}.json").read_text())
    network = nets_factory.get_network_fn(name, num_classes=case["call"]["kwargs"]["num_classes"])
    _, *space, channels = case["input_shape"]
    assert network.default_image_size in (*space, 224)
    with torch.device("meta"):
        model = slim.build(network, slim.InputSpec((None, channels, *space)))
    variables = slim.get_variables(module=model)
    assert [variable.op.name for variable in variables] == [variable[0] for variable in case["variables"]]


def test_defaults_are_the_network_s() -> None:
    images = torch.empty(1, 3, 224, 224, device="meta")
    network = nets_factory.get_network_fn("inception_v1", 5, weight_decay=0.5, is_training=True)
    model = slim.build(network, images, global_pool=True)
    assert network.__name__ == "inception_v1"
    assert network.default_image_size == inception.inception_v1.default_image_size
    assert "global_pool" in model.end_points
    (weights,) = slim.get_variables("InceptionV1/Conv2d_1a_7x7/weights", module=model)
    assert weights.regularizer == slim.l2_regularizer(0.5)
    assert model.train().InceptionV1.Conv2d_1a_7x7.training
    pinned = slim.build(nets_factory.get_network_fn("inception_v1", 5), images)
    assert not any(module.training for module in pinned.train().modules() if isinstance(module, torch.nn.BatchNorm2d))
    (unregularized,) = slim.get_variables("InceptionV1/Conv2d_1a_7x7/weights", module=pinned)
    assert unregularized.regularizer == slim.l2_regularizer(0.0)


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"Got 'inception_v9'. Did you mean 'inception_v\d'\?"):
        nets_factory.get_network_fn("inception_v9", 10)
    with pytest.raises(ValueError, match=r"Got 'zzz'. There are alexnet_v2, "):
        nets_factory.get_network_fn("zzz", 10)
