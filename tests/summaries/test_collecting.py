"""Summaries: what is collected, what is computed, what TensorBoard gets."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

import torchslim as slim
from torchslim.summaries import Summary, compute_summaries


def net() -> slim.Symbol:
    x = slim.placeholder((None, 3), name="x")
    return slim.fully_connected(x, 2, scope="fc")


def events_in(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return events


def test_tags_are_tf_slims() -> None:
    graph = slim.get_default_graph()
    value = net()
    slim.summaries.add_scalar_summary(value.sum(), "total loss")
    slim.summaries.add_scalar_summary(value.sum(), "loss", prefix="losses", print_summary=True)
    slim.summaries.add_histogram_summary(slim.get_variables()[0])
    slim.summaries.add_histogram_summaries(slim.get_model_variables(), prefix="p")
    slim.summaries.add_zero_fraction_summary(value, "relu", prefix="p")
    slim.summaries.add_zero_fraction_summaries([value])
    slim.summaries.add_scalar_summaries([slim.placeholder((), name="a"), slim.placeholder((), name="b")], prefix="p")
    images = slim.placeholder((None, 3, 4, 4), name="images")
    slim.summaries.add_image_summaries([images], "in")
    assert [(s.kind, s.tag) for s in graph.get_collection("summaries")] == [
        ("scalar", "total loss"),
        ("scalar", "losses/loss"),
        ("histogram", "fc/weights"),
        ("histogram", "p/fc/weights"),
        ("histogram", "p/fc/biases"),
        ("scalar", "p/relu/Fraction of Zero Values"),
        ("scalar", f"{value.name}/Fraction of Zero Values"),
        ("scalar", "p/a"),
        ("scalar", "p/b"),
        ("image", "in/images"),
    ]


def test_values() -> None:
    value = net()
    slim.summaries.add_zero_fraction_summary(value, "zeros")
    slim.summaries.add_histogram_summary(slim.get_variables("fc/weights")[0])
    graph = slim.get_default_graph()
    x = torch.randn(5, 3)
    (_, zeros), (_, weights) = compute_summaries(graph, [symbol_of(value)], [x])
    expected = graph.run(value, {symbol_of(value): x})
    assert zeros.item() == pytest.approx((expected == 0).float().mean().item())
    assert weights.equal(slim.get_variables("fc/weights")[0].tensor)


def symbol_of(value: slim.Symbol) -> slim.Symbol:
    node = next(node for node in value.owner.fx_graph.nodes if node.op == "placeholder")
    return slim.Symbol(node, value.tracer)


def test_placeholder_that_the_batch_does_not_fill() -> None:
    value = net()
    slim.summaries.add_scalar_summary(slim.placeholder((), name="other"))
    with pytest.raises(ValueError, match="placeholder 'other'"):
        compute_summaries(slim.get_default_graph(), [symbol_of(value)], [torch.ones(1, 3)])


def test_nothing_collected() -> None:
    assert compute_summaries(slim.get_default_graph(), [], []) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_written_events(tmp_path: Path, dtype: torch.dtype) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        Summary("scalar", "s", None).write(writer, 3, torch.tensor(2, dtype=dtype))
        Summary("histogram", "h", None).write(writer, 3, torch.arange(6).to(dtype))
        Summary("image", "i", None).write(writer, 3, torch.arange(5 * 16).reshape(5, 1, 4, 4).to(dtype))
    events = events_in(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("s")] == [(3, 2.0)]
    assert (events.Histograms("h")[0].histogram_value.num, events.Histograms("h")[0].histogram_value.max) == (6, 5)
    assert events.Tags()["images"] == ["i/0", "i/1", "i/2"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 2.0, 4.0], [0.0, 0.5, 1.0]), ([-4.0, 0.0, 2.0], [0.0, 0.5, 0.75]), ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])],
)
def test_brightness_is_tensorflows(values: list[float], expected: list[float]) -> None:
    images: dict[str, torch.Tensor] = {}

    class Writer:
        def add_image(self, tag: str, image: torch.Tensor, step: int) -> None:
            images[tag] = image

    writer: Any = Writer()
    Summary("image", "i", None).write(writer, 0, torch.tensor(values).reshape(1, 1, 1, 3))
    torch.testing.assert_close(images["i/0"].flatten(), torch.tensor(expected))


def test_print_summary_logs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with SummaryWriter(str(tmp_path)) as writer:
        Summary("scalar", "loss", None, print_summary=True).write(writer, 3, torch.tensor(0.25))
    assert caplog.messages == ["loss[0.25]"]


def test_what_is_no_symbol() -> None:
    with pytest.raises(TypeError, match=r"must be a Symbol or Variable of a graph. Got Tensor"):
        slim.summaries.add_scalar_summary(torch.tensor(1.0), "loss")


@pytest.mark.parametrize("shape", [(None, 3), (None, 8, 8, 3), (None, 2, 4, 4)])
def test_what_is_no_image(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(ValueError, match=rf"Got shape \[{', '.join(map(str, shape))}\]"):
        slim.summaries.add_image_summary(slim.placeholder(shape, name="x"))
