"""VGG's arguments; its names and numbers are in test_nets_goldens.py."""

from __future__ import annotations

import pytest
import torch

import torchslim as slim
from torchslim.nets import vgg


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


@pytest.mark.parametrize("name", ["vgg_a", "vgg_16", "vgg_19"])
def test_without_a_scope_it_has_its_own_name_each_time(name: str) -> None:
    def twice(images: slim.Symbol) -> list[slim.Symbol]:
        return [getattr(vgg, name)(images, 5, scope=None)[0] for _ in range(2)]

    with torch.device("meta"):
        model = slim.build(twice, torch.empty(1, 3, 224, 224))
    assert list(dict.fromkeys(v.op.name.split("/")[0] for v in slim.get_variables(module=model))) == [name, f"{name}_1"]
