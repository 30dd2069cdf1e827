"""Hooks of evaluations, and where results go."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter
from torchmetrics import Metric

from torchslim import metrics, summaries
from torchslim.checkpoints import save_checkpoint
from torchslim.evaluation import (
    Evaluation,
    Hook,
    JsonLinesAtEndHook,
    StopAfterNEvalsHook,
    SummaryAtEndHook,
    evaluate_once,
    evaluate_repeatedly,
    evaluation_loop,
    recalibrate_batch_norm,
)
from torchslim.graph import Symbol, get_default_graph, placeholder
from torchslim.layers import batch_norm, fully_connected
from torchslim.summaries.results import MAX_SCALARS, append_json_line, in_words


@pytest.fixture
def update() -> Symbol:
    """The mean of a net that gives its weight, over batches of 4, 4 and 3."""
    x = placeholder((None, 1), name="x")
    get_default_graph().add_feed([(batch,) for batch in torch.ones(11, 1).split(4)], [x])
    net = fully_connected(x, 1, activation_fn=None, biases_initializer=None, scope="fc")
    return metrics.streaming_mean(net)[1]


def write(folder: Path, step: int) -> str:
    return save_checkpoint(folder, {"model": {"fc.weight": torch.full((1, 1), float(step))}}, step=step)


def tags(folder: Path) -> dict[str, list[str]]:
    found = EventAccumulator(str(folder)).Reload().Tags()
    return {kind: sorted(found[kind]) for kind in ("scalars", "histograms")}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]


class Diary(Hook):
    """Notes what happens to it."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.notes: list[Any] = []
        self.stop_after = stop_after

    def begin(self, evaluation: Evaluation) -> None:
        weight = next(evaluation.module.parameters()).item()
        self.notes.append(("begin", evaluation.path.name, evaluation.step, weight, evaluation.batches_done))

    def after_batch(self, evaluation: Evaluation) -> None:
        self.notes.append((evaluation.batches_done, len(evaluation.batch["x"])))
        if evaluation.batches_done == self.stop_after:
            evaluation.request_stop()

    def end(self, evaluation: Evaluation, values: dict[str, Any]) -> None:
        self.notes.append(("end", values))

    def close(self) -> None:
        self.notes.append("close")


# The protocol


def test_what_happens_when(tmp_path: Path, update: Symbol) -> None:
    diary = Diary()
    assert evaluate_once("", write(tmp_path, 7), eval_op={"w": update}, hooks=[diary], device="cpu") == {"w": 7}
    assert diary.notes == [
        ("begin", "model.ckpt-7.safetensors", 7, 7.0, 0),
        *((1, 4), (2, 4), (3, 3)),
        ("end", {"w": 7.0}),
        "close",
    ]


def test_a_hook_of_a_loop(tmp_path: Path, update: Symbol) -> None:
    diary = Diary(stop_after=1)
    write(tmp_path, 1)
    steps = iter([2, 3])
    evaluation_loop(
        "",
        tmp_path,
        None,
        eval_op={"w": update},
        initial_op=lambda: write(tmp_path, next(steps)),
        hooks=[diary],
        eval_interval_secs=0,
        max_number_of_evaluations=2,
        device="cpu",
    )
    assert [note[0] for note in diary.notes] == ["begin", 1, "end", "begin", 1, "end", "c"]
    assert [note[2] for note in diary.notes if note[0] == "begin"] == [1, 2]


def test_hooks_are_closed_after_an_error(tmp_path: Path, update: Symbol) -> None:
    class Broken(Diary):
        def after_batch(self, evaluation: Evaluation) -> None:
            raise RuntimeError(f"stop at {evaluation.batches_done}")

    broken, diary = Broken(), Diary()
    with pytest.raises(RuntimeError, match="stop at 1"):
        evaluate_once("", write(tmp_path, 7), eval_op=update, hooks=[diary, broken], device="cpu")
    assert (broken.notes[-1], diary.notes[-1]) == ("close", "close")


def test_a_hook_that_recalibrates(tmp_path: Path) -> None:
    """The example of the documentation: the batch norms of the copy that is evaluated."""
    x = placeholder((None, 3), name="x")
    data = torch.randn(8, 3) * 5 + 2
    get_default_graph().add_feed([(data,)], [x])
    _, update = metrics.streaming_mean(batch_norm(x, center=False, decay=0.5, scope="bn").square())
    state = {"bn.running_mean": torch.full((3,), 100.0), "bn.running_var": torch.ones(3)}
    path = save_checkpoint(tmp_path, {"model": state}, step=1)

    class Recalibrate(Hook):
        def begin(self, evaluation: Evaluation) -> None:
            recalibrate_batch_norm(evaluation.module, [(data,)])

    assert evaluate_once("", path, eval_op=update, device="cpu") > 1000
    once = evaluate_once("", path, eval_op=update, hooks=[Recalibrate()], device="cpu")
    assert once == pytest.approx(7 / 8, rel=1e-3)  # the variance of eight examples, by the unbiased one


