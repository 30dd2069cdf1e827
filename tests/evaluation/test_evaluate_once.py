"""`evaluate_once`: a checkpoint, a graph and its metrics."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from torchslim import losses, metrics, summaries
from torchslim.checkpoints import save, save_checkpoint
from torchslim.evaluation import evaluate_once
from torchslim.graph import Symbol, get_default_graph, placeholder
from torchslim.layers import batch_norm, dropout, fully_connected
from torchslim.learning import create_train_op, train
from torchslim.variables import get_variables, get_variables_to_restore

once = functools.partial(evaluate_once, "", device="cpu")


class Task(NamedTuple):
    """A regression in the current graph, fed with 11 examples in batches of 4."""

    inputs: torch.Tensor
    labels: torch.Tensor
    values: dict[str, Symbol]
    updates: dict[str, Symbol]


@pytest.fixture
def task() -> Task:
    inputs, labels = torch.randn(11, 3), torch.randn(11, 1)
    x, y = placeholder((None, 3), name="x"), placeholder((None, 1), name="y")
    get_default_graph().add_feed(list(zip(inputs.split(4), labels.split(4), strict=True)), [x, y])
    net = dropout(x, 0.1, scope="drop")
    net = fully_connected(net, 1, activation_fn=None, scope="fc")
    losses.mean_squared_error(net, y)
    values, updates = metrics.aggregate_metric_map(
        {
            "eval/mse": metrics.streaming_mean_squared_error(net, y),
            "eval/mae": metrics.streaming_mean_absolute_error(net, y, weights=2.0),
        }
    )
    return Task(inputs, labels, values, updates)


def weights(scale: float = 1.0) -> dict[str, torch.Tensor]:
    return {"fc.weight": torch.tensor([[1.0, -2.0, 0.5]]) * scale, "fc.bias": torch.tensor([0.25])}


def expected(task: Task, scale: float = 1.0) -> dict[str, Any]:
    given = weights(scale)
    errors = task.inputs @ given["fc.weight"].T + given["fc.bias"] - task.labels
    return {
        "eval/mse": pytest.approx(errors.square().mean().item(), rel=1e-5),
        "eval/mae": pytest.approx(errors.abs().mean().item(), rel=1e-5),
    }


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    return save_checkpoint(tmp_path, {"model": weights()}, step=70)


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


def test_values_of_the_whole_data(task: Task, checkpoint: str) -> None:
    assert once(checkpoint, eval_op=task.updates) == expected(task)
    assert once(checkpoint, eval_op=task.updates) == expected(task)  # metrics start from nothing
    assert once(str(Path(checkpoint).parent), eval_op=task.updates) == expected(task)


def test_num_evals(task: Task, checkpoint: str) -> None:
    first = task._replace(inputs=task.inputs[:4], labels=task.labels[:4])
    assert once(checkpoint, num_evals=1, eval_op=task.updates) == expected(first)
    assert once(checkpoint, num_evals=100, eval_op=task.updates) == expected(task)


@pytest.mark.parametrize(
    ("choose", "pick"),
    [
        (lambda pair: pair["eval/mse"], lambda values: values["eval/mse"]),
        (lambda pair: list(pair.values()), lambda values: list(values.values())),
        (lambda pair: pair.values(), lambda values: list(values.values())),
        (lambda pair: pair, lambda values: values),
    ],
    ids=["symbol", "list", "view", "dict"],
)
def test_results_have_the_structure_asked_for(
    task: Task, checkpoint: str, choose: Callable[..., Any], pick: Callable[..., Any]
) -> None:
    assert once(checkpoint, eval_op=choose(task.updates)) == pick(expected(task))
    assert once(checkpoint, eval_op=task.updates, final_op=choose(task.values)) == pick(expected(task))


def test_final_op_computes_with_values(task: Task, checkpoint: str) -> None:
    got = once(checkpoint, eval_op=task.updates, final_op=task.values["eval/mse"].sqrt() * 100)
    assert got == pytest.approx(100 * expected(task)["eval/mse"].expected ** 0.5, rel=1e-5)


def test_final_op_that_needs_a_batch(task: Task, checkpoint: str) -> None:
    with pytest.raises(ValueError, match="needs 'x'"):
        once(checkpoint, eval_op=task.updates, final_op=losses.get_losses()[0])


def test_the_model_in_the_graph_is_left_alone(task: Task, checkpoint: str) -> None:
    variables = {variable.op.name: variable for variable in get_variables()}
    assert all(variable.is_meta for variable in variables.values())
    once(checkpoint, eval_op=task.updates)
    assert all(variable.is_meta for variable in variables.values())
    before = {name: variable.tensor.clone() for name, variable in variables.items()}
    model = get_default_graph().module(losses.get_losses()[0])
    once(checkpoint, eval_op=task.updates)
    assert all(torch.equal(variable.tensor, before[name]) for name, variable in variables.items())
    assert all(part.training for part in model.modules())


def test_a_checkpoint_that_lacks_variables(task: Task, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, {"model": {"fc.weight": torch.zeros(1, 3)}}, step=1)
    with pytest.raises(ValueError, match="fc/biases"):
        once(path, eval_op=task.updates)


def test_variables_to_restore(task: Task, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, {"model": {"old.weight": weights()["fc.weight"]}}, step=1)
    (kernel,) = get_variables("fc/weights")
    got = once(path, eval_op=task.updates, variables_to_restore={"old.weight": kernel})
    errors = task.inputs @ weights()["fc.weight"].T - task.labels  # biases start at zero
    assert got["eval/mse"] == pytest.approx(errors.square().mean().item(), rel=1e-5)
    path = save_checkpoint(tmp_path, {"model": weights()}, step=2)
    restored = once(path, eval_op=task.updates, variables_to_restore=get_variables_to_restore())
    assert restored == expected(task)


def test_what_is_not_restored_keeps_the_value_of_the_graph(task: Task, tmp_path: Path) -> None:
    kernel, biases = get_variables("fc")
    biases.assign(torch.tensor([0.25]))
    path = save_checkpoint(tmp_path, {"model": weights()}, step=1)
    assert once(path, eval_op=task.updates, variables_to_restore=[kernel]) == expected(task)


def test_batch_norm_uses_its_averages(tmp_path: Path) -> None:
    x = placeholder((None, 3), name="x")
    data = torch.randn(8, 3)
    get_default_graph().add_feed([(data,)], [x])
    _, update = metrics.streaming_mean(batch_norm(x, scope="bn").square())
    state = {
        "bn.bias": torch.zeros(3),
        "bn.running_mean": torch.ones(3),
        "bn.running_var": torch.full((3,), 4.0),
    }
    path = save_checkpoint(tmp_path, {"model": state}, step=1)
    got = once(path, eval_op=update)
    assert got == pytest.approx(((data - 1).square() / 4.001).mean().item(), rel=1e-4)


def test_events(task: Task, checkpoint: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="torchslim"):
        values = once(checkpoint, tmp_path / "events", eval_op=task.updates)
    assert events(tmp_path / "events") == {name: [(70, pytest.approx(value))] for name, value in values.items()}
    assert f"eval/mse = {values['eval/mse']:.6g}" in caplog.text


def test_events_have_the_names_of_the_map(task: Task, checkpoint: str, tmp_path: Path) -> None:
    once(checkpoint, tmp_path / "events", eval_op=task.updates.values())
    assert events(tmp_path / "events").keys() == task.updates.keys()


def test_events_of_lists_and_unnamed_metrics(tmp_path: Path) -> None:
    scores, labels = placeholder((None, 2), name="scores"), placeholder((None, 2), name="labels")
    get_default_graph().add_feed([(torch.eye(2), torch.eye(2))], [scores, labels])
    _, ap = metrics.streaming_metric(metrics.VOCAveragePrecision(2), scores, labels, name="voc/ap")
    _, mean = metrics.streaming_mean(scores)
    path = tmp_path / "weights.safetensors"
    save(path, {"unused": torch.zeros(1)})
    assert once(path, tmp_path / "events", eval_op=[ap, mean]) == [[1, 1], 0.5]
    assert events(tmp_path / "events") == {"voc/ap/0": [(0, 1)], "voc/ap/1": [(0, 1)], "Mean": [(0, 0.5)]}


def test_summaries_of_the_graph(task: Task, checkpoint: str, tmp_path: Path) -> None:
    elsewhere = placeholder((None,), name="elsewhere")
    summaries.add_scalar_summary(task.values["eval/mse"] * 2, "doubled")
    summaries.add_scalar_summary(task.values["eval/mse"], "eval/mse")
    summaries.add_scalar_summary(losses.get_losses()[0], "loss")
    summaries.add_scalar_summary(elsewhere.sum(), "out of reach")
    values = once(checkpoint, tmp_path / "all", eval_op=task.updates)
    got = events(tmp_path / "all")
    last = task._replace(inputs=task.inputs[8:], labels=task.labels[8:])
    assert got == {
        **{name: [(70, pytest.approx(value))] for name, value in values.items()},
        "doubled": [(70, pytest.approx(2 * values["eval/mse"]))],
        "loss": [(70, expected(last)["eval/mse"])],
    }
    chosen = summaries.add_scalar_summary(task.values["eval/mae"], "chosen")
    once(checkpoint, tmp_path / "one", eval_op=task.updates, summary_op=chosen)
    assert events(tmp_path / "one").keys() == values.keys() | {"chosen"}


def test_initial_op_is_called_first(task: Task, checkpoint: str) -> None:
    calls: list[int] = []
    once(checkpoint, eval_op=task.updates, initial_op=lambda: calls.append(1))
    assert calls == [1]


@pytest.mark.parametrize("eval_op", [None, [], {}])
def test_no_metrics(eval_op: Any, checkpoint: str) -> None:
    with pytest.raises(ValueError, match=r"at least one update of a metric. Got 0"):
        once(checkpoint, eval_op=eval_op)


def test_what_is_no_update(task: Task, checkpoint: str) -> None:
    with pytest.raises(ValueError, match=r"must be updates of metrics.*for 'eval/mse'"):
        once(checkpoint, eval_op=task.values)


@pytest.mark.parametrize(
    ("argument", "value", "instead"),
    [
        ("session_config", 1, "`device=`"),
        ("saver", 1, "`variables_to_restore=`"),
        ("eval_op_feed_dict", {}, "`slim.data.batch`"),
        ("num_eval", 3, "Did you mean 'num_evals'"),
    ],
)
def test_arguments_of_sessions(task: Task, checkpoint: str, argument: str, value: Any, instead: str) -> None:
    with pytest.raises(TypeError, match=f"`{argument}`.*{instead}"):
        once(checkpoint, eval_op=task.updates, **{argument: value})


def test_master(task: Task, checkpoint: str) -> None:
    assert evaluate_once("local", checkpoint, eval_op=task.updates, device="cpu") == expected(task)
    with pytest.raises(TypeError, match=r"Got 'grpc://far'.*torchrun"):
        evaluate_once("grpc://far", checkpoint, eval_op=task.updates)


def test_there_is_no_checkpoint(task: Task, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint in the folder"):
        once(tmp_path, eval_op=task.updates)
    with pytest.raises(FileNotFoundError, match="gone"):
        once(tmp_path / "gone.safetensors", eval_op=task.updates)


def test_nothing_feeds_the_metric(checkpoint: str) -> None:
    _, update = metrics.streaming_mean(placeholder((None,), name="unfed"))
    with pytest.raises(ValueError, match="nothing feeds the placeholder 'unfed'"):
        once(checkpoint, eval_op=update)


@pytest.mark.parametrize(("prefer_ema", "scale"), [(False, 1.0), (True, 3.0), ("auto", 3.0)])
@pytest.mark.parametrize("choose", [lambda: None, get_variables_to_restore], ids=["all", "chosen"])
def test_moving_averages(
    task: Task, tmp_path: Path, prefer_ema: bool | str, scale: float, choose: Callable[[], Any]
) -> None:
    names = {"fc.weight": "fc/weights", "fc.bias": "fc/biases"}
    saved = {names[key]: value.t() for key, value in weights().items()}
    saved |= {f"{names[key]}/ExponentialMovingAverage": value.t() for key, value in weights(3.0).items()}
    save(tmp_path / "model.safetensors", saved, {"torchslim.layout": "tf"})
    got = once(
        tmp_path / "model.safetensors", eval_op=task.updates, variables_to_restore=choose(), prefer_ema=prefer_ema
    )
    assert got == expected(task, scale)


def test_weights_are_copied_out_of_the_file(task: Task, checkpoint: str) -> None:
    """A file that another machine removes, or one that is cut off, takes its mapped pages with it."""

    def cut_off() -> None:
        with open(checkpoint, "r+b") as file:
            file.truncate(0)

    assert once(checkpoint, eval_op=task.updates, initial_op=cut_off) == expected(task)


def test_moving_averages_of_a_training(tmp_path: Path) -> None:
    """Each step adds one to the weight."""
    x = placeholder((None, 1), name="x")
    get_default_graph().add_feed([(torch.ones(2, 1),)], [x])
    net = fully_connected(
        x, 1, activation_fn=None, biases_initializer=None, weights_initializer=torch.zeros, scope="fc"
    )
    optimizer = functools.partial(torch.optim.SGD, lr=1.0)
    train_op = create_train_op(-net.mean(), optimizer, ema_decay=0.5)
    train(train_op, tmp_path, number_of_steps=3, log_every_n_steps=0, device="cpu", precision="fp32")
    update = metrics.streaming_mean(net)[1]
    assert once(tmp_path, eval_op=update) == 3
    average = 0.0
    for weight in (1, 2, 3):
        average += 0.5 * (weight - average)
    assert once(tmp_path, eval_op=update, prefer_ema=True) == average
