"""Two processes, each with its share of the data, train like one on all of it, and end together."""

from __future__ import annotations

import functools
import multiprocessing
import runpy
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

from torchslim.checkpoints import load_checkpoint

SCRIPT = str(Path(__file__).with_name("distributed_training.py"))
pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")


def in_two_processes(case: str, folder: Path, **options: Any) -> list[Any]:
    """What a case of the script returns in each of two processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torchslim.learning", "torch._dynamo", "torch.distributed.fsdp"])
    arguments = [{"CASE": case, "RANK": i, "WORLD": 2, "FOLDER": str(folder), "OPTIONS": options} for i in range(2)]
    processes = [context.Process(target=runpy.run_path, args=(SCRIPT, given)) for given in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0, 0]
    return [torch.load(folder / f"result{i}.pt") for i in range(2)]


def alone(case: str, folder: Path, **options: Any) -> Any:
    """What it returns in a single process."""
    return runpy.run_path(SCRIPT)["CASES"][case](folder / "alone", **options)


def assert_alike(results: list[dict[str, torch.Tensor]], expected: dict[str, torch.Tensor]) -> None:
    """Both processes have the same, bit for bit, and what one process has, but for the order of sums."""
    first, second = results
    assert first.keys() == second.keys() == expected.keys()
    for name, value in expected.items():
        assert first[name].equal(second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize("norm", ["fused", "biased", "weighted", "debiased", "renorm", "waiting"])
def test_two_processes_equal_one(norm: str, tmp_path: Path) -> None:
    """With accumulation, L2, multipliers, clipping by two norms, averages, and a synchronized batch norm of a kind."""
    assert_alike(in_two_processes("graph", tmp_path, norm=norm), alone("graph", tmp_path, norm=norm))


@pytest.mark.parametrize("optimizer", ["Momentum", "Adam", "Ftrl", "SGD", "AdamW"])
def test_variables_in_parts_train_like_whole_ones(optimizer: str, tmp_path: Path) -> None:
    results = in_two_processes("graph", tmp_path, optimizer=optimizer, parallel="fsdp")
    assert_alike(results, alone("graph", tmp_path, optimizer=optimizer))
    saved = load_checkpoint(tmp_path / "log" / "model.ckpt-5.safetensors")
    for name, value in saved["model"].items():
        assert value.equal(results[0][name])
    for name, value in saved["ema"].items():
        assert value.equal(results[0][f"average of {name}"])
    sizes = {tuple(value.shape) for state in saved["optimizer"]["state"].values() for value in state.values()}
    assert {(5, 2, 3, 3), (5, 5, 1, 1), (3, 125), (5,), (3,)} <= sizes


@pytest.mark.parametrize("options", [{}, {"parallel": "fsdp"}, {"momentum": None}], ids=str)
def test_a_loss_function_with_pytorchs_batch_norm(options: dict[str, Any], tmp_path: Path) -> None:
    same = {name: value for name, value in options.items() if name != "parallel"}
    assert_alike(in_two_processes("function", tmp_path, **options), alone("function", tmp_path, **same))


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_steps_taken_by_hand(parallel: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    batches = [(torch.randn(6, 3), torch.randn(6, 2)) for _ in range(3)]
    torch.save(batches, tmp_path / "data.pt")
    torch.save(net.state_dict(), tmp_path / "start.pt")
    results = in_two_processes("by_hand", tmp_path, parallel=parallel)
    optimizer = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)([net[0].weight, net[2].weight])
    for i in range(15):
        x, y = batches[i % 3]
        optimizer.zero_grad()
        (net(x) - y).square().mean().backward()
        optimizer.step()
    assert_alike(results, net.state_dict())
    written = {path.name for path in (tmp_path / "log").iterdir()}
    # They agree on when to save in every tenth step, and at the end.
    assert {name for name in written if name.startswith("model")} == {f"model.ckpt-{i}.safetensors" for i in (10, 15)}
    assert len([name for name in written if name.startswith("events")]) == 1


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_local_statistics_are_those_of_the_first_process(parallel: str, tmp_path: Path) -> None:
    """One step does not change what the first batches are normalized by."""
    first, second = in_two_processes("local_statistics", tmp_path, parallel=parallel)
    script = runpy.run_path(SCRIPT)
    torch.manual_seed(0)
    train_op, _ = script["of_graph"](script["share"](16), accumulate_steps=2)
    script["train"](train_op, None, number_of_steps=1)
    expected = script["outcome"](train_op)
    for name in ("norm.running_mean", "norm.running_var"):
        torch.testing.assert_close(first[name], expected[name])
    assert not first["conv.weight"].equal(expected["conv.weight"])
    for name, value in first.items():
        assert value.equal(second[name])


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_evaluations_inside_see_each_example_once(parallel: str, tmp_path: Path) -> None:
    (errors, first), (others, second) = in_two_processes("evaluated", tmp_path, parallel=parallel)
    expected, weights = alone("evaluated", tmp_path)
    assert errors == others == pytest.approx(expected)
    assert_alike([first, second], weights)
    assert [path.name for path in (tmp_path / "log" / "best").glob("model*")] == [
        path.name for path in (tmp_path / "alone" / "log" / "best").glob("model*")
    ]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_stopped_and_started_again(parallel: str, tmp_path: Path) -> None:
    """Bit for bit, with dropout that each process draws for itself."""
    results = in_two_processes("resumed", tmp_path, parallel=parallel)
    for straight, stopped in results:
        assert all(value.equal(stopped[name]) for name, value in straight.items())
    (first, _), (second, _) = results
    assert not first["random"].equal(second["random"])


def test_another_number_of_processes_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    in_two_processes("graph", tmp_path)
    (tmp_path / "alone").mkdir()
    (tmp_path / "log").rename(tmp_path / "alone" / "log")
    goes_on = alone("graph", tmp_path, number_of_steps=8)
    assert "the checkpoint is of 2 processes, and here are 1" in caplog.text
    straight = alone("graph", tmp_path / "straight", number_of_steps=8)
    for name, value in straight.items():
        torch.testing.assert_close(goes_on[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "step"), [({}, 3), ({"parallel": "fsdp"}, 3), ({"at_once": False, "parallel": "fsdp"}, 6)], ids=str
)
def test_what_is_not_finite_in_one_process_stops_all(options: dict[str, Any], step: int, tmp_path: Path) -> None:
    """At once on the CPU; elsewhere when all look at the loss, and until then such steps are as good as left out."""
    results = in_two_processes("not_finite", tmp_path, **options)
    for message, reached, is_finite in results:
        assert "input 'images' is not finite at step 3 in process 1, nor are the loss" in message
        assert reached == step
        assert is_finite


@pytest.mark.parametrize(("how", "code"), [("signal", 143), ("asked", 0)])
def test_one_process_that_wants_to_stop_stops_all(how: str, code: int, tmp_path: Path) -> None:
    assert in_two_processes("stopped", tmp_path, how=how) == [(code, 10), (code, 10)]
    assert load_checkpoint(tmp_path / "log" / "model.ckpt-10.safetensors")["global_step"] == 10


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_the_first_process_writes_summaries(parallel: str, tmp_path: Path) -> None:
    in_two_processes("summaries", tmp_path, parallel=parallel)
    (events,) = (tmp_path / "log").glob("events*")
    text = events.read_bytes()
    for tag in (b"fc/weights/gradient_norm", b"conv/weights/gradient", b"loss", b"fc/"):
        assert tag in text


def test_loaders_that_are_not_divided_are_told_of(tmp_path: Path) -> None:
    ((whole, divided), told), ((_, other), silent) = in_two_processes("plain_loaders", tmp_path)
    assert whole == 2 * list(range(8))
    assert told
    assert "each process reads all of TensorDataset" in told[0]
    assert len(told) == 1
    assert silent == []
    for i in range(2):  # both passes, each in another order
        assert sorted(divided[4 * i : 4 * i + 4] + other[4 * i : 4 * i + 4]) == list(range(8))
    assert sorted(divided[:4]) != sorted(divided[4:])


def test_what_is_not_possible_is_refused_in_all_processes(tmp_path: Path) -> None:
    for errors in in_two_processes("refused", tmp_path):
        for error, message in zip(
            errors,
            (
                "ValueError: train: `parallel` must be one of 'ddp', 'fsdp'. Got 'zero'",
                "ValueError: channels_last: parallel='fsdp' takes no other layout. Got True",
                "ValueError: train: all processes must train the same model. Got ('bias', 'torch.float32 [3]')",
                "ValueError: train: where several processes train, each variable needs a gradient in each step. "
                "Got none for weights.",
                "ValueError: train: `sync_batch_norm` knows the batch norms of slim and of PyTorch. Got a Norm",
                "ValueError: create_train_op: `optimizer` must hold every variable that is trained.",
                "RuntimeError: train: a train op trains once with parallel='fsdp'. Got one that has, up to global "
                "step 1.",
                "",
                "ValueError: train: `logdir` must be the same folder for all processes, which others than the first "
                "read, too. Got checkpoints of the steps [1, None]",
            ),
            strict=True,
        ):
            assert error.startswith(message)
            assert bool(error) == bool(message)


def test_processes_of_torchrun_find_each_other(tmp_path: Path) -> None:
    """Twice, and once more to evaluate; the data was divided before."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (first, error), (second, same) = in_two_processes("started_by_torchrun", tmp_path, port=port)
    assert error == same
    for (weights, is_left), (others, _) in zip(first, second, strict=True):
        assert not is_left
        assert all(value.equal(others[name]) for name, value in weights.items())
    saved = load_checkpoint(tmp_path / "log" / "model.ckpt-4.safetensors")
    assert len(saved["processes"]) == 2
    assert saved["model"]["conv.weight"].equal(first[-1][0]["conv.weight"])
