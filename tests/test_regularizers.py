"""Regularizers against TF-Slim's numbers, as values, and as what they record in a graph."""

import json
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim import regularizers
from torchslim.regularizers import (
    apply_regularization,
    l1_l2_regularizer,
    l1_loss,
    l1_regularizer,
    l2_loss,
    l2_regularizer,
    sum_regularizer,
)

GOLDENS = Path(__file__).parent / "goldens"
ARRAYS = np.load(GOLDENS / "initreg.npz")
CASES = {
    case["name"]: case
    for case in json.loads((GOLDENS / "initreg.json").read_text())
    if case["name"].startswith("regularizers/") and not case["name"].startswith("regularizers/layer")
}
ERRORS = [name for name, case in CASES.items() if "raises" in case]
VALUES = [name for name in CASES if name not in ERRORS]


def run(case, inputs):
    scope = {"slim": regularizers, **inputs}
    exec(case["code"], scope)
    return scope


def assert_close(got, key, case):
    reference = ARRAYS[key]
    assert got.shape == reference.shape
    limit = case["tolerance"] * np.abs(reference).max() + case["atol"]
    assert np.abs(got.detach().numpy() - reference).max() <= limit


@pytest.mark.parametrize("name", VALUES)
def test_golden_on_tensors(name):
    case = CASES[name]
    inputs = {n: torch.tensor(ARRAYS[key], requires_grad=True) for n, key in case["inputs"].items()}
    out = run(case, inputs)["out"]
    if not case["outputs"]:
        assert out is None
        return
    assert_close(out, case["outputs"]["out"], case)
    if case["gradients"]:
        (out * torch.tensor(ARRAYS[case["probes"]["out"]])).backward()
    for n, key in case["gradients"].items():
        assert_close(inputs[n].grad, key, case)
    assert slim.get_default_graph().get_collection("regularization_losses") == []


@pytest.mark.parametrize("name", [name for name in VALUES if CASES[name]["inputs"]])
def test_golden_on_symbols(name):
    case = CASES[name]
    symbols = {n: slim.placeholder(ARRAYS[key].shape, name=n) for n, key in case["inputs"].items()}
    out = run(case, symbols)["out"]
    collected = slim.get_default_graph().get_collection("regularization_losses")
    if out is None:
        assert not case["outputs"]
        assert not collected
        return
    feed = {symbols[n]: torch.tensor(ARRAYS[key]) for n, key in case["inputs"].items()}
    assert_close(slim.get_default_graph().run(out, feed), case["outputs"]["out"], case)
    values = [slim.get_default_graph().run(loss, feed).item() for loss in collected]
    np.testing.assert_allclose(values, case.get("regularization_losses", []), rtol=1e-5)


@pytest.mark.parametrize("name", ERRORS)
def test_golden_errors(name):
    value = re.search(r"\((.*)\)", CASES[name]["code"])[1]
    with pytest.raises(ValueError, match=rf"`scale` must be a float.*Got {re.escape(value)}\."):
        run(CASES[name], {})


@pytest.mark.parametrize("wrong", [True, np.int64(2), math.nan, None, "0.1", -1e-9])
@pytest.mark.parametrize("argument", ["scale_l1", "scale_l2"])
def test_scales_of_both_are_checked(argument, wrong):
    with pytest.raises(
        ValueError, match=re.escape(f"`{argument}` must be a float") + f".*Got {re.escape(repr(wrong))}"
    ):
        l1_l2_regularizer(**{argument: wrong})


def test_integer_scale_says_what_to_write():
    with pytest.raises(ValueError, match=r"Got 1\. Write 1\.0\."):
        l2_regularizer(1)


# The losses


