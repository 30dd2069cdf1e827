"""Not a test: what each process of `test_distributed_training.py` does; its globals are CASE, RANK, WORLD and FOLDER.

A case is a function of a folder; what it returns is left there for the test. In a single process the same functions
give what is expected.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import torchslim as slim
from torchslim.learning.device import process

QUIET = {"log_every_n_steps": 0, "save_summaries_secs": 0, "device": "cpu", "precision": "fp32"}
CASES: dict[str, Callable[..., Any]] = {}


def case(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function one that processes can be asked for by its name."""
    CASES[function.__name__] = function
    return function


def data(size: int = 48) -> TensorDataset:
    """Small images, labels and weights."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(size, 2, 5, 5, generator=generator) * torch.linspace(0.5, 3, size).view(-1, 1, 1, 1) + 1
    return TensorDataset(images, torch.randn(size, 3, generator=generator), torch.rand(size, generator=generator))


def loader(size: int = 48, **options: Any) -> Any:
    """Batches that are eight images for all processes together."""
    return slim.data.Loader(data(size), 8 // process()[1], shuffle=True, seed=3, **options)


NORMS: dict[str, dict[str, Any]] = {
    "fused": {},
    "biased": {"fused": False, "scale": True},
    "debiased": {"zero_debias_moving_mean": True},
    "renorm": {"renorm": True, "renorm_decay": 0.5, "renorm_clipping": {"rmax": 1.5, "dmax": 0.5}},
    "waiting": {"updates_collections": "later"},
}
OPTIMIZERS: dict[str, Any] = {
    "Momentum": slim.optimizers.Momentum(0.05, momentum=0.9),
    "Adam": slim.optimizers.Adam(slim.optimizers.exponential_decay(0.01, decay_steps=2, decay_rate=0.9)),
    "Ftrl": slim.optimizers.Ftrl(0.05, l1_regularization_strength=0.001),
    "SGD": functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01),
    "AdamW": functools.partial(torch.optim.AdamW, lr=0.01),
}


def of_graph(
    batches: Any, norm: str = "fused", optimizer: str = "Momentum", dropout: float = 1.0, **options: Any
) -> Any:
    """A train op on a graph with all that touches gradients: L2, multipliers, two kinds of clipping, averages."""
    with slim.Graph() as graph:
        images = slim.placeholder((None, 2, 5, 5), name="images")
        labels, weights = slim.placeholder((None, 3), name="labels"), slim.placeholder((None,), name="weights")
        graph.add_feed(batches, [images, labels, weights])
        l2 = slim.l2_regularizer(0.1)
        net = slim.conv2d(images, 5, [3, 3], weights_regularizer=l2, scope="conv")
        kind = NORMS.get(norm, {"batch_weights": weights})
        net = slim.batch_norm(net, decay=0.5, activation_fn=torch.relu, scope="norm", **kind)
        with slim.arg_scope([slim.conv2d], reuse=slim.AUTO_REUSE, scope="shared"):
            net = slim.conv2d(slim.conv2d(net, 5, [1, 1]), 5, [1, 1])
        net = slim.dropout(slim.flatten(net), dropout)
        net = slim.fully_connected(net, 3, activation_fn=None, weights_regularizer=l2, scope="fc")
        slim.losses.mean_squared_error(net, labels)
        slim.summaries.add_histogram_summary(net)
        _, updates = slim.metrics.aggregate_metric_map(
            {"error": slim.metrics.streaming_mean_absolute_error(net, labels)}
        )
        defaults = {
            "clip_gradient_norm": 0.3,
            "gradient_multipliers": {"fc/biases": torch.tensor([1.0, 2.0, 3.0]), "conv/weights": 0.5},
            "transform_grads_fn": slim.learning.adaptive_clipping_fn(std_factor=0.1, decay=0.5, static_max_norm=0.5),
            "ema_decay": 0.8,
        }
        train_op = slim.learning.create_train_op(
            slim.losses.get_total_loss(), OPTIMIZERS[optimizer], **{**defaults, **options}
        )
    return train_op, updates


def outcome(train_op: Any) -> dict[str, Any]:
    """Weights and averages."""
    ema = {} if train_op.ema is None else {f"average of {name}": v for name, v in train_op.ema.averages.items()}
    return {name: tensor.detach().clone() for name, tensor in {**train_op.tensors(), **ema}.items()}


def train(train_op: Any, logdir: Path | None, **options: Any) -> float:
    """Trains without a word."""
    return slim.learning.train(train_op, logdir, **{**QUIET, **options})


@case
def graph(folder: Path, norm: str = "fused", optimizer: str = "Momentum", **options: Any) -> Any:
    """A short training with a synchronized batch norm."""
    torch.manual_seed(process()[0])  # the first process's start counts
    train_op, _ = of_graph(loader(), norm, optimizer, accumulate_steps=2)
    options = {"sync_batch_norm": True, "number_of_steps": 5, **options}
    loss = train(train_op, folder / "log", **options)
    return {"loss": torch.tensor(loss), **outcome(train_op)}


@case
def function(folder: Path, momentum: float | None = 0.1, **options: Any) -> Any:
    """The same with a loss function, PyTorch's batch norm, layers that stand still, and no checkpoints."""
    torch.manual_seed(process()[0])
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, momentum=momentum), nn.Flatten(), nn.Linear(36, 5), nn.Linear(5, 3)
    )
    train_op = slim.learning.create_train_op(
        lambda x, y, w: (net(x) - y).square().mean(),
        OPTIMIZERS["AdamW"],
        module=net,
        variables_to_train=["0/weights", "1/gamma", "1/beta", "4/weights", "4/biases"],
    )
    start = net[3].weight
    train(train_op, None, batches=loader(), sync_batch_norm=True, number_of_steps=5, **options)
    assert net[3].weight is start, "the module's parameters are the ones that it had"
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert "forward" not in vars(net[1]), "the module is as it was"
    return outcome(train_op)


