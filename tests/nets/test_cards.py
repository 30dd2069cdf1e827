"""The cards of the networks: what they say of size and cost is counted, what else can be checked is checked."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import ResNet50_Weights

import torchslim as slim
from torchslim import nets
from torchslim.nets import nets_factory
from torchslim.preprocessing import get_preprocessing

PLAIN = {"alexnet_v2", "cifarnet", "lenet", "mobilenet_v1_025", "mobilenet_v3_small", "resnet_v1_50", "vgg_16"}
LARGE = [pytest.mark.nightly]
NETWORKS = [pytest.param(name, marks=[] if name in PLAIN else LARGE) for name in nets_factory.networks_map]


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_multiply_adds(name: str) -> None:
    """The parameters of a training model; what PyTorch counts on the way to the logits of two examples."""
    card = nets.card(name)
    network = nets_factory.get_network_fn(name, card.num_classes, is_training=None)
    with slim.Graph() as graph, torch.device("meta"):
        logits, _ = network(slim.placeholder((None, *card.input_shape)))
        assert sum(math.prod(variable.shape) for variable in slim.get_trainable_variables()) == card.parameters
        model = graph.module(logits, initialize=False)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(2, *card.input_shape, device="meta"))
    assert counter.get_total_flops() == 2 * 2 * card.multiply_adds
    assert model.summary().multiply_adds == card.multiply_adds


@pytest.mark.parametrize("name", nets_factory.networks_map)
def test_what_networks_are_for(name: str) -> None:
    card = nets.card(name)
    default = nets_factory.networks_map[name].default_image_size
    # The published ResNets v2 are evaluated on larger pictures than the function's default.
    assert card.image_size == (299 if name.startswith("resnet_v2") else default)
    assert callable(get_preprocessing(card.preprocessing))
    assert card.background == (card.num_classes == 1001)
    assert bool(card.archive) == bool(card.format)
    assert len(card.class_names) == (card.num_classes if card.labels else 0)
    if card.labels == "imagenet.txt":
        classes = tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])
        assert card.class_names == (("background", *classes) if card.background else classes)


def test_published_sizes() -> None:
    """What the README of research/slim says: parameters without the background class, operations as two each."""
    table = {
        "inception_v1": (1.50, 6_617_624),
        "resnet_v2_50": (6.54, 25_568_360),
        "mobilenet_v2": (0.300, 3_504_872),
        "mobilenet_v3_large": (0.217, 5_483_032),
    }
    for name, (billions, parameters) in table.items():
        card = nets.card(name)
        assert card.multiply_adds / 1e9 == pytest.approx(billions, rel=5e-3)
        with torch.device("meta"):
            model = nets.get(name, num_classes=1000)
        assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"Got 'vgg16'. Did you mean 'vgg_16'\?"):
        nets.card("vgg16")
    with pytest.raises(ValueError, match=r"Got 'zzz'. There are alexnet_v2, "):
        nets.card("zzz")
