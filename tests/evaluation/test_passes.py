"""`evaluate`: one pass of a module over data."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from torchslim import metrics
from torchslim.evaluation import evaluate


@pytest.fixture
def data() -> TensorDataset:
    return TensorDataset(torch.randn(11, 4), torch.randint(3, (11,)))


class Net(torch.nn.Module):
    """Gives class numbers, and notes how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.frozen = torch.nn.BatchNorm1d(4).eval()
        self.calls: list[tuple[int, bool, bool]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append((len(x), self.training, torch.is_inference_mode_enabled()))
        return self.linear(self.frozen(x)).argmax(-1)


def test_each_example_once(data: TensorDataset) -> None:
    net = Net()
    inputs, labels = data.tensors
    expected = (net(inputs) == labels).float().mean().item()
    net.calls.clear()
    values = evaluate(net, DataLoader(data, 4), {"accuracy": metrics.StreamingAccuracy()}, device="cpu")
    assert values == {"accuracy": pytest.approx(expected)}
    assert [size for size, *_ in net.calls] == [4, 4, 3]


def test_the_mode_of_every_part_is_restored(data: TensorDataset) -> None:
    net = Net()
    evaluate(net, DataLoader(data, 4), {"accuracy": metrics.StreamingAccuracy()}, device="cpu")
    assert {call[1:] for call in net.calls} == {(False, True)}
    assert net.training
    assert net.linear.training
    assert not net.frozen.training

    def fail(module: Any, *batch: Any) -> Any:
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        evaluate(net, DataLoader(data, 4), {}, step=fail, device="cpu")
    assert net.linear.training


def test_metrics_start_from_nothing_and_work_on_after(data: TensorDataset) -> None:
    metric = metrics.StreamingMean()
    metric.update(torch.tensor(1e6))

    def step(module: Any, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor]:
        return (labels * 0 + 1,)

    for _ in range(2):
        assert evaluate(Net(), DataLoader(data, 4), {"m": metric}, step=step, device="cpu") == {"m": 1}
    metric.update(torch.full((11,), 3.0))
    assert metric.compute() == 2


def test_metrics_with_inputs_of_their_own(data: TensorDataset) -> None:
    def step(module: Any, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, tuple[torch.Tensor, ...]]:
        return {"size": (torch.tensor(float(len(inputs))),), "hits": (labels, labels)}

    values = evaluate(
        Net(),
        DataLoader(data, 4),
        {"size": metrics.StreamingMean(), "hits": metrics.StreamingAccuracy()},
        step=step,
        device="cpu",
    )
    assert values == {"size": pytest.approx(11 / 3), "hits": 1}


def test_values_are_plain_python(data: TensorDataset) -> None:
    def step(module: Any, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return inputs[:, :3], torch.nn.functional.one_hot(labels, 3)

    values = evaluate(Net(), DataLoader(data, 4), {"ap": metrics.VOCAveragePrecision(3)}, step=step, device="cpu")
    assert [type(value) for value in values["ap"]] == [float] * 3


@pytest.mark.parametrize(("num_evals", "examples"), [(1, 4), (2, 8), (3, 11), (None, 11)])
def test_num_evals_stops_after_that_many_batches(data: TensorDataset, num_evals: int | None, examples: int) -> None:
    net = Net()
    batches = iter(DataLoader(data, 4))
    evaluate(net, batches, {"a": metrics.StreamingAccuracy()}, num_evals=num_evals, device="cpu")
    assert sum(size for size, *_ in net.calls) == examples
    assert sum(len(labels) for _, labels in batches) == 11 - examples  # none was drawn in vain


def test_more_batches_than_there_are(data: TensorDataset, caplog: pytest.LogCaptureFixture) -> None:
    net = Net()
    with caplog.at_level(logging.INFO, logger="torchslim"):
        evaluate(net, DataLoader(data, 4), {"a": metrics.StreamingAccuracy()}, num_evals=9, device="cpu")
    assert sum(size for size, *_ in net.calls) == 11
    assert "the data has 3 batches, not 9" in caplog.text


def test_no_data() -> None:
    with pytest.raises(ValueError, match=r"at least one batch. Got 0"):
        evaluate(Net(), [], {"a": metrics.StreamingAccuracy()}, device="cpu")


def test_num_evals_of_zero(data: TensorDataset) -> None:
    with pytest.raises(ValueError, match=r"Got 0"):
        evaluate(Net(), DataLoader(data, 4), {}, num_evals=0, device="cpu")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_updates_do_not_synchronize(data: TensorDataset) -> None:
    net = Net().cuda()
    chosen = {
        "a": metrics.StreamingAccuracy(),
        "p": metrics.StreamingPrecision(),
        "m": metrics.StreamingMeanSquaredError(),
    }
    on_device = [(inputs.cuda(), labels.cuda()) for inputs, labels in DataLoader(data, 4)]
    for metric in chosen.values():
        metric.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for inputs, labels in on_device:
            predictions = net(inputs)
            for metric in chosen.values():
                metric.update(predictions, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert evaluate(net, DataLoader(data, 4), chosen)["a"] == chosen["a"].compute()