@pytest.mark.parametrize("shape", [(), (7,), (0, 3), (5, 3), (4, 3, 2, 5)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_losses_of_every_rank(shape, memory_format):
    weights = torch.randn(shape)
    if memory_format is torch.channels_last and len(shape) == 4:
        weights = weights.contiguous(memory_format=memory_format)
    exact = weights.double().numpy()
    np.testing.assert_allclose(l1_loss(weights, 0.3).item(), 0.3 * np.abs(exact).sum(), rtol=1e-6)
    np.testing.assert_allclose(l2_loss(weights, 0.3).item(), 0.15 * (exact**2).sum(), rtol=1e-6)


def test_losses_of_many_weights_keep_their_digits():
    weights = torch.full((3000, 1000), 0.1)
    assert l2_loss(weights, 2.0).item() == pytest.approx(3e6 * 0.1**2, rel=1e-5)
    assert l1_loss(weights, 1.0).item() == pytest.approx(3e6 * 0.1, rel=1e-5)


@pytest.mark.parametrize("loss", [l1_loss, l2_loss])
def test_gradients_at_zero(loss):
    weights = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(weights, 0.5), weights, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), weights, allow_unused=True)
    assert torch.equal(gradient, torch.zeros_like(weights))
    assert torch.equal(second, torch.full_like(weights, 0.5 if loss is l2_loss else 0.0))


@pytest.mark.parametrize(("regularizer", "loss"), [(l1_regularizer(0.25), l1_loss), (l2_regularizer(0.25), l2_loss)])
def test_recorded_as_one_node(regularizer, loss):
    symbol = regularizer(slim.placeholder((2, 3)))
    assert (symbol.node.op, symbol.node.target, symbol.node.args[1:]) == ("call_function", loss, (0.25,))
    assert symbol.shape == ()


def test_on_variables():
    net = slim.fully_connected(slim.placeholder((None, 4)), 3, scope="fc")
    weights = slim.get_variables("fc/weights")[0]
    assert l2_regularizer(0.5)(weights).node.args[0].target == weights.key
    model = slim.get_default_graph().module(net)
    weights = slim.get_variables("fc/weights", module=model)[0]
    expected = 0.25 * (weights.tensor.detach().numpy() ** 2).sum()
    assert l2_regularizer(0.5)(weights).item() == pytest.approx(expected, rel=1e-5)


# As values


@pytest.mark.parametrize(
    "regularizer",
    [
        l1_regularizer(0.1),
        l2_regularizer(0.1),
        l1_l2_regularizer(),
        sum_regularizer([l1_regularizer(0.1), torch.sum]),
    ],
)
def test_compares_hashes_and_pickles(regularizer):
    again = pickle.loads(pickle.dumps(regularizer))
    assert again == regularizer
    assert hash(again) == hash(regularizer)
    assert again(torch.tensor([1.0, -3.0])) == regularizer(torch.tensor([1.0, -3.0]))


def test_l1_l2_with_a_zero_scale_is_the_other():
    assert l1_l2_regularizer(0.0, 0.4) == l2_regularizer(0.4)
    assert l1_l2_regularizer(0.4, 0.0) == l1_regularizer(0.4)
    assert l1_l2_regularizer(0.0, 0.0)(torch.ones(2)) is None


def test_sum_of_disabled_regularizers_is_none():
    assert sum_regularizer([l1_regularizer(0.0), l2_regularizer(0.0)])(torch.ones(2)) is None


# apply_regularization


def test_apply_defaults_to_the_weights_collection():
    slim.fully_connected(slim.placeholder((None, 4)), 3, scope="fc", variables_collections={"weights": ["weights"]})
    total = apply_regularization(l2_regularizer(0.5))
    assert slim.get_default_graph().get_collection("regularization_losses") == [total]
    value = slim.get_variables("fc/weights")[0].tensor.square().sum() / 4
    assert slim.get_default_graph().run(total).item() == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize("weights_list", [None, []])
def test_apply_without_weights(weights_list):
    with pytest.raises(ValueError, match="the collection 'weights' of the current graph is empty"):
        apply_regularization(l2_regularizer(0.5), weights_list)


def test_apply_wants_scalars():
    with pytest.raises(ValueError, match=r"must give a scalar\. Got rank 1 from"):
        apply_regularization(lambda weights: weights.sum(1), [torch.ones(2, 3)])
