"""`summarize_*`: tags and kinds are TF-Slim's, and TensorBoard reads the values back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter

import torchslim as slim
from torchslim.summaries import compute_summaries

VALUES = torch.tensor([-1.0, 0.0, 1.0, 5.0, 6.0, 7.0])


def collected() -> list[tuple[str, str]]:
    return [(summary.kind, summary.tag) for summary in slim.get_default_graph().get_collection("summaries")]


def written(folder: Path, inputs: dict[slim.Symbol, torch.Tensor]) -> EventAccumulator:
    """What TensorBoard reads of the summaries of the current graph."""
    with SummaryWriter(str(folder)) as writer:
        for summary, value in compute_summaries(slim.get_default_graph(), list(inputs), list(inputs.values())):
            summary.write(writer, 1, value)
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_scalars_and_others(tmp_path: Path) -> None:
    x = slim.placeholder((None,), name="x")
    assert slim.summarize_tensor(x).tag == "x_summary"  # type: ignore[union-attr]
    slim.summarize_tensor(x.sum(), tag="sum")
    slim.summarize_tensor(x.sum(), tag="sum")
    assert collected() == [("histogram", "x_summary"), ("scalar", "sum"), ("scalar", "sum_1")]
    events = written(tmp_path, {x: VALUES})
    assert events.Scalars("sum")[0].value == 18.0
    histogram = events.Histograms("x_summary")[0].histogram_value
    assert (histogram.num, histogram.sum, histogram.min, histogram.max) == (6, 18.0, -1.0, 7.0)


@pytest.mark.parametrize(
    ("function", "zeros", "sixes"),
    [
        (torch.relu, 2 / 6, None),
        (functional.relu, 2 / 6, None),
        (lambda x: x.relu(), 2 / 6, None),
        (functional.relu6, 2 / 6, 2 / 6),
        (functional.softplus, 2 / 6, None),
        (torch.tanh, None, None),
        (functional.elu, None, None),
    ],
)
def test_activations(tmp_path: Path, function: Any, zeros: float | None, sixes: float | None) -> None:
    x = slim.placeholder((None,), name="x")
    y = function(x)
    slim.summarize_activation(y)
    events = written(tmp_path, {x: VALUES})
    found = {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]}
    expected = {f"{y.name}/zeros": zeros, f"{y.name}/sixes": sixes}
    assert found == pytest.approx({tag: value for tag, value in expected.items() if value is not None})
    assert events.Tags()["histograms"] == [f"{y.name}/activation"]
    assert events.Histograms(f"{y.name}/activation")[0].histogram_value.num == 6


def test_activation_of_a_layer(tmp_path: Path) -> None:
    x = slim.placeholder((None, 1), name="x")
    ones = slim.ones_initializer()
    slim.summarize_activation(
        slim.fully_connected(x, 1, activation_fn=functional.relu6, weights_initializer=ones, scope="fc")
    )
    slim.summarize_activation(slim.linear(x, 1, scope="last"))
    assert collected() == [
        ("scalar", "fc/zeros"),
        ("scalar", "fc/sixes"),
        ("histogram", "fc/activation"),
        ("histogram", "last/activation"),
    ]
    events = written(tmp_path, {x: VALUES[:, None]})
    assert events.Scalars("fc/zeros")[0].value == pytest.approx(2 / 6)
    assert events.Scalars("fc/sixes")[0].value == pytest.approx(2 / 6)


def test_tags_of_a_second_summary_are_new() -> None:
    y = torch.relu(slim.placeholder((None,), name="x"))
    slim.summarize_tensors([y, y], slim.summarize_activation)
    assert [tag for _, tag in collected()] == ["relu/zeros", "relu/activation", "relu/zeros_1", "relu/activation_1"]


def build_layers() -> slim.Symbol:
    kinds = {"weights": ["weights"], "biases": ["biases"]}
    with slim.arg_scope([slim.fully_connected], variables_collections=kinds, outputs_collections="activations"):
        return slim.stack(slim.placeholder((None, 3), name="x"), slim.fully_connected, [4, 2], scope="fc")


@pytest.mark.parametrize(
    ("function", "arguments", "tags"),
    [
        (slim.summarize_variables, (), ["fc_1/weights", "fc_1/biases", "fc_2/weights", "fc_2/biases", "own"]),
        (slim.summarize_variables, ("fc/fc_2",), ["fc_2/weights", "fc_2/biases"]),
        (slim.summarize_weights, (), ["fc_1/weights", "fc_2/weights"]),
        (slim.summarize_biases, (), ["fc_1/biases", "fc_2/biases"]),
        (slim.summarize_biases, (".*_2",), ["fc_2/biases"]),
        (slim.summarize_biases, ("_2",), []),
        (slim.summarize_collection, ("activations",), ["fc_1", "fc_2"]),
        (slim.summarize_collection, ("nothing",), []),
    ],
)
def test_collections(function: Any, arguments: tuple[str, ...], tags: list[str]) -> None:
    build_layers()
    slim.variable("own", [2])
    slim.local_variable(1, name="count")
    made = function(*arguments)
    paths = [tag if tag == "own" else f"fc/{tag}" for tag in tags]
    assert [(summary.kind, summary.tag) for summary in made] == [("histogram", f"{path}_summary") for path in paths]
    assert len(collected()) == len(tags)


def test_activations_of_a_network() -> None:
    build_layers()
    assert [summary.tag for summary in slim.summarize_activations()] == ["fc/fc_1/activation", "fc/fc_2/activation"]  # type: ignore[union-attr]
    assert slim.summarize_activations("fc/fc_2", summarizer=lambda tensor: tensor.shape) == [(None, 2)]


def test_values_of_variables(tmp_path: Path) -> None:
    x = slim.placeholder((None, 1), name="x")
    slim.linear(x, 2, weights_initializer=torch.tensor([[3.0, 4.0]]), scope="fc")
    slim.summarize_variables("fc/weights")
    histogram = written(tmp_path, {x: torch.ones(1, 1)}).Histograms("fc/weights_summary")[0].histogram_value
    assert (histogram.min, histogram.max) == (3.0, 4.0)


def test_what_is_no_symbol() -> None:
    with pytest.raises(TypeError, match=r"must be a Symbol or Variable of a graph. Got Tensor"):
        slim.summarize_tensor(torch.ones(2))