@case
def by_hand(folder: Path, **options: Any) -> Any:
    """A training that the test takes the steps of by itself: each process has its part of the batches."""
    rank, world = process()
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    net.load_state_dict(torch.load(folder / "start.pt") if rank == 0 else net.state_dict())
    train_op = slim.learning.create_train_op(
        lambda x, y: (net(x) - y).square().mean(),
        functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        module=net,
        variables_to_train=["0/weights", "2/weights"],
    )
    batches = [tuple(part.chunk(world)[rank] for part in batch) for batch in torch.load(folder / "data.pt")]
    options = {"batches": batches, "log_every_n_steps": 1, "save_interval_secs": 1e-9, **options}
    train(train_op, folder / "log", number_of_steps=15, **options)
    return outcome(train_op)


@case
def local_statistics(folder: Path, **options: Any) -> Any:
    """Each process normalizes by itself, in one step."""
    torch.manual_seed(0)
    train_op, _ = of_graph(slim.data.Loader(data(), 4, seed=3), accumulate_steps=2)
    train(train_op, None, number_of_steps=1, **options)
    return outcome(train_op)


def share(size: int) -> Any:
    """What the first of two processes reads."""
    return slim.data.Loader([data()[i] for i in range(0, size, 2)], 4, seed=3)


@case
def evaluated(folder: Path, **options: Any) -> Any:
    """Evaluations inside of the training, on seven examples, of the averages."""
    torch.manual_seed(0)
    train_op, updates = of_graph(loader())
    feeds = updates["error"].owner.feeds
    evaluate, training = slim.evaluation.evaluator(updates), feeds[0]
    seen = []

    def run() -> dict[str, float]:
        feeds[0] = (slim.data.Loader(data(7), 2), training[1])
        seen.append(evaluate())
        feeds[0] = training
        return seen[-1]

    train(
        train_op,
        folder / "log",
        number_of_steps=4,
        sync_batch_norm=True,
        eval_fn=run,
        eval_every_n_steps=2,
        keep_best=("error", "min"),
        **options,
    )
    return [values["error"] for values in seen], outcome(train_op)


@case
def resumed(folder: Path, **options: Any) -> Any:
    """Seven steps, and two and one and four."""
    outcomes = []
    for name, stops in (("straight", [7]), ("stopped", [2, 3, 7])):
        for stop in stops:
            torch.manual_seed(process()[0] if stop == stops[0] else 99)
            train_op, _ = of_graph(loader(), dropout=0.5, accumulate_steps=2)
            train(train_op, folder / name, number_of_steps=stop, **options)
        outcomes.append({**outcome(train_op), "random": torch.get_rng_state()})
    return outcomes


@case
def not_finite(folder: Path, at_once: bool = True, **options: Any) -> Any:
    """The second process gets a bad batch in the fourth step; what is said, at which step, with which weights."""
    torch.manual_seed(0)
    train_op, _ = of_graph(loader(), transform_grads_fn=None, clip_gradient_norm=0)

    def step(train_op: Any, batch: Any, *, should_log: bool) -> Any:
        if not at_once:  # as on a GPU
            train_op._numerics._at_once = False
        if train_op.global_step == 3 and process()[0] == 1:
            batch[0][1, 1, 1, 1] = torch.nan
        return slim.learning.train_step(train_op, batch, should_log=should_log)

    try:
        train(train_op, folder / "log", train_step_fn=step, number_of_steps=20, log_every_n_steps=6, **options)
    except FloatingPointError as error:
        with train_op.whole_variables():
            return str(error), train_op.global_step, all(tensor.isfinite().all() for tensor in trained(train_op))


def trained(train_op: Any) -> list[torch.Tensor]:
    """The variables that the train op changes."""
    return [variable.tensor for variable in train_op.trained]


