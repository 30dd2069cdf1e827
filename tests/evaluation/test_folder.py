"""Which checkpoint of a folder counts, and what is said while none does."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from torchslim import metrics
from torchslim.checkpoints import save, save_checkpoint, save_tf
from torchslim.evaluation import checkpoints_iterator, evaluate_once, folder, wait_for_new_checkpoint
from torchslim.evaluation.folder import Watch, global_step_of
from torchslim.graph import Graph, Symbol, get_default_graph, placeholder
from torchslim.layers import fully_connected
from torchslim.variables import variable

GOLDENS = Path(__file__).parent.parent / "goldens" / "checkpoints"


def write(logdir: Path, step: int, seconds: float | None = None) -> str:
    """A checkpoint whose weight is its step, as old as `seconds` since 1970."""
    path = save_checkpoint(logdir, {"model": {"fc.weight": torch.full((1, 1), float(step))}}, step=step)
    if seconds is not None:
        os.utime(path, (seconds, seconds))
    return path


def write_tf(logdir: Path, name: str, weight: float, step: int | None = None) -> str:
    with Graph():
        made = variable("fc/weights", shape=[1, 1], initializer=torch.full((1, 1), weight))
        made.initialize()
        return save_tf([made], logdir / name, global_step=step)


@pytest.fixture
def update() -> Symbol:
    """The mean of a net that gives its weight."""
    x = placeholder((None, 1), name="x")
    get_default_graph().add_feed([(torch.ones(2, 1),)], [x])
    return metrics.streaming_mean(fully_connected(x, 1, activation_fn=None, biases_initializer=None, scope="fc"))[1]


# The newest


def test_a_checkpoint_that_the_state_file_does_not_name(tmp_path: Path) -> None:
    """The trainer was killed between writing the one and the other, or the files were copied without that one."""
    write(tmp_path, 100, seconds=1000)
    state = (tmp_path / "checkpoint").read_bytes()
    newest = write(tmp_path, 200, seconds=2000)
    (tmp_path / "checkpoint").write_bytes(state)
    assert Watch(tmp_path).look() == newest
    assert Watch(tmp_path).look(newest) is None
    (tmp_path / "checkpoint").unlink()
    assert Watch(tmp_path).look() == newest
    (tmp_path / "checkpoint").write_bytes(b"\xff\x00 no state file")
    assert Watch(tmp_path).look() == newest


def test_a_training_that_was_set_back(tmp_path: Path) -> None:
    """The state file names a lower step, which was written later."""
    write(tmp_path, 1000, seconds=1000)
    newest = write(tmp_path, 50, seconds=2000)
    assert Watch(tmp_path).look() == newest


def test_copies_lose_their_times(tmp_path: Path) -> None:
    """`cp` gives the files new times, in the order of their names: the step counts."""
    newest = write(tmp_path, 1000, seconds=1000)
    write(tmp_path, 200, seconds=1000.5)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1000"\n')
    assert Watch(tmp_path).look() == newest


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = folder.open_checkpoint
    monkeypatch.setattr(folder, "open_checkpoint", lambda path: opened.append(Path(path).name) or real(path))
    last = write(tmp_path, 1)
    os.truncate(write(tmp_path, 2), 100)
    watch = Watch(tmp_path)
    assert [watch.look(), watch.look(last), watch.look(last)] == [last, None, None]
    assert opened == ["model.ckpt-2.safetensors", "model.ckpt-1.safetensors"]
    third = write(tmp_path, 3)
    assert watch.look(last) == third
    fourth = write(tmp_path, 2)  # written anew
    os.remove(third)
    assert watch.look(third) == fourth


def test_what_cannot_be_read_now_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, 1)
    watch, real = Watch(tmp_path), folder.open_checkpoint

    def fail(path: Path) -> None:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(folder, "open_checkpoint", fail)
    assert watch.look() is None
    monkeypatch.setattr(folder, "open_checkpoint", real)
    assert watch.look() == path


def test_one_that_vanishes_under_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = write(tmp_path, 1), write(tmp_path, 2)
    real = folder.open_checkpoint

    def remove(path: Path) -> object:
        if str(path) == second:
            os.remove(path)
        return real(path)

    monkeypatch.setattr(folder, "open_checkpoint", remove)
    assert Watch(tmp_path).look() == first
    assert caplog.text == ""


# TensorFlow's


def test_checkpoints_of_tensorflow(tmp_path: Path, update: Symbol) -> None:
    first = write_tf(tmp_path, "model.ckpt-7", 7.0)
    assert wait_for_new_checkpoint(tmp_path, timeout=0) == first
    assert evaluate_once("", tmp_path, eval_op=update, device="cpu") == 7
    newer = write(tmp_path, 8)
    assert wait_for_new_checkpoint(tmp_path, first, timeout=0) == newer
    newest = write_tf(tmp_path, "model.ckpt-9", 9.0)
    assert wait_for_new_checkpoint(tmp_path, newer, timeout=0) == newest
    os.remove(f"{newest}.data-00000-of-00001")
    assert wait_for_new_checkpoint(tmp_path, first, timeout=0) == newer


@pytest.mark.parametrize("name", ["lenet_v1", "lenet_v2", "sharded2_v1", "sharded2_v2"])
def test_folders_that_tensorflow_wrote(name: str) -> None:
    path = Watch(GOLDENS / name).look()
    assert path is not None
    assert Path(path).parent == GOLDENS / name
    assert len(folder.open_checkpoint(path)) > 2


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDENS.glob("corrupt_v2_*")))
def test_damaged_folders_of_tensorflow(name: str) -> None:
    watch = Watch(GOLDENS / name)
    assert watch.look() is None
    assert watch.explain()[0]


def test_the_step_of_a_checkpoint(tmp_path: Path) -> None:
    assert global_step_of(Path(write(tmp_path, 12))) == 12
    os.rename(write(tmp_path, 13), tmp_path / "kept.safetensors")
    assert global_step_of(tmp_path / "kept.safetensors") == 13
    assert global_step_of(Path(write_tf(tmp_path, "best", 1.0, step=14))) == 14
    assert global_step_of(Path(write_tf(tmp_path, "model.ckpt-15", 1.0))) == 15
    save(tmp_path / "weights.safetensors", {"w": torch.ones(1)})
    assert global_step_of(tmp_path / "weights.safetensors") == 0


# What is said


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Sleeping takes no time; `clock.now` goes on by it."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    monkeypatch.setattr("time.sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))
    return clock


def messages(caplog: pytest.LogCaptureFixture, start: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith(start)]


def test_reports_come_at_growing_intervals(
    tmp_path: Path, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    assert wait_for_new_checkpoint(tmp_path / "run", timeout=300) is None
    folder = str(tmp_path / "run")
    assert messages(caplog, "waiting for ") == [
        f"waiting for {seconds} s for a new checkpoint in {folder!r}. There is no such folder yet."
        for seconds in (30, 60, 120, 240)
    ]
    (tmp_path / "run").mkdir()
    caplog.clear()
    wait_for_new_checkpoint(tmp_path / "run", timeout=40)
    assert messages(caplog, "waiting for ")[0].endswith("There is nothing in it.")


def test_what_is_there_and_why_it_does_not_count(
    tmp_path: Path, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    last = [write(tmp_path, step) for step in (3, 4)][-1]
    os.truncate(write(tmp_path, 5), 100)
    for name in (".model.ckpt-6.safetensors.0123abcd.tmp", "model.ckpt-7_temp_8/part-00000", "events.out.1", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    save(tmp_path / "weights.safetensors", {"w": torch.ones(1)})
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-8"\n')
    assert wait_for_new_checkpoint(tmp_path, last, timeout=40) is None
    (text,) = messages(caplog, "waiting for 30 s")
    for part in (
        "model.ckpt-5.safetensors: load: ",
        "is damaged",
        "model.ckpt-4.safetensors: the last one; ",
        "model.ckpt-3.safetensors: older than the last one, model.ckpt-4.safetensors; ",
        "model.ckpt-8: named in the file 'checkpoint', but not there; ",
        ".model.ckpt-6.safetensors.0123abcd.tmp, model.ckpt-7_temp_8: temporary, being written or left behind",
        "a.txt, events.out.1: no checkpoint; ",
        "weights.safetensors: not named model.ckpt-N.safetensors, so no checkpoint of a training",
    ):
        assert part in text
    assert len(messages(caplog, "evaluation: passing over")) == 1


@pytest.mark.parametrize(("damaged", "level"), [(False, logging.INFO), (True, logging.WARNING)])
def test_it_warns_if_something_is_wrong(
    damaged: bool, level: int, tmp_path: Path, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    last = write(tmp_path, 1)
    if damaged:
        os.truncate(write(tmp_path, 2), 100)
    with caplog.at_level(logging.INFO, logger="torchslim"):
        wait_for_new_checkpoint(tmp_path, last, timeout=40)
    (record,) = [record for record in caplog.records if "waiting for 30 s" in record.getMessage()]
    assert record.levelno == level


def test_many_files_are_counted(tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"{i:02}.txt").touch()
    assert Watch(tmp_path).explain()[1] == (
        "What is there: 00.txt, 01.txt, 02.txt, 03.txt, 04.txt and 25 more: no checkpoint."
    )


def test_the_error_of_a_folder_without_checkpoints_says_what_is_there(tmp_path: Path, update: Symbol) -> None:
    os.truncate(write(tmp_path, 5), 100)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in the folder .*model\.ckpt-5.*is damaged"):
        evaluate_once("", tmp_path, eval_op=update, device="cpu")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    with pytest.raises(ValueError, match=r"must be a folder\. Got the file .*model\.ckpt-1"):
        wait_for_new_checkpoint(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        assert Watch(tmp_path).look() is None
        assert Watch(tmp_path).explain() == (True, "The folder may not be read.")
    finally:
        tmp_path.chmod(0o700)


def test_the_time_of_an_evaluation_is_no_waiting(
    tmp_path: Path, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 1)
    for _ in checkpoints_iterator(tmp_path, timeout=20):
        clock.now += 3600
    assert messages(caplog, "waiting for ") == []


def test_waits_add_up_while_timeout_fn_goes_on(
    tmp_path: Path, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([False] * 6 + [True])
    assert list(checkpoints_iterator(tmp_path, timeout=10, timeout_fn=lambda: next(answers))) == []
    assert [text.split(" s for")[0] for text in messages(caplog, "waiting for ")] == [
        "waiting for 30",
        "waiting for 60",
    ]
