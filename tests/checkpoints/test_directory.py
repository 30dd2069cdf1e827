"""A folder of checkpoints: what is kept, what is found, and what is left after every kind of accident."""

from __future__ import annotations

import itertools
import logging
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from torchslim.checkpoints import (
    CheckpointError,
    keep_checkpoint,
    latest_checkpoint,
    load_checkpoint,
    save,
    save_checkpoint,
    step_of,
)

SHARED = Path(__file__).parents[2].parent / "shared"


def save_steps(folder: Path, *steps: int, **options: object) -> None:
    for step in steps:
        save_checkpoint(folder, {"model": {"w": torch.full((3,), float(step))}}, step, **options)  # type: ignore[arg-type]


def steps_in(folder: Path) -> list[int]:
    return sorted(step for path in folder.iterdir() if (step := step_of(path)) is not None)


def assert_latest(folder: Path, step: int) -> None:
    path = latest_checkpoint(folder)
    assert path == str(folder / f"model.ckpt-{step}.safetensors")
    state = load_checkpoint(path)
    assert state["global_step"] == step
    assert state["model"]["w"].tolist() == [step] * 3


def test_the_newest_five_are_kept(tmp_path: Path) -> None:
    save_steps(tmp_path, *range(0, 80, 10))
    assert steps_in(tmp_path) == [30, 40, 50, 60, 70]
    assert_latest(tmp_path, 70)
    assert len(list(tmp_path.iterdir())) == 6


@pytest.mark.parametrize("max_to_keep", [None, 0])
def test_all_are_kept(max_to_keep: int | None, tmp_path: Path) -> None:
    save_steps(tmp_path, *range(7), max_to_keep=max_to_keep)
    assert steps_in(tmp_path) == list(range(7))


def test_the_state_file_is_that_of_tensorflow(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2, 3, max_to_keep=2)
    lines = (tmp_path / "checkpoint").read_text().splitlines()
    assert lines[:3] == [
        'model_checkpoint_path: "model.ckpt-3"',
        'all_model_checkpoint_paths: "model.ckpt-2"',
        'all_model_checkpoint_paths: "model.ckpt-3"',
    ]
    assert [line.split(":")[0] for line in lines[3:]] == [
        "all_model_checkpoint_timestamps",
        "all_model_checkpoint_timestamps",
        "last_preserved_timestamp",
    ]


def test_a_state_file_of_tensorflow_is_understood(tmp_path: Path) -> None:
    source = SHARED / "goldens" / "checkpoints" / "state_relative" / "checkpoint"
    if not source.exists():
        pytest.skip(f"no goldens at {SHARED}")
    save_steps(tmp_path, 20, 300, 4000, 5000)
    (tmp_path / "checkpoint").write_bytes(source.read_bytes())
    assert_latest(tmp_path, 4000)
    save_steps(tmp_path, 6000, max_to_keep=2)  # 5000 is in no list but newer than all of them: it counts too
    assert steps_in(tmp_path) == [5000, 6000]


def test_one_an_interval_is_preserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What TensorFlow's Saver does: a checkpoint about to be removed stays if it is an interval younger than the last
    # one that stayed; it counts for nothing from then on.
    for step in range(1, 11):
        monkeypatch.setattr(time, "time", lambda step=step: 1e9 + 1800 * step)  # one each half hour
        save_steps(tmp_path, step, max_to_keep=2, keep_checkpoint_every_n_hours=1)
    assert steps_in(tmp_path) == [3, 5, 7, 9, 10]


def test_an_older_step_may_become_the_newest(tmp_path: Path) -> None:
    save_steps(tmp_path, 100, 200)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-100"\n')
    assert_latest(tmp_path, 100)
    save_steps(tmp_path, 150)
    assert_latest(tmp_path, 150)


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save_steps(tmp_path, 5)
    save_checkpoint(tmp_path, {"model": {"w": torch.zeros(1)}}, 5)
    path = latest_checkpoint(tmp_path)
    assert path is not None
    assert load_checkpoint(path)["model"]["w"].tolist() == [0]


@pytest.mark.parametrize(("step", "max_to_keep"), [(-1, 5), (1, -5)])
def test_negative_numbers(step: int, max_to_keep: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"Got step={step}, max_to_keep={max_to_keep}"):
        save_checkpoint(tmp_path, {}, step, max_to_keep=max_to_keep)


# Finding the newest.


def test_nothing_there(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "none") is None


