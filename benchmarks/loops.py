"""What `slim.learning.train` costs a step, over the bare step: beside Lightning, Accelerate and ignite, in one run.

    python benchmarks/loops.py [--steps 2000] [--rounds 7] [--vgg16] [--write benchmarks/results/NAME.md]

A model so small that the loop shows: two dense layers, 32 examples, SGD with momentum. Each trainer does what its users
run it with: torchslim with checkpoints, the check for finite numbers and a log line every 100 steps; Lightning with its
defaults but for the progress bar; Accelerate and ignite around the loop that their documentation shows. The loops take
turns, each from a fresh model; what a loop needs before its first step and after its last is not counted. Others than
torchslim are measured where they are installed: `pip install lightning accelerate pytorch-ignite`.

With `--vgg16`: `train` around a step of VGG16, in percent, and how long saving a checkpoint holds the loop up.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from step_time import machine, random_batch
from torch import nn
from torch.nn import functional

import torchslim as slim
from torchslim.learning.checkpointing import Checkpoints
from torchslim.nets import vgg

LEARNING_RATE, MOMENTUM = 0.01, 0.9
# Takes batches, of which the first and the last are not counted; gives seconds a step.
Loop = Callable[[list[Any]], float]


def new_net() -> nn.Module:
    """The model of all loops."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))


