"""Tables of variables and calls: totals worked by hand, tables as TF-Slim prints them."""

from __future__ import annotations

import pytest
import torch

import torchslim as slim
from torchslim.model_analyzer import analyze_ops, analyze_vars, tensor_description


def net(batch: int | None) -> slim.Symbol:
    x = slim.placeholder((batch, 3, 8, 8), name="x")
    x = slim.conv2d(x, 4, [3, 3], scope="conv1")
    return slim.fully_connected(slim.flatten(x), 2, activation_fn=None, scope="fc")


def test_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """TF-Slim gives (626, 2504) for this network."""
    net(None)
    assert analyze_vars(slim.get_variables()) == (626, 2504)
    assert capsys.readouterr().out == ""
    analyze_vars(slim.get_variables("conv1"), print_info=True)
    assert capsys.readouterr().out.splitlines() == [
        "---------",
        "Variables: name (type shape) [size]",
        "---------",
        "conv1/weights:0 (float32 4x3x3x3) [108, bytes: 432]",
        "conv1/biases:0 (float32 4) [4, bytes: 16]",
        "Total size of variables: 112",
        "Total bytes of variables: 448",
    ]


def test_bytes_follow_the_type() -> None:
    made = [slim.variable("a", [3], torch.float64), slim.local_variable(1, name="b")]
    assert analyze_vars(made) == (4, 3 * 8 + 8)
    assert analyze_vars([]) == (0, 0)


# A multiplication and an addition for each tap, output channel and place; and for each weight of the dense layer.
CONV_FLOPS, FC_FLOPS = 2 * 27 * 4 * 64, 2 * 256 * 2


def test_calls_of_a_fixed_size(capsys: pytest.CaptureFixture[str]) -> None:
    net(2)
    graph = slim.get_default_graph()
    total = 2 * (3 * 64 + 4 * 64 + 256 + 2)
    assert analyze_ops(graph) == total
    assert analyze_ops(graph, print_info=True) == total
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "---------",
        "Operations: name -> (type shapes) [size]",
        "---------",
        "x -> (float32 2x3x8x8) [384]",
    ]
    assert f"conv1 -> (float32 2x4x8x8) [512, FLOPs: {2 * CONV_FLOPS}]" in lines
    assert f"fc -> (float32 2x2) [4, FLOPs: {2 * FC_FLOPS}]" in lines
    assert lines[-2:] == [f"Total size of outputs: {total}", f"Total FLOPs: {2 * (CONV_FLOPS + FC_FLOPS)}"]


def test_a_batch_that_varies_counts_one_example(capsys: pytest.CaptureFixture[str]) -> None:
    net(None)
    assert analyze_ops(slim.get_default_graph(), print_info=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"conv1 -> (float32 Nonex4x8x8) [0, FLOPs: {CONV_FLOPS}]" in lines
    assert lines[-1] == f"Total FLOPs: {CONV_FLOPS + FC_FLOPS}"


def test_sizes_that_vary_have_no_count(capsys: pytest.CaptureFixture[str]) -> None:
    slim.conv2d(slim.placeholder((1, 3, None, None), name="x"), 4, [3, 3], scope="c")
    assert analyze_ops(slim.get_default_graph(), print_info=True) == 0
    assert "c -> (float32 1x4xNonexNone) [0]" in capsys.readouterr().out.splitlines()


def test_calls_after_the_variables_have_values(capsys: pytest.CaptureFixture[str]) -> None:
    net(2)
    graph = slim.get_default_graph()
    graph.initialize()
    analyze_ops(graph, print_info=True)
    assert capsys.readouterr().out.endswith(f"Total FLOPs: {2 * (CONV_FLOPS + FC_FLOPS)}\n")


def test_calls_with_several_outputs() -> None:
    torch.split(slim.placeholder((2, 6)), 2, 1)
    assert analyze_ops(slim.get_default_graph()) == 12 + 12


def test_descriptions() -> None:
    assert tensor_description(torch.zeros(1, 8, 8, 1024)) == "(float32 1x8x8x1024)"
    assert tensor_description(torch.tensor(1)) == "(int64 )"
    assert tensor_description(slim.placeholder((None, 3), torch.bfloat16)) == "(bfloat16 Nonex3)"
