"""Two processes that each see a part of the data report what one process reports that sees all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing

from torchslim import metrics
from torchslim.evaluation import evaluate


def batches_of(rank: int, world: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of different sizes; with two processes the second one has a single batch."""
    generator = torch.Generator().manual_seed(7)
    scores, labels = torch.rand(17, 3, generator=generator), torch.randint(2, (17, 3), generator=generator)
    batches = list(zip(scores.split(5), labels.split(5), strict=True))
    return batches if world == 1 else [batches[:3], batches[3:]][rank]


def report(rank: int, world: int) -> dict[str, Any]:
    def step(module: torch.nn.Module, scores: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
        hits = (scores > 0.5).long()
        return {"accuracy": (hits, labels), "recall": (hits, labels), "ap": (scores, labels), "mean": (scores,)}

    chosen = {
        "accuracy": metrics.StreamingAccuracy(),
        "recall": metrics.StreamingRecall(),
        "mean": metrics.StreamingMean(),
        "ap": metrics.VOCAveragePrecision(3),
    }
    values = evaluate(torch.nn.Identity(), batches_of(rank, world), chosen, step=step, device="cpu")
    return values | {f"ap/{k}": value for k, value in enumerate(values.pop("ap"))}


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    empty = metrics.VOCAveragePrecision(3)
    if rank == 0:  # the other process has seen nothing
        empty.update(*batches_of(0, 1)[0])
    else:
        empty._update_count = 1  # torchmetrics would warn
    torch.save((report(rank, 2), empty.compute()), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def values_of(folder: str, rank: int) -> dict[str, Any]:
    """The value of every metric, after the batches of this process."""
    everything = torch.load(f"{folder}/everything.pt", weights_only=False)
    for metric, batches in everything.values():
        for batch in batches[rank]:
            metric.update(*batch)
    return {name: metric.compute() for name, (metric, _) in everything.items()}


def process_of_all(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(values_of(folder, rank), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
def test_every_metric_in_two_processes(tmp_path: Path, registry: dict[str, Any]) -> None:
    """One has two batches, the other a third of another size."""
    everything, alone = {}, {}
    for name, entry in registry.items():
        first, second, third = (
            (*entry.inputs(n), *([torch.randint(5, (n,)) / 2] if entry.weighted else [])) for n in (6, 3, 4)
        )
        everything[name] = (entry.make(), [[first, second], [third]])
        metric = entry.make()
        for batch in (first, second, third):
            metric.update(*batch)
        alone[name] = metric.compute()
    torch.save(everything, tmp_path / "everything.pt")
    torch.multiprocessing.spawn(process_of_all, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        for name, value in alone.items():
            torch.testing.assert_close(
                together[name], value, equal_nan=True, msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(process, (str(tmp_path),), nprocs=2)
    alone = metrics.VOCAveragePrecision(3)
    alone.update(*batches_of(0, 1)[0])
    for rank in range(2):
        together, first_batch = torch.load(tmp_path / f"{rank}.pt")
        assert together == pytest.approx(report(0, 1))
        torch.testing.assert_close(first_batch, alone.compute())