@pytest.mark.parametrize("state", [None, b"", b"\xff\x00 nonsense", b'model_checkpoint_path: "unclosed\n'])
def test_without_a_state_file_the_highest_step_counts(state: bytes | None, tmp_path: Path) -> None:
    save_steps(tmp_path, 9, 10)
    if state is None:
        (tmp_path / "checkpoint").unlink()
    else:
        (tmp_path / "checkpoint").write_bytes(state)
    assert_latest(tmp_path, 10)


@pytest.mark.parametrize("name", ["/gone/elsewhere/model.ckpt-9", "../../model.ckpt-9", r"\057etc\057model.ckpt-9"])
def test_paths_stay_in_the_folder(name: str, tmp_path: Path) -> None:
    save_steps(tmp_path, 9, 10)
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{name}"\n')
    assert_latest(tmp_path, 9)


def test_an_absolute_path_into_the_folder(tmp_path: Path) -> None:
    save_steps(tmp_path, 9, 10)
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{tmp_path}/model.ckpt-9"\n')
    assert_latest(tmp_path, 9)


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[-1] ^= 1
    path.write_bytes(data[:-5] if how == "truncate" else data)
    if how == "remove":
        path.unlink()


@pytest.mark.parametrize("how", ["flip", "truncate", "remove"])
def test_a_damaged_newest_is_passed_over(how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_steps(tmp_path, 1, 2, 3)
    damage(tmp_path / "model.ckpt-3.safetensors", how)
    with caplog.at_level(logging.WARNING, "torchslim"):
        assert_latest(tmp_path, 2)
    assert re.search(r"using '.*model\.ckpt-2\.safetensors'.*model\.ckpt-3\.safetensors'", caplog.text)


def test_a_later_one_than_the_state_file_names_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_steps(tmp_path, 1, 2, 3)
    assert latest_checkpoint(tmp_path) is not None
    assert caplog.text == ""
    text = (tmp_path / "checkpoint").read_text()
    (tmp_path / "checkpoint").write_text(text.replace('"model.ckpt-3"', '"model.ckpt-1"', 1))  # a bit that flipped
    assert step_of(latest_checkpoint(tmp_path, verify=False) or "") == 1
    assert caplog.text == ""
    assert_latest(tmp_path, 1)
    message = r"using '.*model\.ckpt-1\.safetensors', as `checkpoint` says, not model\.ckpt-2.*, model\.ckpt-3"
    assert re.search(message, caplog.text)


@pytest.mark.parametrize("links", [True, False])
def test_kept_elsewhere(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: os.link("/nowhere", "/nowhere"))
    save_steps(tmp_path, 1, 2)
    best = tmp_path / "best"
    for step in (1, 2, 2):
        path = keep_checkpoint(tmp_path, step, best)
        assert Path(path).samefile(tmp_path / f"model.ckpt-{step}.safetensors") == links
        assert_latest(best, step)
        assert sorted(item.name for item in best.iterdir()) == ["checkpoint", f"model.ckpt-{step}.safetensors"]


@pytest.mark.parametrize("links", [True, False])
def test_what_an_earlier_training_kept_is_replaced(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_steps(tmp_path, 2)
    best = tmp_path / "best"
    keep_checkpoint(tmp_path, 2, best)
    (best / ".model.ckpt-1.safetensors.0a1b2c3d.tmp").write_text("of a killed process")
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: os.link("/nowhere", "/nowhere"))
    save_checkpoint(tmp_path, {"model": {"w": torch.zeros(1)}}, 2)
    state = load_checkpoint(keep_checkpoint(tmp_path, 2, best))
    assert state["model"]["w"].tolist() == [0]
    assert sorted(item.name for item in best.iterdir()) == ["checkpoint", "model.ckpt-2.safetensors"]


def test_weights_alone_are_no_state_of_a_training(tmp_path: Path) -> None:
    save(tmp_path / "model.ckpt-4.safetensors", {"w": torch.ones(1)})
    with pytest.raises(ValueError, match=r"model\.ckpt-4\.safetensors' must be what `save_checkpoint` wrote"):
        load_checkpoint(latest_checkpoint(tmp_path) or "")


def test_a_look_at_the_header_alone(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    damage(tmp_path / "model.ckpt-2.safetensors", "flip")
    assert step_of(latest_checkpoint(tmp_path, verify=False) or "") == 2
    damage(tmp_path / "model.ckpt-2.safetensors", "truncate")
    assert step_of(latest_checkpoint(tmp_path, verify=False) or "") == 1


def test_all_are_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_steps(tmp_path, 1)
    damage(tmp_path / "model.ckpt-1.safetensors", "flip")
    with caplog.at_level(logging.WARNING, "torchslim"):
        assert latest_checkpoint(tmp_path) is None
    assert "no whole checkpoint" in caplog.text
    with pytest.raises(CheckpointError, match=r"model\.ckpt-1\.safetensors' is damaged: tensor 'model/w'"):
        load_checkpoint(tmp_path / "model.ckpt-1.safetensors")


# Accidents while saving.


def test_a_full_disk_keeps_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_steps(tmp_path, 1)
    before = sorted(tmp_path.iterdir())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    kept = re.escape(f"The newest checkpoint is still '{tmp_path}/model.ckpt-1.safetensors'")
    with pytest.raises(OSError, match=rf"model\.ckpt-2\.safetensors' .*No space left on device.*{kept}") as caught:
        save_steps(tmp_path, 2)
    assert caught.value.errno == 28
    assert sorted(tmp_path.iterdir()) == before
    monkeypatch.undo()
    assert_latest(tmp_path, 1)
    save_steps(tmp_path, 2)
    assert_latest(tmp_path, 2)


def test_a_state_file_that_cannot_be_written_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_steps(tmp_path, 1, 2, max_to_keep=2)
    replace = Path.replace

    def fail(source: Path, target: Path) -> Path:
        if target.name == "checkpoint":
            raise OSError(5, "Input/output error")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match=r"/checkpoint' .*Input/output error"):
        save_steps(tmp_path, 3, max_to_keep=2)
    assert_latest(tmp_path, 2)
    monkeypatch.undo()
    save_steps(tmp_path, 4, max_to_keep=2)
    assert steps_in(tmp_path) == [3, 4]
    assert_latest(tmp_path, 4)


def test_a_folder_that_vanished(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"/gone/model\.ckpt-1\.safetensors' .*the folder does not exist"):
        save_steps(tmp_path / "gone", 1)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = [tmp_path / name for name in (".model.ckpt-7.safetensors.0a1b2c3d.tmp", ".checkpoint.0a1b2c3d.tmp")]
    other = tmp_path / ".mine.tmp"
    for path in [*left, other]:
        path.write_bytes(b"half")
    save_steps(tmp_path, 8)
    assert not any(path.exists() for path in left)
    assert other.exists()
    assert_latest(tmp_path, 8)


def start_saving(folder: Path, first: int, max_to_keep: int) -> tuple[int, int]:
    """A process that saves as fast as it can, and a pipe on which it reports each step once it is saved."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # the parent's threads do not exist here
            for step in itertools.count(first):
                state = {"model": {"w": torch.full((300_000,), float(step))}}
                save_checkpoint(folder, state, step, max_to_keep=max_to_keep)
                os.write(writing, step.to_bytes(8, "little"))
        finally:
            os._exit(1)
    os.close(writing)
    return child, reading


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("max_to_keep", [1, 2])
def test_kill_9_at_random_moments(max_to_keep: int, tmp_path: Path) -> None:
    chance, last, cut_short = random.Random(max_to_keep), -1, 0
    for _ in range(20):
        child, reading = start_saving(tmp_path, last + 1, max_to_keep)
        reported = os.read(reading, 8)  # at least one
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        while more := os.read(reading, 8):
            reported = more
        os.close(reading)
        cut_short += any(path.suffix == ".tmp" for path in tmp_path.iterdir())
        last = step_of(latest_checkpoint(tmp_path) or "") or 0
        assert last >= int.from_bytes(reported, "little"), "a saved checkpoint was lost"
        state = load_checkpoint(tmp_path / f"model.ckpt-{last}.safetensors")
        assert state["global_step"] == last
        assert bool((state["model"]["w"] == last).all())
        assert len(steps_in(tmp_path)) <= max_to_keep + 2
    assert cut_short, "no kill hit a save: the test tests nothing"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_really_full_disk(small_disk: Path) -> None:
    state = {"model": {"w": torch.ones(100_000)}}  # 0.4 MB: two fit, the third does not
    save_checkpoint(small_disk, state, 1)
    save_checkpoint(small_disk, state, 2)
    with pytest.raises(OSError, match=r"No space left on device.*still '.*model\.ckpt-2\.safetensors'"):
        save_checkpoint(small_disk, state, 3)
    assert sorted(path.name for path in small_disk.iterdir()) == [
        "checkpoint",
        "model.ckpt-1.safetensors",
        "model.ckpt-2.safetensors",
    ]
    assert step_of(latest_checkpoint(small_disk) or "") == 2
