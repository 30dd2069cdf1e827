"""Dense layers on images and convolutions that cover them: the same function, so the same outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import torchslim as slim
from torchslim.checkpoints import restore
from torchslim.checkpoints.fitting import arrangement, copy_turned

IMAGE = (5, 3, 4)  # C, H, W: no two alike, so that no wrong order fits


def convolution(images: slim.Symbol) -> slim.Symbol:
    net = slim.conv2d(images, 7, IMAGE[1:], padding="VALID", scope="fc6")
    return slim.flatten(slim.conv2d(net, 6, [1, 1], activation_fn=None, scope="fc7"))


def dense(images: slim.Symbol) -> slim.Symbol:
    net = slim.fully_connected(images, 7, scope="fc6")
    return slim.fully_connected(net, 6, activation_fn=None, scope="fc7")


def dense_on_features(images: slim.Symbol) -> slim.Symbol:
    return slim.fully_connected(images.flatten(2).transpose(1, 2).flatten(1), 7, scope="fc6")


def build(net: Callable[..., Any]) -> torch.nn.Module:
    return slim.build(net, slim.InputSpec((None, *IMAGE)))


def contents(model: torch.nn.Module, layout: str) -> dict[str, torch.Tensor]:
    if layout == "torch":
        return model.state_dict()
    return {variable.op.name: variable.to_tf(variable.tensor) for variable in slim.get_variables(module=model)}


@pytest.mark.parametrize("layout", ["torch", "tf"])
@pytest.mark.parametrize(("ours", "theirs"), [(convolution, dense), (dense, convolution)])
def test_each_takes_the_weights_of_the_other(ours: Any, theirs: Any, layout: str) -> None:
    source, model = build(theirs), build(ours)
    values = contents(source, layout)
    proposal = r"With dense_as_convolution=True, 2 of them fit \(fc6/weights, fc7/weights\)"
    with pytest.raises(ValueError, match=f"(?s){proposal}.*exclude="):
        restore(model, values, layout=layout)
    restore(model, values, layout=layout, dense_as_convolution=True)
    images = torch.randn(2, *IMAGE)
    torch.testing.assert_close(model(images), source(images))


def test_tensorflows_order_is_height_width_channels() -> None:
    """By hand: row (h * 4 + w) * 5 + c of the matrix is the weight of the pixel [c, h, w]."""
    model = build(convolution)
    matrix = torch.arange(60.0)[:, None] * torch.tensor([1.0, 2, 3, 4, 5, 6, 7])
    source = {"fc6/weights": matrix}
    restore(model, source, include="fc6/weights", layout="tf", dense_as_convolution=True)
    for c, h, w in ((0, 0, 0), (4, 0, 0), (0, 0, 1), (1, 2, 3)):
        assert model.fc6.weight[:, c, h, w].tolist() == [(h * 4 + w) * 5 * k + c * k for k in range(1, 8)]


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (build(dense_on_features), (3, 4, 5, 7)),  # which image it was is not known
        (build(dense), (4, 3, 5, 7)),  # another image
        (build(dense), (1, 1, 60, 7)),  # the order of these 60 is not known
        (build(convolution), (60, 8)),
        (build(convolution), (7, 60)),
        (build(convolution), (3, 4, 7, 5)),
    ],
)
def test_what_may_not_be_guessed(model: torch.nn.Module, shape: tuple[int, ...]) -> None:
    (weights,) = slim.get_variables("fc6/weights", module=model)
    assert arrangement(weights, shape, tf_layout=True, dense_as_convolution=True) is None


def test_biases_are_no_matrices() -> None:
    (biases,) = slim.get_variables("fc6/biases", module=build(convolution))
    assert arrangement(biases, (7, 1), tf_layout=False, dense_as_convolution=True) is None
    reshape = arrangement(biases, (7, 1), tf_layout=False, reshape=True)
    assert reshape is not None
    assert reshape(torch.ones(7, 1)).shape == (7,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("outputs", [1, 31, 64, 100])
@pytest.mark.parametrize("space", [(5,), (3, 4), (2, 3, 2)])
def test_turned_copies_are_copies(space: tuple[int, ...], outputs: int, dtype: torch.dtype) -> None:
    stored = torch.randn(*space, 300, outputs).to(dtype)
    kernel = stored.permute(-1, -2, *range(len(space)))
    target = torch.nn.Parameter(torch.empty(kernel.shape))
    copy_turned(target.detach(), kernel)
    assert torch.equal(target, kernel.float())
    by_channels = torch.empty(300, outputs, *space, dtype=dtype).transpose(0, 1)
    copy_turned(by_channels, kernel)
    assert torch.equal(by_channels, kernel)


@pytest.mark.parametrize("layout", ["torch", "tf"])
@pytest.mark.parametrize("net", [convolution, dense])
def test_the_background_is_dropped(net: Any, layout: str) -> None:
    def with_background(images: slim.Symbol) -> slim.Symbol:
        return slim.stack(net(images), slim.fully_connected, [(7, None)], scope="logits")

    def without(images: slim.Symbol) -> slim.Symbol:
        return slim.stack(net(images), slim.fully_connected, [(6, None)], scope="logits")

    source, model = build(with_background), build(without)
    report = restore(model, contents(source, layout), layout=layout, drop_background=True)
    images = torch.randn(2, *IMAGE)
    torch.testing.assert_close(model(images), source(images)[:, 1:])
    changes = {name: change for name, change in report.converted.items() if "background" in change}
    assert list(changes) == ["logits/logits_1/weights", "logits/logits_1/biases"]
    with pytest.raises(ValueError, match="drop_background=True`, but nothing in the given mapping has one class more"):
        restore(source, contents(source, layout), layout=layout, drop_background=True)
