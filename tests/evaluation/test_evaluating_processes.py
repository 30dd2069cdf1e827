"""Two processes that evaluate together: every example once, whatever their shares, and the same checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing
from torch import distributed, nn
from torch.utils.data import TensorDataset
from torchmetrics import CatMetric

from torchslim import data, metrics
from torchslim.checkpoints import save_checkpoint
from torchslim.evaluation import (
    Evaluation,
    checkpoints_iterator,
    evaluate,
    evaluate_once,
    evaluation_loop,
    recalibrate_batch_norm,
)
from torchslim.graph import Graph
from torchslim.layers import batch_norm, fully_connected

# With batches of 4: the last ones differ, the numbers of batches differ, and one process has none.
SIZES = (11, 9, 1)


def examples(size: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(size)
    return TensorDataset(torch.randn(size, 3, generator=generator), torch.arange(size).double())


def evaluate_examples(size: int, folder: Path) -> tuple[Any, list[float], Any]:
    """Metrics of all kinds of states, and the examples that were seen."""
    with Graph():
        inputs, numbers = data.batch(examples(size), batch_size=4)
        net = fully_connected(inputs, 1, activation_fn=None, scope="fc")
        labels = numbers.long() % 2
        pairs = {
            "mean": metrics.streaming_mean(net, weights=numbers[:, None] + 1),
            "auc": metrics.streaming_dynamic_auc(labels, net[:, 0].sigmoid()),
            "accuracy": metrics.streaming_accuracy((net[:, 0] > 0).long(), labels),
            "seen": metrics.streaming_metric(CatMetric(), numbers),
        }
        values, updates = metrics.aggregate_metric_map(pairs)
        result = evaluate_once("", folder, folder / "eval", eval_op=updates, device="cpu")
        final = evaluate_once("", folder, num_evals=1, eval_op=updates, final_op=values["mean"] * 2, device="cpu")
    seen = result.pop("seen")
    return result, sorted(seen if isinstance(seen, list) else [seen]), final


def follow(folder: Path, rank: int) -> float:
    """The loop, where a checkpoint is removed before the second process has read it, and another one comes."""
    restore = Evaluation.restore

    def fail_once(evaluation: Evaluation, path: Path, prefer_ema: bool | str) -> None:
        if rank == 1 and path.name == "model.ckpt-2.safetensors":
            raise FileNotFoundError(path)
        restore(evaluation, path, prefer_ema)
        if rank == 0 and path.name == "model.ckpt-2.safetensors":
            write(folder, 3)

    with Graph(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluation, "restore", fail_once)
        inputs, _ = data.batch(examples(3), batch_size=4)
        net = fully_connected(inputs * 0 + 1, 1, activation_fn=None, biases_initializer=None, scope="fc")
        _, update = metrics.streaming_mean(net)
        if rank == 0:
            write(folder, 2)
        distributed.barrier()
        return evaluation_loop(
            "", folder, None, eval_op=update, max_number_of_evaluations=1, eval_interval_secs=0, device="cpu"
        )


def write(folder: Path, step: int) -> None:
    save_checkpoint(folder, {"model": {"fc.weight": torch.full((1, 3), float(step))}}, step=step)


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found: dict[str, Any] = {str(size): evaluate_examples(size, Path(folder)) for size in SIZES}
    found["followed"] = follow(Path(folder), rank)
    if rank == 1:  # while the first process looks
        write(Path(folder), 4)
    found["path"] = next(checkpoints_iterator(folder, timeout=0))
    norms = nn.Sequential(nn.SyncBatchNorm(3), batch_norm(3, scope="bn"))
    norms[1].synchronized = True
    batches = examples(11).tensors[0].split(4)
    found["batches"] = recalibrate_batch_norm(norms, [(x, None) for x in batches[: 3 * (1 - rank)]])
    found["norms"] = norms.state_dict()
    try:
        evaluate(nn.Identity(), [], {}, device="cpu")
    except ValueError as error:
        found["error"] = str(error)
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not distributed.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes(tmp_path: Path) -> None:
    weights = {"fc.weight": torch.tensor([[1.0, -2.0, 0.5]]), "fc.bias": torch.tensor([0.25])}
    save_checkpoint(tmp_path, {"model": weights}, step=1)
    alone = {str(size): evaluate_examples(size, tmp_path)[0] for size in SIZES}
    norms = nn.Sequential(nn.BatchNorm1d(3), batch_norm(3, scope="bn"))
    recalibrate_batch_norm(norms, [(x, None) for x in examples(11).tensors[0].split(4)])
    torch.multiprocessing.spawn(process, (str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2)]
    assert ranks[0]["path"] == ranks[1]["path"]
    for found in ranks:
        for size in SIZES:
            values, seen, _ = found[str(size)]
            assert values == pytest.approx(alone[str(size)], nan_ok=True)
            assert seen == list(range(size))
        assert found["followed"] == 3 * 3
        assert found["batches"] == 3
        torch.testing.assert_close(found["norms"], norms.state_dict())
        assert "at least one batch. Got 0" in found["error"]
    lines = (tmp_path / "eval" / "evaluations.jsonl").read_text().splitlines()
    assert len(lines) == 2 * len(SIZES)  # alone, and the first of the two
    # With `num_evals` each process takes so many: the first four of its share of eleven.
    inputs = examples(11).tensors[0][[0, 2, 4, 6, 1, 3, 5, 7]]
    weighting = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7.0]) + 1
    outputs = inputs @ weights["fc.weight"][0] + 0.25
    expected = 2 * (outputs * weighting).sum() / weighting.sum()
    assert [found["11"][2] for found in ranks] == [pytest.approx(expected.item(), rel=1e-5)] * 2
