"""What an error says about the mistakes that are often made; and what is neither used nor unused."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim.checkpoints import Reader, StoredTensor, restore


def net(images: slim.Symbol, classes: int = 1000, normalizer_fn: Any = None) -> slim.Symbol:
    with slim.variable_scope("net"):
        net = slim.repeat(images, 2, slim.conv2d, 4, [3, 2], normalizer_fn=normalizer_fn, scope="block")
        return slim.fully_connected(net.mean((2, 3)), classes, activation_fn=None, scope="Logits")


def build(device: str = "cpu", **options: Any) -> torch.nn.Module:
    with torch.device(device):
        return slim.build(net, slim.InputSpec((None, 3, 4, 6)), **options)


def tf_values(model: torch.nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + v.op.name: v.to_tf(v.tensor).detach().clone() for v in slim.get_variables(module=model)}


def message(model: torch.nn.Module, source: Any, **options: Any) -> str:
    with pytest.raises(ValueError, match=r"does not fit the model; nothing was changed\.") as error:
        restore(model, source, **options)
    return str(error.value)


@pytest.mark.parametrize("layout", ["tf", "torch"])
def test_batch_norm_in_the_one_and_biases_in_the_other(layout: str) -> None:
    plain, normalized = build(), build(normalizer_fn=slim.batch_norm)

    def source(model: torch.nn.Module) -> dict[str, torch.Tensor]:
        return tf_values(model) if layout == "tf" else model.state_dict()

    layers = "(net/block/block_1, net/block/block_2)"
    text = message(plain, source(normalized), layout=layout)
    assert f"has BatchNorm where the model has biases {layers}: was the net's arg_scope entered" in text
    text = message(normalized, source(plain), layout=layout)
    assert f"has biases where the model has BatchNorm {layers}: was the model built in an arg_scope" in text
    unrelated = {name: tensor for name, tensor in source(plain).items() if "block_1" not in name}
    assert "BatchNorm" not in message(plain, unrelated, layout=layout)


@pytest.mark.parametrize(("ours", "theirs"), [(1000, 1001), (1001, 1000)])
def test_the_background_class(ours: int, theirs: int) -> None:
    text = message(build(classes=ours), tf_values(build(classes=theirs)), layout="tf")
    assert f"The checkpoint has {theirs} classes and the model {ours}: of 1001, class 0 is the background" in text
    assert f"Build the model with num_classes={theirs}" in text
    assert ("leave that class out with drop_background=True" in text) == (theirs == 1001)
    assert text.endswith("exclude=['net/Logits'].")
    assert "background" not in message(build(classes=ours), tf_values(build(classes=20)), layout="tf")


@pytest.mark.parametrize(
    ("renamed", "proposal"),
    [("model/net/", ("model", "")), ("v2/", ("v2", "net")), ("a/b/net/", ("a/b", ""))],
)
def test_a_prefix_that_differs(renamed: str, proposal: tuple[str, str]) -> None:
    model = build()
    source = {renamed + name.removeprefix("net/"): tensor for name, tensor in tf_values(build()).items()}
    source |= {f"{name}/Momentum": tensor for name, tensor in source.items()}
    source |= {f"{name}/ExponentialMovingAverage": tensor for name, tensor in tf_values(build(), "x/").items()}
    assert f"With names={proposal!r}, 6 of these 6 are found." in message(model, source, layout="tf")
    report = restore(model, source, names=proposal, layout="tf")
    assert len(report.optimizer_slots) == 6
    assert len(report.unused) == 6  # averages of variables that are not there


# Moving averages.


def with_averages(values: dict[str, torch.Tensor], *parts: str) -> dict[str, torch.Tensor]:
    chosen = {name: tensor for name, tensor in values.items() if any(part in name for part in parts)}
    return values | {f"{name}/ExponentialMovingAverage": tensor + 1 for name, tensor in chosen.items()}


@pytest.mark.parametrize(
    ("parts", "prefer_ema", "averaged"),
    [
        (["weights", "biases"], False, 0),
        (["weights", "biases"], True, 6),
        (["weights", "biases"], "auto", 6),
        (["weights"], False, 0),
        (["weights"], True, 3),
        (["weights"], "auto", 0),
        ([], "auto", 0),
    ],
)
def test_which_averages_are_taken(parts: list[str], prefer_ema: bool | str, averaged: int) -> None:
    source = tf_values(build())
    for device in ("cpu", "meta"):
        model = build(device)
        report = restore(model, with_averages(source, *parts), layout="tf", prefer_ema=prefer_ema)
        assert (len(report.averaged), len(report.restored), report.unused) == (averaged, 6, [])
        for name, value in tf_values(model).items():
            assert torch.equal(value, source[name] + (name in report.averaged))


def test_auto_asks_for_what_is_restored_only() -> None:
    source = with_averages(tf_values(build()), "block")
    report = restore(build(), source, exclude="Logits", layout="tf", prefer_ema="auto")
    assert len(report.averaged) == 4
    assert "from their moving averages (4): net/block/block_1/weights" in str(report)


def test_averages_in_other_names_and_layouts() -> None:
    model, values = build(), build().state_dict()
    source = {key.replace("net.", "old."): tensor for key, tensor in values.items()}
    averages = {f"{key}/ExponentialMovingAverage": tensor + 1 for key, tensor in source.items()}
    restore(model, source | averages, names=("old", "net"), prefer_ema=True)
    assert all(torch.equal(tensor, values[key] + 1) for key, tensor in model.state_dict().items())


def test_no_averages_to_prefer() -> None:
    with pytest.raises(ValueError, match=r"`prefer_ema=True`, but the given mapping has no moving average"):
        restore(build(), build().state_dict(), prefer_ema=True)
    with pytest.raises(ValueError, match=r"`prefer_ema` must be True, False or 'auto'\. Got 'yes'"):
        restore(build(), build().state_dict(), prefer_ema="yes")


# Optimizer slots.


@pytest.mark.parametrize(
    ("name", "is_slot"),
    [
        ("net/Logits/weights/Momentum", True),
        ("net/Logits/weights/RMSProp_1", True),
        ("net/Logits/weights/Adadelta", True),
        ("net/Logits/weights/Ftrl_2", True),
        ("OptimizeLoss/net/Logits/biases/Adam_1", True),
        ("beta1_power", True),
        ("train/beta2_power_1", True),
        ("model/kernel/.OPTIMIZER_SLOT/optimizer/momentum/.ATTRIBUTES/VARIABLE_VALUE", True),
        ("net/Logits/other/Momentum", False),  # of nothing
        ("net/Logits/weights/mask", False),
        ("Momentum", False),
        ("beta", False),
    ],
)
def test_optimizer_slots_are_not_unused(name: str, is_slot: bool) -> None:
    report = restore(build(), tf_values(build()) | {name: torch.ones(1)}, layout="tf")
    assert (report.optimizer_slots, report.unused) == (([name], []) if is_slot else ([], [name]))
    assert ("optimizer slots (1)" in str(report)) == is_slot


def test_strings_do_not_become_numbers() -> None:
    strings = Reader("a file")
    strings.tensors = {"net/Logits/biases": StoredTensor((1000,), bytes, lambda: np.array([b""] * 1000, object))}
    with pytest.raises(ValueError, match=r"'net/Logits/biases' in the checkpoint is string, .* become the float32"):
        restore(build(), strings, include="Logits/biases")


# Memory.


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_one_tensor_at_a_time(device: str) -> None:
    """Of what is read, no two kernels are in memory at once: they are copied into the variables one by one."""
    alive: weakref.WeakSet[np.ndarray] = weakref.WeakSet()
    most = 0

    def read(shape: tuple[int, ...]) -> torch.Tensor:
        nonlocal most
        array = Array(shape, np.float32)
        alive.add(array)
        most = max(most, len(alive))
        return torch.from_numpy(array)

    class Array(np.ndarray):
        __hash__ = object.__hash__

    class Fresh(Reader):
        layout = "tf"

    model = build(device)
    source = Fresh("a file")
    for variable in slim.get_variables(suffix="weights", module=model):
        shape = variable.tf_shape
        source.tensors[variable.op.name] = StoredTensor(shape, torch.float32, lambda shape=shape: read(shape))
    report = restore(model, source, include="weights", layout="tf")
    assert len(report.restored) == 3
    assert most == 1