@case
def stopped(folder: Path, how: str) -> Any:
    """The second process wants to stop after the third step."""
    train_op, _ = of_graph(loader())

    def step(train_op: Any, batch: Any, *, should_log: bool) -> Any:
        wants = train_op.global_step == 2 and process()[0] == 1
        if wants and how == "signal":
            signal.raise_signal(signal.SIGTERM)
        loss, _ = slim.learning.train_step(train_op, batch, should_log=should_log)
        return loss, wants and how == "asked"

    code = 0
    try:
        train(train_op, folder / "log", train_step_fn=step, number_of_steps=50)
    except SystemExit as error:
        code = error.code
    return code, train_op.global_step


@case
def summaries(folder: Path, **options: Any) -> Any:
    """Events of gradients and of the graph."""
    train_op, _ = of_graph(loader(), summarize_gradients=True)
    train(train_op, folder / "log", number_of_steps=2, log_every_n_steps=1, save_summaries_secs=1e-9, **options)
    return sorted(path.name.partition(".")[0] for path in (folder / "log").iterdir())


@case
def plain_loaders(folder: Path) -> Any:
    """What each process reads of loaders of PyTorch, in two passes, and what is logged."""
    seen: list[list[float]] = []
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logging.getLogger("torchslim").addHandler(handler)
    numbers = TensorDataset(torch.arange(8.0))
    for sampler in (None, DistributedSampler(numbers, shuffle=True)):
        net = nn.Linear(1, 1)
        read: list[float] = []

        def loss_fn(x: torch.Tensor, net: nn.Module = net, read: list[float] = read) -> torch.Tensor:
            read.extend(x.tolist())
            return net(x[:, None]).mean()

        op = slim.learning.create_train_op(loss_fn, OPTIMIZERS["SGD"], module=net)
        batches = DataLoader(numbers, batch_size=4, sampler=sampler)
        train(op, None, batches=batches, number_of_steps=2 * len(batches))
        seen.append(read)
    return seen, [text for text in told if "reads all" in text]


def refusal(function: Callable[[], Any]) -> str:
    """The error that a call ends with."""
    try:
        function()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


@case
def refused(folder: Path) -> list[str]:
    """What is not possible, one after the other."""
    rank = process()[0]

    def op(net: nn.Module, **options: Any) -> Any:
        return slim.learning.create_train_op(
            lambda x: net(x).mean(), **{"optimizer": OPTIMIZERS["SGD"], "module": net, **options}
        )

    class Partly(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.bias

    class Norm(nn.BatchNorm1d):
        pass

    wide = [(torch.ones(2, 3),)]
    spent = op(nn.Linear(3, 3))
    train(spent, None, batches=wide, number_of_steps=1, parallel="fsdp")
    net = nn.Linear(3, 3)
    ready = op(net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1))
    calls: list[tuple[Any, dict[str, Any]]] = [
        (op(nn.Linear(3, 3)), {"parallel": "zero"}),
        (op(nn.Linear(3, 3)), {"parallel": "fsdp", "channels_last": True}),
        (op(nn.Linear(3, 3 + rank)), {}),
        (op(Partly(3, 3)), {}),
        (op(Norm(3)), {"sync_batch_norm": True}),
        (ready, {"parallel": "fsdp"}),
        (spent, {"parallel": "fsdp"}),
    ]
    errors = [refusal(lambda a=a, o=o: train(a, None, batches=wide, number_of_steps=2, **o)) for a, o in calls]
    logdir = folder / f"log{rank}"
    errors += [refusal(lambda: train(op(nn.Linear(3, 3)), logdir, batches=wide, number_of_steps=1)) for _ in range(2)]
    return errors


@case
def started_by_torchrun(folder: Path, port: int) -> Any:
    """Without a process group: two trainings, and an evaluation, find the others by themselves."""
    rank, world = int(globals()["RANK"]), int(globals()["WORLD"])
    distributed.destroy_process_group()
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.manual_seed(rank)
    made = slim.data.Loader(data(), 4, shuffle=True)  # before anybody knows the others
    found = []
    for parallel, steps in (("ddp", 2), ("fsdp", 4)):
        train_op, updates = of_graph(made)
        train(train_op, folder / "log", number_of_steps=steps, parallel=parallel)
        found.append((outcome(train_op), distributed.is_initialized()))
    feeds = updates["error"].owner.feeds
    feeds[0] = (slim.data.Loader(data(7), 2), feeds[0][1])
    error = slim.evaluation.evaluate_once("", folder / "log", eval_op=updates, device="cpu")
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(folder / "again"), world), rank=rank, world_size=world
    )
    return found, error


if "RANK" in globals():
    rank, world, folder = globals()["RANK"], globals()["WORLD"], Path(globals()["FOLDER"])
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(folder / "store"), world), rank=rank, world_size=world
    )
    result = CASES[globals()["CASE"]](folder, **globals()["OPTIONS"])
    torch.save(result, folder / f"result{rank}.pt")
    distributed.destroy_process_group()
