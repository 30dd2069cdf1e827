"""`model.summary()`: shapes are those of a run, operations are counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch.fx import Interpreter

import torchslim as slim


def net(images: slim.Symbol) -> slim.Symbol:
    net = slim.conv2d(images, 4, [3, 3], stride=2, scope="conv1")
    with slim.variable_scope("head"):
        net = torch.relu(net * 2).mean((2, 3))
    return slim.fully_connected(net, 5, scope="fc")


def test_rows_and_totals() -> None:
    summary = slim.build(net, torch.empty(1, 3, 9, 8)).summary()
    assert [(c.name, c.kind, c.shape, c.parameters, c.multiply_adds) for c in summary.calls] == [
        ("inputs", "", (None, 3, 9, 8), 0, 0),
        ("conv1", "Conv2d", (None, 4, 5, 4), 4 * 27 + 4, 4 * 27 * 20),
        ("head/mul", "", (None, 4, 5, 4), 0, 0),
        ("head/relu", "", (None, 4, 5, 4), 0, 0),
        ("head/mean", "", (None, 4), 0, 0),
        ("fc", "Linear", (None, 5), 25, 20),
    ]
    assert (summary.parameters, summary.multiply_adds) == (112 + 25, 2160 + 20)
    assert str(summary).splitlines()[-1] == "parameters: 137, multiply-adds: 2,180"


def test_the_shapes_are_those_of_a_run() -> None:
    model = slim.build(net, torch.empty(1, 3, 9, 8))
    shapes = {}

    class Noted(Interpreter):
        def run_node(self, node):  # type: ignore[no-untyped-def]
            value = super().run_node(node)
            shapes[node.name] = tuple(value.shape)
            return value

    Noted(model).run(torch.zeros(2, 3, 9, 8))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for call in model.train().summary().calls:
        assert (2, *call.shape[1:]) == shapes[call.node]
    torch.testing.assert_close(model.state_dict(), before)


def test_inputs_of_any_size_need_an_example() -> None:
    model = slim.build(net, slim.InputSpec((None, 3, None, None)))
    with pytest.raises(ValueError, match=r"size of 'inputs' must be known. Got \(None, 3, None, None\)"):
        model.summary()
    assert model.summary(torch.empty(1, 3, 9, 8)).multiply_adds == 2180
    assert model.summary(slim.InputSpec((None, 3, 18, 8))).calls[1].shape == (None, 4, 9, 4)
    with pytest.raises(ValueError, match=r"each of the `inputs` \('inputs',\). Got 2"):
        model.summary(torch.empty(1, 3, 9, 8), torch.empty(1))


def test_parts_fixed_sizes_and_variables_of_ones_own() -> None:
    def scaled(images: slim.Symbol) -> slim.Symbol:
        return slim.conv2d(images * slim.model_variable("scale", shape=[3, 1, 1]), 4, [1, 1], scope="conv1")

    model = slim.build(scaled, slim.InputSpec((2, 3, 4, 4)))
    assert (model.summary().parameters, model.summary().calls[-1].shape) == (3 + 16, (2, 4, 4, 4))
    assert model.summary().multiply_adds == 2 * 16 * 12
    assert model.extract("conv1").summary().parameters == 3 + 16
