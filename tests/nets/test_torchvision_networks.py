"""Which networks of torchvision are the same computation as one of TF-Slim's; VGG is in test_restore_torchvision.py."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
import torch
import torchvision
from torch.nn import BatchNorm2d
from torchvision.models.resnet import Bottleneck, ResNet

import torchslim as slim
from torchslim import nets
from torchslim.nets.common import fixed_padding
from torchslim.nets.resnet_utils import Block, conv2d_same
from torchslim.nets.resnet_v1 import bottleneck, resnet_arg_scope, resnet_v1


def torchvision_resnet(images: slim.Symbol, units: Sequence[int], num_classes: int) -> slim.Symbol:
    """torchvision's ResNet, of the parts of `resnet_v1`: strides in the first units, pads on both sides of the pool."""
    blocks = [
        Block(f"layer{i + 1}", bottleneck, [
            {"depth": 256 * 2**i, "depth_bottleneck": 64 * 2**i, "stride": 2 if i and not unit else 1}
            for unit in range(count)
        ])
        for i, count in enumerate(units)
    ]  # fmt: skip
    with slim.arg_scope(resnet_arg_scope()):
        net = conv2d_same(images, 64, 7, stride=2, scope="conv1")
        net = slim.max_pool2d(fixed_padding(net, 3), [3, 3], stride=2, padding="VALID", scope="pool1")
        return resnet_v1(net, blocks, num_classes, include_root_block=False, scope="resnet")[0]


def torchvision_name(variable: slim.Variable) -> str:
    """`resnet/layer2/unit_1/bottleneck_v1/conv3/BatchNorm/gamma` is `layer2.0.bn3.weight`."""
    key = variable.key.removeprefix("resnet.").replace("bottleneck_v1.", "").replace("logits", "fc")
    key = re.sub(r"unit_(\d+)", lambda unit: str(int(unit[1]) - 1), key)
    key = key.replace("shortcut.BatchNorm", "downsample.1").replace("shortcut", "downsample.0")
    return re.sub(r"conv(\d)\.BatchNorm", r"bn\1", key)


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """Values that tell layers apart, also those that begin as zeros and ones."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.ndim == 1:
            tensor.uniform_(-0.3, 0.3, generator=generator)
    return module.eval()


def assert_same_logits(ours: torch.nn.Module, theirs: torch.nn.Module, size: int) -> None:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, found = theirs(images), ours.eval()(images)
    assert (found - wanted).abs().max() < 1e-4 * wanted.std()


@pytest.mark.parametrize("size", [64, 65])
def test_resnet_of_the_parts_of_resnet_v1(size: int) -> None:
    units = (2, 1, 2, 1)
    torch.manual_seed(0)
    theirs = shaken(ResNet(Bottleneck, list(units), num_classes=10))
    ours = slim.build(torchvision_resnet, slim.InputSpec((None, 3, size, size)), units=units, num_classes=10)
    state = {name: value for name, value in theirs.state_dict().items() if not name.endswith("num_batches_tracked")}
    report = slim.restore(ours, {**state, "fc.weight": state["fc.weight"][:, :, None, None]}, names=torchvision_name)
    assert (report.missing, report.unused) == ([], [])
    assert_same_logits(ours, theirs, size)


@pytest.mark.parametrize("depth", [50, 152])
def test_resnet_v1_has_the_shapes_but_other_strides(depth: int) -> None:
    """All values fit and mean something else, so there is no naming for it."""
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"resnet{depth}")()
        ours = nets.get(f"resnet_v1_{depth}")
    shapes = [sorted(tuple(size for size in p.shape if size != 1) for p in m.parameters()) for m in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert ours.end_points[f"resnet_v1_{depth}/block1"].shape == (None, 256, 28, 28)
    assert theirs.layer1(torch.empty(1, 64, 56, 56, device="meta")).shape == (1, 256, 56, 56)


def test_alexnet_is_another_one() -> None:
    """`fc6` sees 5x5, not 6x6, and `conv4` has 384 filters, not 256."""
    with torch.device("meta"):
        theirs = [tuple(p.shape) for p in torchvision.models.alexnet().parameters() if p.ndim > 1]
        ours = [tuple(p.shape) for p in nets.get("alexnet_v2").parameters() if p.ndim > 1]
    assert (ours[3], theirs[3]) == ((384, 384, 3, 3), (256, 384, 3, 3))
    assert (ours[5], theirs[5]) == ((4096, 256, 5, 5), (4096, 256 * 6 * 6))


@pytest.mark.parametrize(("name", "theirs"), [("inception_v1", "googlenet"), ("inception_v3", "inception_v3")])
def test_inceptions_scale_where_ours_do_not(name: str, theirs: str) -> None:
    """Their batch normalization multiplies by weights that TF-Slim's does without."""
    with torch.device("meta"):
        modules = list(getattr(torchvision.models, theirs)(init_weights=False).modules())
        ours = nets.get(name)
    assert {module.affine for module in modules if isinstance(module, BatchNorm2d)} == {True}
    assert slim.get_model_variables(suffix="beta", module=ours)
    assert not slim.get_model_variables(suffix="gamma", module=ours)


def test_mobilenet_v2_with_its_own_padding_and_epsilon() -> None:
    """torchvision pads by the kernel, and divides with another epsilon; apart from that it is the same network."""
    torch.manual_seed(0)
    theirs = shaken(torchvision.models.mobilenet_v2(num_classes=10))
    with slim.arg_scope([slim.batch_norm], epsilon=1e-5):
        ours = nets.get("mobilenet_v2", 10, image_size=64, use_explicit_padding=True)
    values = [value for name, value in theirs.state_dict().items() if not name.endswith("num_batches_tracked")]
    variables = slim.get_model_variables(module=ours)
    assert [value.numel() for value in values] == [variable.tensor.numel() for variable in variables]
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value.reshape(variable.shape))
    assert_same_logits(ours, theirs, 64)
