"""Stopped or killed, and started again: the same bits as a training that nothing happened to."""

from __future__ import annotations

import itertools
import multiprocessing
import runpy
import signal
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch

from torchslim.checkpoints import latest_checkpoint, load_checkpoint

SCRIPT = Path(__file__).with_name("killed_training.py")
RUN = runpy.run_path(str(SCRIPT))["run"]
STEPS = 13
STOPS = [(5,), (4, 9), (1, 6, 8)]
Options = tuple[tuple[str, Any], ...]


@cache
def straight(options: Options) -> Path:
    """The folder of a training that nothing happened to."""
    folder = Path(mkdtemp())
    RUN(str(folder), number_of_steps=STEPS, losses=folder / "losses", **dict(options))
    return folder


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Where two states differ in type, in structure or by a bit."""
    if type(first) is not type(second):
        return [f"{path}: {type(first)} and {type(second)}"]
    if isinstance(first, Mapping):
        if first.keys() != second.keys():
            return [f"{path}: {first.keys() ^ second.keys()}"]
        return [found for key in first for found in differences(first[key], second[key], f"{path}/{key}")]
    if isinstance(first, list | tuple) and len(first) == len(second):
        pairs = enumerate(zip(first, second, strict=True))
        return [found for i, pair in pairs for found in differences(*pair, f"{path}/{i}")]
    if isinstance(first, torch.Tensor | np.ndarray):
        same = first.dtype == second.dtype and first.shape == second.shape and bool((first == second).all())
        return [] if same else [path]
    return [] if first == second else [f"{path}: {first} and {second}"]


def losses_in(folder: Path) -> dict[str, str]:
    """What each loss was; a step that was taken twice must have had the same one twice."""
    losses: dict[str, str] = {}
    for line in (folder / "losses").read_text().splitlines():
        step, loss = line.rsplit(" ", 1)
        assert losses.setdefault(step, loss) == loss, f"step {step} had two losses"
    return losses


def assert_same_end(first: Path, second: Path) -> None:
    """The last checkpoints have all in them that a training remembers: weights, averages, places, random states."""
    for folder in ("", "best"):
        one, other = latest_checkpoint(first / folder), latest_checkpoint(second / folder)
        assert one is not None
        assert other is not None
        assert Path(one).name == Path(other).name
        states = [load_checkpoint(path) for path in (one, other)]
        for state in states:  # its L2 terms are of before or after the step, whether it was looked at or not
            del state["more"]["loss"]
        assert differences(*states) == []
    assert losses_in(first) == losses_in(second)


ONE, TWO, THREE = STOPS
# Workers take their time to start, so there they are few.
COMBINATIONS = [
    *itertools.product([0], ["slim", "torch"], [1, 3], STOPS),
    *[(2, "slim", 1, THREE), (2, "torch", 2, TWO)],
]


@pytest.mark.parametrize(("num_workers", "schedule", "accumulate_steps", "stops"), COMBINATIONS)
@pytest.mark.parametrize(("kind", "data"), [("function", "loader"), ("function", "generator"), ("graph", "slim")])
def test_stopped_and_started_again(
    tmp_path: Path,
    kind: str,
    data: str,
    num_workers: int,
    schedule: str,
    accumulate_steps: int,
    stops: tuple[int, ...],
) -> None:
    options = {"kind": kind, "data": data, "num_workers": num_workers, "schedule": schedule}
    options["accumulate_steps"] = accumulate_steps
    for seed, stop in enumerate((*stops, STEPS)):  # what was drawn before it was restored must not matter
        RUN(str(tmp_path), number_of_steps=stop, losses=tmp_path / "losses", seed=100 * seed, **options)
    assert_same_end(tmp_path, straight(tuple(options.items())))


@pytest.mark.parametrize("data", ["sampler", "replacement"])
def test_samplers_with_generators_of_their_own(tmp_path: Path, data: str) -> None:
    for seed, stop in enumerate((4, 6, STEPS)):
        RUN(str(tmp_path), number_of_steps=stop, losses=tmp_path / "losses", seed=seed, data=data)
    assert_same_end(tmp_path, straight((("data", data),)))


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """Processes that start in milliseconds: their server has imported everything once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torchslim.learning", "torch._dynamo"])
    return context


def start(script: str, logdir: str, options: dict[str, Any]) -> None:
    """What a process runs; the workers of its data are forked, since a script's classes cannot be pickled."""
    multiprocessing.set_start_method("fork", force=True)
    runpy.run_path(script)["run"](logdir, losses=Path(logdir) / "losses", **options)


@pytest.mark.parametrize(
    ("options", "kills"),
    [
        ({"kind": "function", "data": "generator", "accumulate_steps": 2}, ONE),
        ({"kind": "function", "data": "loader", "num_workers": 2, "schedule": "torch"}, TWO),
        ({"kind": "graph", "data": "slim", "num_workers": 2}, THREE),
    ],
    ids=["generator, accumulation", "workers, scheduler", "graph, workers"],
)
def test_killed_and_started_again(
    tmp_path: Path,
    processes: multiprocessing.context.ForkServerContext,
    options: dict[str, Any],
    kills: tuple[int, ...],
) -> None:
    saving = {"save_interval_secs": 1e-9, "keep_last": 3}
    for kill_at in (*kills, None):
        more = {"kill_at": kill_at, "number_of_steps": STEPS, **saving}
        process = processes.Process(target=start, args=(str(SCRIPT), str(tmp_path), {**options, **more}))
        process.start()
        process.join(120)
        assert process.exitcode == (0 if kill_at is None else -signal.SIGKILL)
    assert_same_end(tmp_path, straight(tuple(options.items())))
