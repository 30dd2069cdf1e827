"""Every network against TF-Slim's: names, shapes, counts, end points, numbers, a training step (tests/goldens/nets).

A file of that folder says which function was called, with which arguments and under which `arg_scope`; the values of
the variables follow from their names. A family is tested as soon as its files are there.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import torchslim as slim

GOLDENS = Path(__file__).parents[1] / "goldens" / "nets"
CASES = {path.stem: json.loads(path.read_text()) for path in sorted(GOLDENS.glob("*.json"))}
LAYOUTS = ("NCHW", "NHWC")
# Here single precision opens the same ReLUs as the goldens' (norms within 1.6e-3), and double opens others (8.3e-3).
ROUNDED_ALIKE = ("nasnet_cifar__train",)


def is_large(case: dict[str, Any]) -> bool:
    """Whether its numbers take more than a few seconds."""
    return case["counts"]["parameters_model_variables"] > 1.5e7 or len(case["variables"]) > 600


def with_numbers(*, trained: bool) -> list[Any]:
    return [
        pytest.param(name, marks=[pytest.mark.nightly] if is_large(case) else [])
        for name, case in CASES.items()
        if case["is_training"] == trained and case["regularization_loss"] is not None  # else only its names are known
    ]


def resolve(path: str) -> Any:
    """What `nets.family.function` is in torchslim."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"torchslim.{module}"), name)


def decode(value: Any) -> Any:
    """An argument as the file encodes what JSON has no word for."""
    match value:
        case {"__fn__": "leaky_relu"}:
            return functools.partial(F.leaky_relu, negative_slope=0.2)  # TensorFlow's slope
        case {"__fn__": name}:
            return getattr(torch, name, None) or getattr(F, name)
        case {"__attr__": path}:
            return resolve(path)
        case {"__config__": path, **rest}:
            config = resolve(path)()
            for name, setting in rest.get("overrides", {}).items():
                setattr(config, name, decode(setting))
            return config
        case {"__partial__": path, "kwargs": kwargs}:
            return functools.partial(resolve(path), **decode(kwargs))
        case {"__resnet_blocks__": blocks, "version": version}:
            block = resolve(f"nets.resnet_{version}.resnet_{version}_block")
            return [block(scope, base_depth=depth, num_units=units, stride=stride)
                    for scope, depth, units, stride in blocks]  # fmt: skip
        case {"__pix2pix_blocks__": blocks}:
            return [resolve("nets.pix2pix.Block")(*block) for block in blocks]
        case dict():
            return {key: decode(item) for key, item in value.items()}
        case list():
            return [decode(item) for item in value]
    return value


def golden_value(name: str, shape: tuple[int, ...], gains: list[tuple[str, float]]) -> np.ndarray:
    """The values that the goldens were recorded with: noise that the name seeds, at the scale of its kind."""
    leaf = name.rpartition("/")[2]
    if leaf in ("local_step", "biased"):
        return np.zeros(shape, np.float32)
    noise = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape)
    tenth = (values := np.asarray(noise).astype("float32")) * np.float32(0.1)
    match leaf:
        case "depthwise_weights":
            values = values * np.float32(math.sqrt(2.0 / (shape[0] * shape[1])))
        case "weights" | "pointwise_weights":
            values = values * np.float32(math.sqrt(2.0 / np.prod(shape[:-1])))
        case "biases" | "beta" | "moving_mean":
            values = tenth
        case "gamma":
            values = 1 + tenth
        case "moving_variance":
            values = 1 + abs(tenth)
        case _:
            raise KeyError(name)
    factor = math.prod(factor for pattern, factor in gains if re.search(pattern, name))
    return values * np.float32(factor)


@contextlib.contextmanager
def scopes_of(case: dict[str, Any], layout: str) -> Iterator[None]:
    with contextlib.ExitStack() as scopes:
        scopes.enter_context(slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=layout))
        if outer := case.get("outer_arg_scope"):
            scopes.enter_context(slim.arg_scope([getattr(slim, op) for op in outer["ops"]], **decode(outer["kwargs"])))
        if (function := case["arg_scope"]["function"]) is not None:
            scopes.enter_context(slim.arg_scope(resolve(function)(**decode(case["arg_scope"]["kwargs"]))))
        yield


def build(case: dict[str, Any], layout: str) -> slim.Model:
    """The network of the file, without memory; it gives its output and all its end points at once."""

    def network(inputs: slim.Symbol) -> Any:
        output, ends = resolve(case["call"]["function"])(inputs, **decode(case["call"]["kwargs"]))
        return (output, dict(ends)), ends

    with torch.device("meta"), scopes_of(case, layout):
        return slim.build(network, slim.InputSpec((None, *in_layout(case["input_shape"], layout)[1:])))


def in_layout(shape: list[int], layout: str) -> list[int]:
    """A shape of TF-Slim's in `layout`."""
    return shape if layout == "NHWC" or len(shape) < 4 else [shape[0], shape[-1], *shape[1:-1]]


