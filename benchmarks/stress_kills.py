"""Kills a training that saves all the time, again and again, and looks at what is left each time.

    python benchmarks/stress_kills.py [--kills 200] [--seed 0] [--write benchmarks/results/NAME.md]

The training is that of `tests/learning/killed_training.py`: dropout, batch normalisation, averages, a schedule,
evaluations, a shuffled loader. `kill -9` comes at a random moment after a new checkpoint has appeared; since saving
takes most of the time, many kills fall into it. After each kill the newest checkpoint must be whole, and later than the
newest one before; at the end, all that the last checkpoint holds must be, bit for bit, what a training has that was
never killed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import runpy
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchslim.checkpoints import latest_checkpoint, load_checkpoint, pack, step_of

SCRIPT = Path(__file__).parent.parent / "tests" / "learning" / "killed_training.py"
# Seconds after a new checkpoint has appeared, at most; saving one takes a few thousandths.
LATEST = 0.02


@dataclass
class Outcome:
    """What was found."""

    kills: int = 0
    in_a_write: int = 0
    steps: int = 0
    seconds: float = 0.0


def stress(kills: int, seed: int = 0, tell: Callable[[str], Any] = str) -> Outcome:
    """Kills that many times.

    Raises:
        AssertionError: if something is not as it must be.
    """
    # Their server has imported everything once, so that a training starts in milliseconds.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["torchslim.learning", "torch._dynamo", "torchmetrics"])
    chance, outcome, start = random.Random(seed), Outcome(), time.monotonic()
    folder = Path(tempfile.mkdtemp())
    logdir = folder / "killed"
    logdir.mkdir()
    for _ in range(kills):
        before = _newest(logdir)
        process = processes.Process(target=runpy.run_path, args=(str(SCRIPT), {"LOGDIR": str(logdir)}))
        process.start()
        deadline = time.monotonic() + 60
        while _newest(logdir) == before and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, LATEST))
        assert process.is_alive(), "the training has ended by itself"
        process.kill()
        process.join()
        outcome.kills += 1
        outcome.in_a_write += any(logdir.glob(".*.tmp"))
        outcome.steps = _newest(logdir, verify=True)
        assert outcome.steps > before, (
            f"the newest checkpoint was that of step {before}, and is that of {outcome.steps}"
        )
        tell(f"{outcome.kills} kills, {outcome.in_a_write} of them in a write, at step {outcome.steps}")
    _compare(logdir, folder / "straight", outcome.steps + 3)
    shutil.rmtree(folder)
    outcome.seconds = time.monotonic() - start
    return outcome


def _newest(logdir: Path, *, verify: bool = False) -> int:
    path = latest_checkpoint(logdir, verify=verify)
    return -1 if path is None else step_of(path) or 0


def _compare(killed: Path, straight: Path, steps: int) -> None:
    run = runpy.run_path(str(SCRIPT))["run"]
    ends = []
    for logdir in (killed, straight):
        run(str(logdir), number_of_steps=steps, width=runpy.run_path(str(SCRIPT))["KILLED_WIDTH"])
        path = latest_checkpoint(logdir)
        assert path is not None
        ends.append(pack(load_checkpoint(path)))
    (one, structure), (other, expected) = ends
    differ = [name for name, tensor in other.items() if name not in one or not tensor.equal(one[name])]
    assert not differ, f"not as in a training that was never killed: {differ}"
    assert structure == expected
    assert not list(killed.glob(".*.tmp")), "what a kill left was not removed"


def main() -> None:
    """Kills and tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    outcome = stress(arguments.kills, arguments.seed, lambda line: print(line, end="\r", flush=True))
    report = (
        f"{outcome.kills} kills, {outcome.in_a_write} of them while a file was being written, in {outcome.seconds:.0f} "
        f"s: a whole newest checkpoint each time; after {outcome.steps} steps the same bits as without kills.\n"
    )
    print(report)
    if arguments.write:
        arguments.write.write_text(f"# Kills while saving\n\n{report}")


if __name__ == "__main__":
    main()