class SessionRunHook:
    """What TensorFlow's hooks look like."""

    def before_run(self, run_context: Any) -> None: ...
    def end(self, session: Any) -> None: ...


@pytest.mark.parametrize(
    ("hook", "message"),
    [(SessionRunHook(), "Got SessionRunHook, a hook of TensorFlow's sessions"), (print, "Got builtin_function")],
)
@pytest.mark.parametrize("function", [evaluate_once, evaluation_loop])
def test_what_is_no_hook(function: Any, hook: Any, message: str, tmp_path: Path, update: Symbol) -> None:
    with pytest.raises(TypeError, match=f"{function.__name__}: `hooks` .*{message}"):
        function("", tmp_path, None, eval_op=update, hooks=[hook])
    with pytest.raises(TypeError, match=message):
        evaluate_repeatedly(tmp_path, eval_ops=update, hooks=[hook])


# The hooks there are


def test_stopping_after_some_batches(tmp_path: Path, update: Symbol, caplog: pytest.LogCaptureFixture) -> None:
    diary = Diary()
    with caplog.at_level(logging.INFO, logger="torchslim"):
        evaluate_once("", write(tmp_path, 1), eval_op=update, hooks=[StopAfterNEvalsHook(2), diary], device="cpu")
    assert diary.notes[1:-2] == [(1, 4), (2, 4)]
    assert "batch 2 of 2" in caplog.text
    with caplog.at_level(logging.INFO, logger="torchslim"):
        evaluate_once("", tmp_path, eval_op=update, hooks=[StopAfterNEvalsHook(9, log_progress=False)], device="cpu")
    assert "the data has 3 batches, not 9" in caplog.text
    assert "of 9" not in caplog.text


def test_no_batch_is_read_in_vain(tmp_path: Path) -> None:
    x = placeholder((None,), name="x")
    read: list[int] = []

    class Feed:
        def __iter__(self) -> Iterator[tuple[torch.Tensor]]:
            for i in range(5):
                read.append(i)
                yield (torch.ones(2),)

    get_default_graph().add_feed(Feed(), [x])
    update = metrics.streaming_mean(x)[1]
    path = save_checkpoint(tmp_path, {"model": {"w": torch.ones(1)}}, step=1)
    evaluate_once("", path, num_evals=2, eval_op=update, device="cpu")
    assert read == [0, 1]


def test_stopping_after_no_batch() -> None:
    with pytest.raises(ValueError, match=r"`num_evals` must be at least 1.*Got 0"):
        StopAfterNEvalsHook(0)


def test_as_tf_slim_used_them(tmp_path: Path, update: Symbol) -> None:
    write(tmp_path, 3)
    hooks = [StopAfterNEvalsHook(2), SummaryAtEndHook(tmp_path / "events")]
    values = evaluate_repeatedly(
        tmp_path, eval_ops={"w": update}, hooks=hooks, max_number_of_evaluations=1, device="cpu"
    )
    assert values == {"w": 3}
    assert tags(tmp_path / "events")["scalars"] == ["w"]
    assert not (tmp_path / "events" / "evaluations.jsonl").exists()


def test_a_writer_of_ones_own_stays_open(tmp_path: Path, update: Symbol) -> None:
    chosen = summaries.add_scalar_summary(placeholder((None,), name="elsewhere").sum(), "not chosen")
    assert chosen.tag == "not chosen"
    with SummaryWriter(str(tmp_path / "events")) as writer:
        hook = SummaryAtEndHook(summary_writer=writer, summary_op=[])
        evaluate_once("", write(tmp_path, 3), eval_op={"w": update}, hooks=[hook], device="cpu")
        writer.add_scalar("more", 1.0, 4)
    assert tags(tmp_path / "events")["scalars"] == ["more", "w"]


def test_where_summaries_go_has_to_be_said() -> None:
    with pytest.raises(ValueError, match="Got neither"):
        SummaryAtEndHook()
    with pytest.raises(TypeError, match="`feed_dict` belongs to TensorFlow's sessions"):
        SummaryAtEndHook("logs", feed_dict={})


def test_a_loop_writes_one_file_of_events(tmp_path: Path, update: Symbol) -> None:
    write(tmp_path, 1)
    steps = iter([2, 3, 4])
    evaluation_loop(
        "",
        tmp_path,
        tmp_path / "eval",
        eval_op={"w": update},
        initial_op=lambda: write(tmp_path, next(steps)),
        eval_interval_secs=0,
        max_number_of_evaluations=3,
        device="cpu",
    )
    assert len(list((tmp_path / "eval").glob("events*"))) == 1
    scalars = EventAccumulator(str(tmp_path / "eval")).Reload().Scalars("w")
    assert [(event.step, event.value) for event in scalars] == [(1, 1), (2, 2), (3, 3)]
    assert [(line["step"], line["values"]) for line in lines(tmp_path / "eval")] == [
        (step, {"w": float(step)}) for step in (1, 2, 3)
    ]