def as_tf_slim(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    return tensor if layout == "NHWC" or tensor.ndim < 4 else tensor.movedim(1, -1)


def fill(model: slim.Model, case: dict[str, Any]) -> None:
    values = values_of(case["id"])
    for variable in slim.get_variables(module=model):
        variable.assign(variable.from_tf(values[variable.op.name].copy()))


@functools.lru_cache(maxsize=1)  # both layouts of a case run one after the other
def values_of(name: str) -> dict[str, np.ndarray]:
    case = CASES[name]
    return {variable: golden_value(variable, tuple(shape), case["gains"]) for variable, shape, _ in case["variables"]}


def images_of(case: dict[str, Any], layout: str) -> torch.Tensor:
    images = np.random.RandomState(case["input_seed"]).uniform(-1, 1, case["input_shape"]).astype("float32")
    images = torch.from_numpy(images)
    return images if layout == "NHWC" or images.ndim < 4 else images.movedim(-1, 1)


def regularization_losses(model: slim.Model) -> list[torch.Tensor]:
    losses = [v.regularizer(v.tensor) for v in slim.get_variables(module=model) if v.regularizer]
    return [loss for loss in losses if loss is not None]  # a scale of 0 gives none


def regularization_loss(model: slim.Model) -> torch.Tensor:
    return sum(regularization_losses(model), torch.zeros(()))


def assert_same_statistics(tensor: torch.Tensor, golden: list[Any], tolerance: float) -> None:
    """`golden`: name, shape (not always), mean, standard deviation, first values."""
    name, (mean, std, first) = golden[0], golden[-3:]
    close = tolerance * max(std, 1e-6)
    assert float(tensor.double().mean()) == pytest.approx(mean, abs=close), name
    assert float(tensor.double().std(correction=0)) == pytest.approx(std, abs=close), name
    np.testing.assert_allclose(tensor.flatten()[: len(first)], first, rtol=1e-6, atol=close, err_msg=name)


def assert_same_outputs(case: dict[str, Any], output: torch.Tensor, ends: dict[str, torch.Tensor], layout: str) -> None:
    tolerance = 2e-3 if case["is_training"] else 1e-4
    for golden in case["end_points"]:
        end = as_tf_slim(ends[golden[0]].detach(), layout)
        if golden[0] == "Flatten":  # channels-first images come out in another order
            end = as_tf_slim(end.unflatten(1, ends["pool2"].shape[1:]), layout).flatten(1)
        assert list(end.shape) == golden[1], golden[0]
        assert_same_statistics(end, golden, tolerance)
    golden = case["output"]
    output = as_tf_slim(output.detach(), layout)
    assert list(output.shape) == golden["shape"]
    values = output.flatten()[: len(golden["values"])]
    np.testing.assert_allclose(values, golden["values"], rtol=1e-6, atol=tolerance * golden["std"])


def loss_of(case: dict[str, Any], model: slim.Model, output: torch.Tensor, ends: dict[str, torch.Tensor]) -> Any:
    """The loss by the formula that the file gives."""
    formula = case["loss"]["formula"]
    if formula.startswith("mean(output**2)"):
        return output.square().mean() + regularization_loss(model)
    labels = torch.arange(len(output)) % output.shape[1]
    loss = F.cross_entropy(output, labels) + regularization_loss(model)
    if "AuxLogits" in formula:
        loss = loss + 0.4 * F.cross_entropy(ends["AuxLogits"], labels)
    return loss


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
def test_structure(name: str, layout: str) -> None:
    case = CASES[name]
    model = build(case, layout)
    variables = slim.get_variables(module=model)
    counts = case["counts"]
    assert [[v.op.name, list(v.tf_shape), v.trainable] for v in variables] == case["variables"]
    assert sum(math.prod(v.shape) for v in variables) == counts["parameters_model_variables"]
    assert sum(p.numel() for p in model.parameters()) == counts["parameters_trainable"]
    assert len(regularization_losses(model)) == counts["regularization_losses"]
    assert list(model.end_points) == [golden[0] for golden in case["end_points"]]
    for key, shape, *_ in case["end_points"]:
        assert list(model.end_points[key].shape) == [None, *in_layout(shape, layout)[1:]], key


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", with_numbers(trained=False))
def test_numbers(name: str, layout: str) -> None:
    case = CASES[name]
    model = build(case, layout)
    fill(model, case)
    with torch.inference_mode():
        output, ends = model.eval()(images_of(case, layout))
        assert float(regularization_loss(model)) == pytest.approx(case["regularization_loss"], rel=1e-5)
    assert_same_outputs(case, output, ends, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", with_numbers(trained=True))
def test_training_step(name: str, layout: str) -> None:
    case = CASES[name]
    model = build(case, layout)
    fill(model, case)
    # In double precision, so that all rounding is the golden's: gradients of single precision differ by as much again.
    dtype = torch.float32 if name in ROUNDED_ALIKE else torch.float64
    output, ends = model.to(dtype).train()(images_of(case, layout).to(dtype))
    loss = loss_of(case, model, output, ends)
    loss.backward()
    assert_same_outputs(case, output, ends, layout)
    assert float(loss.detach()) == pytest.approx(case["loss"]["value"], rel=2e-3)
    variables = {v.op.name: v for v in slim.get_variables(module=model)}
    largest = max(norm for _, norm, _ in case["grads"])
    for variable, norm, first in case["grads"]:
        gradient = variables[variable].to_tf(variables[variable].tensor.grad)
        # In ResNet-50, one rounding of the weights changes norms by 1.5e-3; the exact ones differ from these by 2.8e-3.
        assert float(gradient.norm()) == pytest.approx(norm, rel=5e-3, abs=1e-6 * largest), variable
        # The norm is the check; single values show the layout. In another order of summation a ReLU opens or closes.
        close = max(5e-2 * norm / math.sqrt(gradient.numel()), 1e-6 * largest)
        np.testing.assert_allclose(gradient.flatten()[: len(first)], first, atol=close, err_msg=variable)
    for golden in case["moving_after_one_update"]:
        assert_same_statistics(variables[golden[0]].tensor, golden, 2e-3)