def new_optimizer(net: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of all loops."""
    return torch.optim.SGD(net.parameters(), LEARNING_RATE, MOMENTUM, fused=True)


class Timed:
    """Batches that take the time when the second and when the last one is asked for."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches
        self.times: list[float] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for i, batch in enumerate(self.batches):
            if i in (1, len(self.batches) - 1):
                self.times.append(time.perf_counter())
            yield batch

    @property
    def seconds(self) -> float:
        """Of a step."""
        return (self.times[1] - self.times[0]) / (len(self.batches) - 2)


def bare(batches: list[Any]) -> float:
    """The step in a for loop."""
    net, timed = new_net(), Timed(batches)
    optimizer = new_optimizer(net)
    for inputs, labels in timed:
        optimizer.zero_grad()
        functional.cross_entropy(net(inputs), labels).backward()
        optimizer.step()
    return timed.seconds


def torchslim(batches: list[Any]) -> float:
    """`slim.learning.train`, with all that is on by default."""
    net, timed = new_net(), Timed(batches)
    train_op = slim.learning.create_train_op(
        lambda inputs, labels: functional.cross_entropy(net(inputs), labels),
        functools.partial(torch.optim.SGD, lr=LEARNING_RATE, momentum=MOMENTUM),
        module=net,
    )
    with tempfile.TemporaryDirectory() as logdir:
        slim.learning.train(
            train_op,
            logdir,
            batches=timed,
            number_of_steps=len(batches),
            log_every_n_steps=100,
            save_interval_secs=600,
            device="cpu",
            precision="fp32",
        )
    return timed.seconds


def lightning(batches: list[Any]) -> float:
    """Lightning's Trainer, with its own checkpoints and logger off."""
    import lightning as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = new_net()

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            return functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return new_optimizer(self.net)

    timed = Timed(batches)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", devices=1, **quiet)
    trainer.fit(Module(), timed)
    return timed.seconds


def accelerate(batches: list[Any]) -> float:
    """Accelerate's loop, with a DataLoader, which it wants to see."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    net, timed = new_net(), Timed(batches)
    loader = torch.utils.data.DataLoader(timed.batches, batch_size=None)
    net, optimizer, loader = accelerator.prepare(net, new_optimizer(net), loader)
    timed.batches = loader
    for inputs, labels in timed:
        optimizer.zero_grad()
        accelerator.backward(functional.cross_entropy(net(inputs), labels))
        optimizer.step()
    return timed.seconds


def ignite(batches: list[Any]) -> float:
    """Ignite's supervised trainer."""
    from ignite.engine import create_supervised_trainer

    net, timed = new_net(), Timed(batches)
    create_supervised_trainer(net, new_optimizer(net), functional.cross_entropy).run(timed, max_epochs=1)
    return timed.seconds


def compare(steps: int, rounds: int) -> str:
    """A table: microseconds a step."""
    loops: dict[str, Loop] = {"bare loop": bare, "torchslim": torchslim}
    others = {"ignite": ignite, "accelerate": accelerate, "lightning": lightning}
    loops |= {name: loop for name, loop in others.items() if importlib.util.find_spec(name)}
    batches = [(torch.randn(32, 32), torch.randint(10, (32,)))] * (steps + 2)
    times: dict[str, list[float]] = {name: [] for name in loops}
    for name, loop in itertools.chain(loops.items(), *[list(loops.items())] * rounds):
        times[name].append(loop(batches) * 1e6)
    medians = {name: statistics.median(found[1:]) for name, found in times.items()}
    lines = ["| loop | us a step | over the bare loop |", "| --- | --- | --- |"]
    lines += [f"| {name} | {median:.0f} | {median - medians['bare loop']:+.0f} |" for name, median in medians.items()]
    return "\n".join(lines) + "\n"


def around_vgg16(rounds: int, steps: int = 11) -> str:
    """Seconds of a step of VGG16, bare and in `train`, and how long a checkpoint holds the loop up.

    Of ten steps that are counted, one has a log line, as is the default.
    """

    def new_op(check_numerics: bool) -> slim.learning.TrainOp:
        with slim.Graph(), slim.arg_scope(vgg.vgg_arg_scope()):
            images = slim.placeholder((None, 3, 224, 224), name="images")
            labels = slim.placeholder((None,), torch.int64, name="labels")
            slim.losses.sparse_softmax_cross_entropy(vgg.vgg_16(images)[0], labels)
            optimizer = functools.partial(torch.optim.SGD, lr=1e-3, momentum=MOMENTUM)
            total_loss = slim.losses.get_total_loss()
            return slim.learning.create_train_op(total_loss, optimizer, check_numerics=check_numerics)

    bare_op, op = new_op(False), new_op(True)
    device, batches = torch.device("cpu"), [random_batch(4, torch.device("cpu"), channels_last=True)] * steps
    options: dict[str, Any] = {"device": "cpu", "precision": "fp32", "channels_last": True}
    bare_op.prepare(device, torch.float32, channels_last=True)
    times: dict[str, list[float]] = {"bare": [], "train": []}
    for _ in range(rounds + 1):
        start = time.perf_counter()
        for batch in batches:
            bare_op.step_fn(*batch)
        times["bare"].append((time.perf_counter() - start) / steps)
        timed = Timed([*batches, batches[0]])
        slim.learning.train(op, None, batches=timed, number_of_steps=op.global_step + steps + 1, **options)
        times["train"].append((timed.times[1] - timed.times[0]) / (steps - 1))
    medians = {name: statistics.median(found[1:]) for name, found in times.items()}
    percent = 100 * (medians["train"] / medians["bare"] - 1)
    lines = [
        f"| VGG16, batch 4 | {medians['bare']:.3f} s bare | {medians['train']:.3f} s in `train` | {percent:+.1f} % |"
    ]
    with tempfile.TemporaryDirectory() as logdir:
        held, copied = saving(op, logdir, batches[:3], options)
    lines.append(f"| a checkpoint | {copied:.2f} s to copy the state | {held:.2f} s that the loop stands | |")
    return "\n".join(["| | | | |", "| --- | --- | --- | --- |", *lines]) + "\n"


def saving(op: slim.learning.TrainOp, logdir: str, batches: list[Any], options: dict[str, Any]) -> tuple[float, float]:
    """How long saving holds the loop up, and how long a copy of all that is saved takes: medians of seconds."""
    held, copied = [], []
    save = Checkpoints.save

    def timed_save(*arguments: Any) -> None:
        start = time.perf_counter()
        save(*arguments)
        held.append(time.perf_counter() - start)

    state = [*op.tensors().values(), *(t for s in op.optimizer.state.values() for t in s.values())]
    for _ in range(4):
        start = time.perf_counter()
        copies = [torch.empty_like(tensor).copy_(tensor) for tensor in state if isinstance(tensor, torch.Tensor)]
        copied.append(time.perf_counter() - start)
        del copies
    with mock.patch.object(Checkpoints, "save", timed_save):
        # Far enough apart that the one before is on the disk.
        stops = 2 * len(batches)
        for _ in range(3):
            slim.learning.train(op, logdir, batches=batches, number_of_steps=op.global_step + stops, **options)
    return statistics.median(held), statistics.median(copied[1:])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--vgg16", action="store_true")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    report = f"# Loops, {machine(torch.device('cpu'))}\n\n" + compare(arguments.steps, arguments.rounds)
    if arguments.vgg16:
        report += "\n" + around_vgg16(arguments.rounds)
    print(report)
    if arguments.write:
        arguments.write.write_text(report)


if __name__ == "__main__":
    main()