# Results


class Curve(NamedTuple):
    precision: torch.Tensor
    recall: torch.Tensor


class Structure(Metric):
    """Gives values of every kind."""

    full_state_update = False

    def __init__(self, long: int) -> None:
        super().__init__()
        self.long = long
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, values: torch.Tensor) -> None:
        self.count += len(values)

    def compute(self) -> Any:
        few, many = torch.tensor([0.25, math.nan]), torch.linspace(0, 1, self.long)
        return {"curve": Curve(few, many), "matrix": torch.eye(2), "long matrix": torch.full((11, 11), math.inf)}


def test_values_of_every_kind(tmp_path: Path) -> None:
    x = placeholder((None,), name="x")
    get_default_graph().add_feed([(torch.ones(4),)], [x])
    _, update = metrics.streaming_metric(Structure(MAX_SCALARS + 1), x)
    path = save_checkpoint(tmp_path, {"model": {"w": torch.ones(1)}}, step=5)
    before = time.time()
    values = evaluate_once("", path, tmp_path / "eval", eval_op={"m": update}, device="cpu")
    assert tags(tmp_path / "eval") == {
        "scalars": [
            "m/curve/precision/0",
            "m/curve/precision/1",
            *(f"m/matrix/{i}/{j}" for i in (0, 1) for j in (0, 1)),
        ],
        "histograms": ["m/curve/recall"],
    }
    (line,) = lines(tmp_path / "eval")
    assert list(line) == ["step", "path", "values", "seconds", "time"]
    assert (line["step"], line["path"]) == (5, path)
    assert line["values"]["m"]["curve"]["precision"] == [0.25, None]
    assert line["values"]["m"]["curve"]["recall"] == values["m"]["curve"].recall
    assert line["values"]["m"]["long matrix"] == [[None] * 11] * 11
    assert 0 <= line["seconds"] < 60
    assert before <= line["time"] <= time.time()


def test_as_many_scalars_as_there_may_be(tmp_path: Path) -> None:
    x = placeholder((None,), name="x")
    get_default_graph().add_feed([(torch.ones(4),)], [x])
    _, update = metrics.streaming_metric(Structure(MAX_SCALARS), x)
    path = save_checkpoint(tmp_path, {"model": {"w": torch.ones(1)}}, step=5)
    evaluate_once("", path, tmp_path / "eval", eval_op={"m": update}, device="cpu")
    assert f"m/curve/recall/{MAX_SCALARS - 1}" in tags(tmp_path / "eval")["scalars"]


def test_values_in_words() -> None:
    values = {"a": 1 / 3, "n": 7, "c": Curve([0.5], list(range(9))), "s": "text"}  # type: ignore[arg-type]
    assert in_words(values) == (
        "a = 0.333333, n = 7, c = (precision = [0.5], recall = [0, 1, 2, 3, 4, 5, 6, 7, ... 9 in all]), s = text"
    )


def test_the_terminal(tmp_path: Path, update: Symbol, capsys: pytest.CaptureFixture[str]) -> None:
    """A program that has not set up logging sees the values."""
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        evaluate_once("", write(tmp_path, 7), eval_op={"w": update}, device="cpu")
    finally:
        root.handlers = handlers
    assert capsys.readouterr().err == f"evaluation of {tmp_path / 'model.ckpt-7.safetensors'}: w = 7\n"


def append_many(path: Path, who: str) -> None:
    for i in range(200):
        append_json_line(path, {"who": who, "i": i, "text": who * 500})


def test_lines_of_several_writers_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lines.jsonl"
    with ThreadPoolExecutor() as threads:  # each opens the file anew, as another process would
        list(threads.map(append_many, [path] * 2, "ab"))
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["i"] for line in found if line["who"] == "a"] == list(range(200))
    assert len(found) == 400


def test_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    for left in ("", "{", '{"a": 1}\n{"b'):
        path.write_text(left)
        append_json_line(path, {"c": 2})
        assert path.read_text().splitlines()[-1] == '{"c": 2}'
        assert path.read_text().startswith(left)


def test_lines_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot append to '.*evaluations\.jsonl'"):
        append_json_line(tmp_path / "file" / "evaluations.jsonl", {})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk() -> None:
    with pytest.raises(OSError, match=r"cannot append to '/dev/full': No space left"):
        append_json_line(Path("/dev/full"), {"a": 1})


def test_lines_without_events(tmp_path: Path, update: Symbol) -> None:
    evaluate_once("", write(tmp_path, 7), eval_op={"w": update}, hooks=[JsonLinesAtEndHook(tmp_path)], device="cpu")
    assert [line["values"] for line in lines(tmp_path)] == [{"w": 7}]
    assert not list(tmp_path.glob("events*"))
